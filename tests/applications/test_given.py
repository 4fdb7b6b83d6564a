"""Models to which columns or labels are given by name: against exact conditionals, and through every application."""

import json

import jax
import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import reparax as rx
from reparax.data import joint_values
from reparax.errors import DataError, RecipeError, ReparaxError

RNG = np.random.default_rng(0)
SMALL = {"width": 8, "depth": 1, "latent_dim": 2, "epochs": 2, "prior": "standard-normal"}
LINEAR = {"network": "linear", "likelihood": "normal", "latent_dim": 1, "depth": 0, "prior": "standard-normal"}
KEY = jax.random.key(0)

NUM_ROWS = 2400
GROUPS = np.array(["north", "south", "west"])
MEANS = np.array([[0.0, 5.0, -2.0, 1.0], [4.0, -3.0, 0.0, 1.0], [-6.0, 0.0, 3.0, 9.0]])
WEIGHT, NOISE = np.array([[1.0, -0.6, 0.8, 0.3]]), 0.4
GROUP = RNG.choice(3, NUM_ROWS, p=[0.5, 0.3, 0.2])
ROWS = MEANS[GROUP] + RNG.normal(size=(NUM_ROWS, 1)) @ WEIGHT + NOISE * RNG.normal(size=(NUM_ROWS, 4))
TABLE = pl.DataFrame(ROWS, ["a", "b", "c", "d"]).insert_column(1, pl.Series("region", GROUPS[GROUP]))


def ppca(rows: np.ndarray) -> stats.rv_continuous:
    """The maximum-likelihood PPCA with one factor: Tipping & Bishop (1999), equations 7 and 8."""
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    noise = values[:-1].mean()
    weight = vectors[:, -1] * np.sqrt(values[-1] - noise)
    return stats.multivariate_normal(rows.mean(axis=0), np.outer(weight, weight) + noise * np.eye(rows.shape[1]))


@pytest.fixture(scope="module")
def linear():
    return rx.fit(
        TABLE, given=["region"], epochs=120, patience=120, batch_size=100, learning_rate=0.02, valid=0.25, **LINEAR
    )


def test_a_linear_model_agrees_with_ppca_of_each_group_on_held_out_rows(linear):
    dataset = rx.read(TABLE, given=["region"])
    fitted_on, held_out = rx.applications.parts_of(linear, rx.applications.dataset_of(linear, dataset))
    found = rx.score(linear, held_out).log_density
    for group in range(3):
        code = linear.schema.given.columns[0].categories.index(GROUPS[group])
        of_fit, of_rest = (rows.conditions.values[:, 0] == code for rows in (fitted_on, held_out))
        exact = ppca(fitted_on.values[of_fit].astype(np.float64)).logpdf(held_out.values[of_rest])
        assert abs(found[of_rest].mean() - exact.mean()) < 0.05, GROUPS[group]
        # In another group, the same rows are very improbable.
        other = TABLE.with_columns(pl.lit(GROUPS[group - 1]).alias("region"))
        assert rx.evaluate(linear, other.filter(TABLE["region"] == GROUPS[group])).iwae < exact.mean() - 10


def test_samples_have_exactly_what_is_given_and_its_moments(linear):
    drawn = rx.sample(linear, 4000, key=KEY, where={"region": "south"})
    assert drawn.columns == TABLE.columns
    assert set(drawn["region"]) == {"south"}
    real = ROWS[GROUP == 1]
    numbers = drawn.drop("region").to_numpy()
    np.testing.assert_allclose(numbers.mean(axis=0), real.mean(axis=0), atol=0.12)
    np.testing.assert_allclose(np.cov(numbers.T), np.cov(real.T), atol=0.12)


def test_what_is_not_chosen_is_drawn_as_often_as_in_the_fit(linear):
    drawn = rx.sample(linear, 6000, key=KEY)
    counts = np.asarray([int((drawn["region"] == name).sum()) for name in GROUPS])
    expected = np.asarray(
        [linear.schema.given.columns[0].category_fractions[linear.schema.given.columns[0].categories.index(name)]
         for name in GROUPS]
    )  # fmt: skip
    assert np.all(np.abs(counts - 6000 * expected) < 5 * np.sqrt(6000 * expected * (1 - expected)))
    for place, name in enumerate(GROUPS):
        rows = drawn.filter(pl.col("region") == name).drop("region").to_numpy()
        np.testing.assert_allclose(rows.mean(axis=0), ROWS[place == GROUP].mean(axis=0), atol=0.2)
    assert drawn.equals(rx.sample(linear, 6000, key=KEY))


def test_a_saved_model_keeps_what_is_given(linear, tmp_path):
    rx.save(linear, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    np.testing.assert_array_equal(rx.encode(again, TABLE), rx.encode(linear, TABLE))
    assert rx.sample(again, 50, key=KEY).equals(rx.sample(linear, 50, key=KEY))
    assert (
        json.loads((tmp_path / "model" / "model.json").read_text())["data"]["given"]["columns"][0]["name"] == "region"
    )
    kinds = rx.read(TABLE, schema=tmp_path / "model" / "model.json", given=["region"]).schema
    assert kinds.given_columns[0].kind == "categorical"


def test_order_of_rows_and_columns_does_not_matter(linear):
    order = RNG.permutation(300)
    whole = rx.score(linear, TABLE[:300]).log_density
    np.testing.assert_array_equal(rx.score(linear, TABLE[:300][order.tolist()]).log_density, whole[order])
    np.testing.assert_array_equal(rx.score(linear, TABLE[:300].select("d", "region", "a", "c", "b")).log_density, whole)
    dataset = rx.read(TABLE[:300])
    np.testing.assert_array_equal(rx.score(linear, dataset).log_density, whole)
    np.testing.assert_array_equal(rx.score(linear, dataset.take(order)).log_density, whole[order])
    np.testing.assert_array_equal(rx.score(linear, rx.read(TABLE[:300], given=["region"])).log_density, whole)


def test_what_is_given_may_come_beside_the_data(linear):
    rows, region = TABLE[:40].drop("region"), TABLE[:40]["region"]
    whole = rx.score(linear, TABLE[:40]).log_density
    for context in ({"region": region.to_list()}, {"region": region.to_numpy()}, TABLE[:40].select("region")):
        np.testing.assert_array_equal(rx.score(linear, rows, context=context).log_density, whole)
    south = rx.score(linear, TABLE[:40], context={"region": "south"}).log_density
    np.testing.assert_array_equal(south[GROUP[:40] == 1], whole[GROUP[:40] == 1])
    assert (south[GROUP[:40] != 1] < whole[GROUP[:40] != 1] - 5).all()
    decoded = rx.decode(linear, np.zeros((2, 1)), context={"region": ["north", "west"]})
    np.testing.assert_allclose(decoded, [ROWS[group == GROUP].mean(axis=0) for group in (0, 2)], atol=0.3)
    mixed = rx.sample(linear, 3, key=KEY, context={"region": ["west", "north", "west"]})
    assert mixed["region"].to_list() == ["west", "north", "west"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop("region"), "'region'"),
        (lambda table: table.with_columns(pl.Series("region", ["north", "east", *["south"] * 8])), "'east' in row 2"),
        (lambda table: table.with_columns(pl.Series("region", ["north", None, *["south"] * 8])), "row 2"),
        (lambda table: table.with_columns(pl.Series("region", [1.5] * 10)), "1.5 in row 1"),
        (lambda table: table.with_columns(pl.Series("more", [1.5] * 10)), "'more'"),
    ],
)
def test_what_is_missing_or_unseen_is_refused(linear, change, words):
    for apply in (rx.score, rx.encode, rx.encode_std, rx.reconstruct, rx.evaluate):
        with pytest.raises(DataError, match=words):
            apply(linear, change(TABLE[:10]))


def test_wrong_names_and_values_are_refused(linear):
    def sample(**options):
        rx.sample(linear, 5, key=KEY, **options)

    def score(context):
        rx.score(linear, TABLE[:5], context=context)

    for attempt, words in (
        (lambda: rx.fit(TABLE, given=["regoin"]), "region"),
        (lambda: rx.fit(TABLE, given=["label"]), "label"),
        (lambda: rx.fit(TABLE, given=TABLE.columns), "all are given"),
        (lambda: rx.fit(rx.read(TABLE, given=["region"]), given=["a"]), "nothing is given yet"),
        (lambda: rx.fit(TABLE, given=["region"], context=np.ones((NUM_ROWS, 1))), "both"),
        (lambda: rx.fit(TABLE, context={"region": TABLE["region"]}), "no columns of the data"),
        (lambda: rx.fit(TABLE, context={"other": [1, 2]}), "'other'"),
        (lambda: rx.fit(TABLE, context={"other": [None] * NUM_ROWS}), "other"),
        (lambda: rx.fit(TABLE, context={}), "at least one"),
        (lambda: rx.read(TABLE, given=["a"], schema={"a": {"range": [-99, 99]}}), "one about 'a'"),
        (lambda: rx.read(TABLE, given=["region"], exclude=["region"]), "excluded"),
        (lambda: sample(where={"region": "east"}), "east"),
        (lambda: sample(where={"place": "south"}), "place"),
        (lambda: sample(context={"region": "east"}), "east"),
        (lambda: sample(context={"region": ["south"] * 4}), "5 examples"),
        (lambda: sample(context={"regions": "south"}), "regions"),
        (lambda: sample(context=np.ones(3)), "by name"),
        (lambda: sample(context={"region": "south"}, where={"region": "south"}), "region"),
        (lambda: score(np.ones((5, 3))), "by name"),
        (lambda: score({"region": ["south"] * 4}), "5 examples"),
        (lambda: rx.decode(linear, np.zeros((2, 1))), "'region'"),
        (lambda: rx.decode(linear, np.zeros((2, 1)), context={"region": "east"}), "east"),
    ):
        with pytest.raises(ReparaxError, match=words):
            attempt()


def people(count: int, seed: int) -> pl.DataFrame:
    """Rows with every kind of column, gaps, an order of two dates and an identifier."""
    rng = np.random.default_rng(seed)
    sex, age = rng.choice(["F", "M"], count), rng.integers(18, 80, count)
    city = rng.choice(["Ulm", "Bonn", "Köln"], count, p=[0.2, 0.3, 0.5])
    income = np.round(np.exp(7 + 0.02 * age + 0.3 * (sex == "M") + 0.3 * rng.normal(size=count)), 2)
    start = np.datetime64("2020-01-01") + rng.integers(0, 900, count)
    end = start + rng.integers(1, 60, count)
    return pl.DataFrame(
        {
            "name": [f"person number {place}" for place in range(count)], "sex": sex, "age": age, "city": city,
            "income": [None if gap else value for gap, value in zip(rng.random(count) < 0.1, income, strict=True)],
            "start": start, "end": end, "member": rng.random(count) < 0.4,
        }
    )  # fmt: skip


PEOPLE = people(400, 0)


@pytest.fixture(scope="module")
def mixed():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return rx.fit(PEOPLE.drop("name"), given=["sex", "age", "start"], relations="found", **SMALL)


def test_every_application_takes_given_columns_of_several_kinds(mixed):
    table = PEOPLE.drop("name")
    filled = rx.impute(mixed, table, num_samples=20)
    assert filled.columns == table.columns
    assert not filled["income"].null_count()
    assert filled.drop("income").equals(table.drop("income"))
    assert rx.score(mixed, table, num_samples=5).names == ("city", "income", "end", "member")
    assert rx.reconstruct(mixed, table).shape == (400, 4)
    assert set(rx.evaluate(mixed, table[:50], num_samples=5).columns) == {"city", "income", "end", "member"}
    drawn = rx.sample(mixed, 300, key=KEY)
    assert drawn.schema == table.schema
    # What is given together in a sample was together in a row of the fit.
    given = ["sex", "age", "start"]
    assert len(drawn.join(table, on=given, how="anti")) == 0
    assert np.isfinite(rx.privacy(mixed, table, num_samples=5).distance)


def test_relations_leave_given_columns_out(mixed):
    kept = {column.name for column in mixed.schema.columns}
    assert all({relation.child, *relation.parents} <= kept for relation in mixed.schema.relations)
    assert all(set(constraint.columns) <= kept for constraint in mixed.schema.constraints)


def test_a_condition_on_given_and_modeled_columns(mixed):
    drawn = rx.sample(mixed, 40, key=KEY, where={"sex": "F", "city": "Bonn"})
    assert set(drawn["sex"]) == {"F"}
    assert set(drawn["city"]) == {"Bonn"}
    assert drawn["age"].n_unique() > 5
    women = PEOPLE.filter(pl.col("sex") == "F")
    assert len(drawn.join(women, on=["age", "start"], how="anti")) == 0
    one = rx.sample(mixed, 5, key=KEY, where={"sex": "F", "age": 30, "start": "2021-03-04", "city": "Bonn"})
    assert one["start"].to_list() == [np.datetime64("2021-03-04").item()] * 5
    with pytest.raises(DataError, match="choose values of sex, start too"):
        rx.sample(mixed, 5, key=KEY, where={"age": 17})
    with pytest.raises(DataError, match="'age' in the range of the fit, 18 to 79; got 95"):
        rx.sample(mixed, 5, key=KEY, where={"sex": "F", "age": 95, "start": "2021-03-04"})
    with pytest.raises(DataError, match="'age' in the range"):
        rx.sample(mixed, 5, key=KEY, context={"sex": "F", "age": 95, "start": "2021-03-04"})


def test_a_rare_condition_on_modeled_columns_is_drawn_with_what_goes_with_it():
    """p(given | cells) is that of Bayes' theorem, not that of the fit."""
    rng = np.random.default_rng(1)
    side = rng.choice(["left", "right"], 2500, p=[0.8, 0.2])
    seen = np.where(rng.random(2500) < np.where(side == "left", 0.1, 0.7), "red", "blue")
    table = pl.DataFrame({"side": side, "seen": seen, "x": rng.normal(size=2500)})
    fitted = rx.fit(table, given=["side"], **SMALL | {"epochs": 15, "hide": 0.0, "learning_rate": 0.02})
    drawn = rx.sample(fitted, 4000, key=KEY, where={"seen": "red"})
    exact = 0.2 * 0.7 / (0.2 * 0.7 + 0.8 * 0.1)
    assert abs((drawn["side"] == "right").mean() - exact) < 0.05


def test_a_batch_that_is_given_leaves_the_codes():
    rng = np.random.default_rng(2)
    batch = rng.integers(0, 2, 1500)
    factors = rng.normal(size=(1500, 2))
    shift = np.array([[0.0] * 6, [2.0, -2.0, 3.0, 2.0, -3.0, 2.0]])
    rows = factors @ rng.normal(size=(2, 6)) + shift[batch] + 0.3 * rng.normal(size=(1500, 6))
    table = pl.DataFrame(rows, [f"g{place}" for place in range(6)]).with_columns(pl.Series("batch", batch))
    options = {
        "latent_dim": 2, "width": 64, "depth": 1, "epochs": 60, "learning_rate": 0.005, "batch_size": 100, "hide": 0.0,
        "prior": "standard-normal",
    }  # fmt: skip
    codes = {name: rx.encode(rx.fit(data, **(options | chosen)), data) for name, data, chosen in (
        ("given", table, {"given": ["batch"]}), ("modeled", table.drop("batch"), {"epochs": 15}),
    )}  # fmt: skip

    def accuracy(classifier, of):
        return cross_val_score(classifier, codes[of], batch, cv=5).mean()

    def same_batch(of):
        nearest = NearestNeighbors(n_neighbors=16).fit(codes[of]).kneighbors(codes[of], return_distance=False)
        return (batch[nearest[:, 1:]] == batch[:, None]).mean()

    for classifier in (LogisticRegression(), KNeighborsClassifier(15)):
        assert accuracy(classifier, "modeled") > 0.85
        assert accuracy(classifier, "given") < 0.58
    assert same_batch("modeled") > 0.8
    assert same_batch("given") < 0.57
    # What is not the batch stays.
    design = np.column_stack([codes["given"], np.ones(1500)])
    left = factors - design @ np.linalg.lstsq(design, factors, rcond=None)[0]
    assert (1 - left.var(axis=0) / factors.var(axis=0)).min() > 0.9


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_labels_of_images_are_given(network, tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 600)
    images = (
        rng.random((600, 6, 6)) < np.where(np.arange(36).reshape(6, 6) // 12 == labels[:, None, None], 0.9, 0.1)
    ).astype(int)
    np.save(tmp_path / "labels.npy", labels)
    options = {
        "network": network,
        "width": 16,
        "depth": 1,
        "latent_dim": 2,
        "epochs": 60,
        "patience": 60,
        "learning_rate": 0.01,
    }
    fitted = rx.fit(rx.read(images, label=tmp_path / "labels.npy"), given=["label"], **options)
    for label in range(3):
        drawn = rx.sample(fitted, 200, key=KEY, where={"label": label})
        found = drawn.reshape(200, 3, 12).mean(axis=(0, 2))
        np.testing.assert_allclose(found, np.where(np.arange(3) == label, 0.9, 0.1), atol=0.1)
    if network == "convolutional":
        return
    beside = rx.fit(images, context={"label": labels}, **options)
    np.testing.assert_array_equal(rx.sample(beside, 9, key=KEY), rx.sample(fitted, 9, key=KEY))
    np.testing.assert_array_equal(
        rx.score(fitted, images, context={"label": labels}).log_density,
        rx.score(fitted, rx.read(images, label=tmp_path / "labels.npy")).log_density,
    )
    with pytest.raises(DataError, match="--label"):
        rx.score(fitted, images)


def test_a_report_and_its_numbers(mixed, tmp_path):
    rx.report(mixed, PEOPLE.drop("name"), tmp_path / "page.html", num_samples=5)
    page = (tmp_path / "page.html").read_text()
    assert "Given are sex, age, start" in page
    assert "--given sex,age,start" in page
    rx.report(mixed, PEOPLE.drop("name"), tmp_path / "page.json", num_samples=5)
    numbers = json.loads((tmp_path / "page.json").read_text())
    assert [column["name"] for column in numbers["columns"]] == PEOPLE.columns[1:]
    assert "does not see what is given" in numbers["findings"][0]["detail"]


def test_columns_without_names_are_given_by_number():
    fitted = rx.fit(np.column_stack([ROWS[:200, :2], GROUP[:200]]), given=["2"], epochs=2, **LINEAR)
    assert fitted.schema.given_columns[0].name == "column_2"
    drawn = rx.sample(fitted, 20, key=KEY, where={"column_2": 1})
    assert drawn.shape == (20, 3)
    assert (drawn[:, 2] == 1).all()
    assert np.isfinite(rx.score(fitted, np.column_stack([ROWS[:9, :2], GROUP[:9]])).log_density).all()
    with pytest.raises(DataError, match="3 columns"):
        rx.score(fitted, ROWS[:9, :2])


def test_joint_values_are_the_rows_of_the_table():
    plain, given = rx.read(PEOPLE), rx.read(PEOPLE, given=["age", "city"])
    np.testing.assert_array_equal(joint_values(given), plain.values)
    assert [column.name for column in given.schema.joint.columns] == [column.name for column in plain.schema.columns]


def test_the_estimators_of_scikit_learn_take_given_columns():
    table = PEOPLE.drop("name").to_pandas()
    model = rx.VAE(given=["sex", "age"], random_state=0, importance_samples=5, hide=0.0, **SMALL).fit(table)
    assert model.transform(table[:20]).shape == (20, 2)
    drawn = model.sample(30)
    assert list(drawn.columns) == list(table.columns)
    assert set(drawn["sex"]) == {"F", "M"}
    with pytest.raises(RecipeError, match="'sex', 'age'"):
        model.inverse_transform(model.transform(table[:3]))
    assert [line.variable for line in rx.explain(model.model_).lines][-1] == "KL"
    detector = rx.AnomalyDetector(given=["sex"], random_state=0, importance_samples=2, **SMALL).fit(table)
    assert "sex" not in detector.columns_
    assert detector.score_samples(table[:10]).shape == (10,)
