"""The VAE as an estimator: what goes in, what comes out, in which units and kind of table."""

from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

import reparax as rx
from reparax.errors import DataError, RecipeError

TINY = {
    "epochs": 2, "latent_dim": 2, "width": 8, "depth": 1, "valid": 0, "hide": 0, "importance_samples": 5,
    "random_state": 0,
}  # fmt: skip


def numbers(rows=60, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 3)).astype(dtype)


def people(rows=80):
    """A table of every kind of column, with gaps."""
    rng = np.random.default_rng(1)
    age = rng.integers(18, 80, rows)
    return pl.DataFrame(
        {
            "age": age,
            "income": np.round(np.exp(rng.normal(10, 1, rows)), 2),
            "sex": rng.choice(["F", "M"], rows),
            "color": [None if draw < 0.2 else "red" if draw < 0.7 else "blue" for draw in rng.random(rows)],
            "smoker": rng.random(rows) < 0.3,
            "since": [date(2020, 1, 1) + timedelta(days=int(days)) for days in rng.integers(0, 900, rows)],
            "height": [None if draw < 0.1 else round(150 + 40 * draw, 1) for draw in rng.random(rows)],
        }
    )


@cache
def fitted_on(make):
    return rx.VAE(**TINY).fit(make())


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture
def of_numbers(climate):
    return fitted_on(numbers)


@pytest.fixture
def of_people(climate):
    return fitted_on(people)


def test_an_integer_state_is_the_seed_of_fit(of_numbers):
    chosen = {name: value for name, value in TINY.items() if name not in {"importance_samples", "random_state"}}
    fitted = rx.fit(numbers(), seed=0, **chosen)
    assert_array_equal(of_numbers.transform(numbers()), rx.encode(fitted, numbers()).astype(np.float64))
    assert of_numbers.model_.recipe == fitted.recipe


def test_a_random_state_draws_the_seed():
    data, settings = numbers(), TINY | {"random_state": np.random.RandomState(3)}
    expected = np.random.RandomState(3).randint(1_000_000_000)
    assert rx.VAE(**settings).fit(data).model_.recipe.seed == expected
    seeds = {rx.VAE(**TINY | {"random_state": None}).fit(data).model_.recipe.seed for _ in range(2)}
    assert len(seeds) == 2


def test_codes_and_densities_are_those_of_the_functions(of_people, table):
    codes = of_people.transform(table)
    assert codes.shape == (len(table), 2)
    assert_array_equal(codes, rx.encode(of_people.model_, table).astype(np.float64))
    density = of_people.score_samples(table)
    assert_array_equal(density, rx.score(of_people.model_, table, num_samples=5).log_density.astype(np.float64))
    assert of_people.score(table) == np.mean(density)


def test_scores_depend_on_the_row_alone(of_people, table):
    density = of_people.score_samples(table)
    order = np.random.default_rng(0).permutation(len(table))
    assert_array_equal(of_people.score_samples(table[order]), density[order])
    assert_array_equal(of_people.score_samples(table[3:5]), density[3:5])
    assert_array_equal(of_people.score_samples(table.select(reversed(table.columns))), density)


def test_codes_have_the_data_type_of_the_array():
    data = numbers(dtype=np.float32)
    vae = rx.VAE(**TINY).fit(data)
    codes = vae.transform(data)
    assert codes.dtype == np.float32
    assert vae.transform(data.astype(np.float64)).dtype == np.float64
    assert vae.inverse_transform(codes).dtype == vae.sample(3).dtype == np.float32


def test_expected_rows_are_in_the_units_of_the_user():
    """Two columns that are one hidden number, in units a million apart: the model tells each from the other."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=300)
    data = np.column_stack([1e6 + 1e5 * hidden, 0.01 * hidden]) * (1 + 0.001 * rng.normal(size=(300, 2)))
    # As a relation, one column would follow from the other, and the latent variable would have nothing to tell.
    vae = rx.VAE(latent_dim=1, epochs=60, valid=0, learning_rate=0.01, relations="none", random_state=0).fit(data)
    found = vae.inverse_transform(vae.transform(data))
    assert found.shape == data.shape
    explained = 1 - ((found - data) ** 2).mean(axis=0) / data.var(axis=0)
    assert (explained > 0.9).all(), explained


def test_expected_rows_of_a_frame(of_people, table):
    found = of_people.inverse_transform(of_people.transform(table))
    assert isinstance(found, pl.DataFrame)
    assert found.schema == table.schema
    assert set(found["sex"]) <= {"F", "M"}
    assert found.null_count().sum_horizontal().item() == 0
    assert found["age"].is_between(18, 80).all()


def test_samples_are_rows_like_those_of_the_frame(of_people, table):
    rows = of_people.sample(200, random_state=1)
    assert rows.schema == table.schema
    assert rows.equals(of_people.sample(200, random_state=1))
    assert not rows.equals(of_people.sample(200, random_state=2))
    assert set(rows["color"]) == {"red", "blue", None}
    assert rows["height"].null_count() > 0 == rows["age"].null_count()
    assert of_people.sample().equals(of_people.sample(1, random_state=TINY["random_state"]))


@pytest.mark.parametrize("like", ["arrow", "pandas"])
def test_rows_come_back_in_the_library_of_the_frame(of_people, table, like):
    if like == "pandas":
        pytest.importorskip("pandas")
    native = table.to_arrow() if like == "arrow" else table.to_pandas()
    vae = rx.VAE(**TINY).fit(native)
    kind = pa.Table if like == "arrow" else type(native)
    for rows in (vae.sample(4), vae.inverse_transform(vae.transform(native)), vae.impute(native)):
        assert isinstance(rows, kind)
        assert list(rows.columns if like == "pandas" else rows.column_names) == table.columns
    assert_allclose(vae.transform(native), of_people.transform(table))


def test_text_in_an_array(table):
    array = np.array(table.select("sex", "color", "age").rows(), dtype=object)
    vae = rx.VAE(**TINY).fit(array)
    rows = vae.sample(50)
    assert rows.dtype == object
    assert rows.shape == (50, 3)
    assert set(rows[:, 0]) == {"F", "M"}
    assert all(isinstance(age, int) for age in rows[:, 2])


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_samples_have_the_data_type_of_the_array(dtype):
    data = (numbers() > 0).astype(dtype)
    vae = rx.VAE(**TINY).fit(data)
    rows = vae.sample(20)
    assert rows.dtype == dtype
    assert set(np.unique(rows)) == {0, 1}
    assert set(np.unique(vae.inverse_transform(vae.transform(data)))) <= {0.0, 1.0}


def test_arrays_with_gaps_and_an_empty_column():
    """The most frequent category has code 0, here the number 1: codes must become what they stand for."""
    data = numbers()
    data[:, 0] = np.random.default_rng(0).random(60) < 0.9
    data[:, 1] = np.nan
    data[::3, 2] = np.nan
    vae = rx.VAE(**TINY).fit(data)
    expected, drawn = vae.inverse_transform(vae.transform(data)), vae.sample(100)
    assert expected.shape == (60, 3)
    assert drawn.shape == (100, 3)
    assert np.isnan(expected[:, 1]).all()
    assert np.isnan(drawn[:, 1]).all()
    assert (expected[:, 0] == 1).all()
    assert set(np.unique(drawn[:, 0])) == {0, 1}
    filled, there = vae.impute(data), ~np.isnan(data)
    assert_array_equal(filled[there], data[there])
    assert not np.isnan(filled[:, [0, 2]]).any()


def test_imputation_fills_the_gaps_alone(of_people, table):
    filled = of_people.impute(table)
    assert filled.schema == table.schema
    assert filled.null_count().sum_horizontal().item() == 0
    there = table.select(pl.all().is_not_null())
    for name in table.columns:
        assert filled[name].filter(there[name]).equals(table[name].filter(there[name]))
    assert filled.equals(rx.impute(of_people.model_, table, num_samples=5))


def test_missing_cells_where_the_fit_had_none(of_numbers):
    data = numbers()
    density = of_numbers.score_samples(data)
    data[4, 1] = np.nan
    found = of_numbers.score_samples(data)
    assert_array_equal(np.delete(found, 4), np.delete(density, 4))
    assert found[4] != density[4]
    assert not np.isnan(of_numbers.impute(data)).any()


def test_parameters_kinds_and_columns_that_the_user_names(table):
    chosen = {"beta": 0.5, "gradient_estimator": "antithetic", "num_samples": 2, "learning_rate": 0.01}
    vae = rx.VAE(**TINY, **chosen, schema={"age": "categorical"}, exclude=["income"]).fit(table)
    recipe = vae.model_.recipe
    assert recipe.objective == {"name": "elbo", "beta": 0.5, "num_samples": 2, "estimator": "antithetic"}
    assert recipe.learning_rate == 0.01
    columns = {column.name: column.kind for column in vae.model_.schema.columns}
    assert columns["age"] == "categorical"
    assert "income" not in columns
    assert vae.n_features_in_ == table.shape[1]
    assert vae.sample(2).columns == [name for name in table.columns if name != "income"]


@pytest.mark.full  # test_with_scikit_learn.py has a search in worker processes
def test_fitted_estimators_survive_worker_processes(of_people, table):
    density = of_people.score_samples(table)
    pieces = Parallel(n_jobs=2, backend="loky")(
        delayed(of_people.score_samples)(table[start : start + 40]) for start in (0, 40)
    )
    assert_allclose(np.concatenate(pieces), density, rtol=1e-5)


def test_a_model_without_a_density_scores_nothing():
    vae = rx.VAE(**TINY, objective="reconstruction").fit(numbers())
    assert vae.transform(numbers()).shape == (60, 2)
    with pytest.raises(RecipeError, match="expected a model with a density"):
        vae.score(numbers())


def test_codes_of_another_width_are_refused(of_numbers):
    with pytest.raises(DataError, match="expected one row of 2 latent numbers"):
        of_numbers.inverse_transform(numbers())


@pytest.mark.parametrize("method", ["sample", "transform", "inverse_transform", "score_samples", "score", "impute"])
def test_before_fit(method):
    with pytest.raises(NotFittedError):
        getattr(rx.VAE(), method)(*([] if method == "sample" else [numbers()]))


def test_frames_with_other_columns_are_refused(of_people, table):
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- age"):
        of_people.transform(table.rename({"age": "years"}))


def test_infinities_are_refused(of_numbers):
    data = numbers()
    data[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        of_numbers.transform(data)


def test_cells_that_are_no_cells_are_refused():
    array = np.array([[1, "a"], [2, "b"]], dtype=object)
    array[0, 0] = [1, 2]
    with pytest.raises(TypeError, match="argument must be a string or a number, not 'list'"):
        rx.VAE(**TINY).fit(array)


def test_a_wrong_parameter_is_named(table):
    with pytest.raises(RecipeError, match="expected latent_dim a whole number"):
        rx.VAE(latent_dim=0).fit(table)
    with pytest.raises(RecipeError, match="expected a number of samples from 1 up"):
        rx.VAE(**TINY | {"importance_samples": 0}).fit(numbers()).score(numbers())


def test_frames_that_are_none_are_refused(table):
    with pytest.raises(DataError, match="expected a data frame; got a lazy frame"):
        rx.VAE(**TINY).fit(table.lazy())
    twice = pa.table([table["age"].to_arrow()] * 2, names=["age", "age"])
    with pytest.raises(DataError, match="expected columns with different names"):
        rx.VAE(**TINY).fit(twice)


def test_masked_cells_are_missing(of_numbers):
    data = numbers()
    gaps = data.copy()
    gaps[3, 1] = np.nan
    masked = np.ma.masked_array(data, np.isnan(gaps))
    assert_array_equal(of_numbers.transform(masked), of_numbers.transform(gaps))
