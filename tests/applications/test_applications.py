"""Encoding, scoring, evaluating and sampling: the same row gives the same bits, in the user's units."""

from dataclasses import replace
from datetime import datetime

import jax
import numpy as np
import pytest
from scipy import special
from sklearn.datasets import load_wine

import reparax as rx
from reparax.applications._evaluate import _gives_probabilities
from reparax.applications._rows import row_hashes
from reparax.data import split
from reparax.errors import DataError, RecipeError
from reparax.recipe import build, suggest

WINE = load_wine().data
SMALL = {"epochs": 3, "width": 8, "latent_dim": 2, "hide": 0.0}


def fit(data, **chosen):
    if np.ndim(data) == 2:
        chosen = {"likelihood": "normal"} | chosen  # quick to compile; test_tables.py has the columns
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return rx.fit(data, **(SMALL | chosen))


@pytest.fixture(scope="module")
def wine():
    return fit(WINE)


LEVELS = np.random.default_rng(0).integers(0, 16, (40, 5, 4, 1))


@pytest.fixture(scope="module")
def dynamic():
    return fit(LEVELS, binarize="dynamic")


def reordered(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "order": rng.permutation(count),
        "subset": np.array([3, 17, 5]),
        "one": np.array([count - 1]),
        "duplicates": np.array([4, 4, 9, 4]),
        "many": np.tile(np.arange(count), 9),  # more than one batch
    }


@pytest.mark.parametrize("case", reordered(100))
def test_encode_and_score_of_a_row_have_the_same_bits_in_any_company(wine, case):
    rows = reordered(len(WINE))[case]
    codes, scores = rx.encode(wine, WINE), rx.score(wine, WINE, num_samples=7)
    np.testing.assert_array_equal(rx.encode(wine, WINE[rows]), codes[rows])
    np.testing.assert_array_equal(rx.score(wine, WINE[rows], num_samples=7).log_density, scores.log_density[rows])


def test_decoding_codes_is_reconstructing(wine, dynamic):
    for fitted, data in ((wine, WINE), (dynamic, LEVELS)):
        codes = rx.encode(fitted, data)
        np.testing.assert_allclose(rx.decode(fitted, codes), rx.reconstruct(fitted, data), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(rx.decode(fitted, codes)[3:5], rx.decode(fitted, codes[3:5]))


@pytest.mark.parametrize("codes", [np.zeros((3, 5)), np.zeros(2), np.zeros((0, 2))])
def test_codes_of_another_shape_are_refused(wine, codes):
    with pytest.raises(DataError, match="one row of 2 latent numbers"):
        rx.decode(wine, codes)


def test_images_binarized_on_the_way_keep_their_bits_in_any_company(dynamic):
    rows = reordered(len(LEVELS))["many"]
    codes, scores = rx.encode(dynamic, LEVELS), rx.score(dynamic, LEVELS, num_samples=3)
    np.testing.assert_array_equal(rx.encode(dynamic, LEVELS[rows]), codes[rows])
    np.testing.assert_array_equal(rx.score(dynamic, LEVELS[rows], num_samples=3).log_density, scores.log_density[rows])
    again = rx.score(dynamic, LEVELS, num_samples=3)
    np.testing.assert_array_equal(again.log_density, scores.log_density)
    other = rx.score(dynamic, LEVELS, num_samples=3, seed=1)
    assert np.all(other.log_density != scores.log_density)


def test_hashes_differ_between_rows_and_not_between_equal_ones():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.integers(0, 2, (4000, 30)).astype(np.uint8), np.eye(30, dtype=np.uint8)])
    rows = np.unique(rows, axis=0)
    marks = row_hashes(rows)
    assert marks.dtype == np.uint32
    assert len(np.unique(marks, axis=0)) == len(rows)
    np.testing.assert_array_equal(row_hashes(rows[::-1]), marks[::-1])
    halves = row_hashes(np.concatenate([rows, rows])[:, ::-1])
    np.testing.assert_array_equal(halves[: len(rows)], halves[len(rows) :])


def test_the_same_seed_gives_the_same_model(wine):
    again = fit(WINE)
    for one, two in zip(jax.tree.leaves(wine.model), jax.tree.leaves(again.model), strict=True):
        np.testing.assert_array_equal(one, two)


def test_shapes_dtypes_and_units(wine):
    assert rx.encode(wine, WINE).shape == (178, 2)
    assert np.all(rx.encode_std(wine, WINE) > 0)
    rebuilt = rx.reconstruct(wine, WINE)
    assert rebuilt.shape == WINE.shape
    # Three epochs teach little, but means and scales of the columns are the user's from the start.
    assert np.all(np.abs(rebuilt.mean(axis=0) - WINE.mean(axis=0)) < 1.5 * WINE.std(axis=0))
    drawn = rx.sample(wine, 300, key=jax.random.key(0))
    assert drawn.shape == (300, 13)
    ratio = drawn.std(axis=0) / WINE.std(axis=0)
    assert np.all((ratio > 0.3) & (ratio < 3))
    np.testing.assert_array_equal(drawn, rx.sample(wine, 300, key=jax.random.key(0)))
    assert not np.array_equal(drawn, rx.sample(wine, 300, key=jax.random.key(1)))
    means = rx.sample_means(wine, 300, key=jax.random.key(0))
    assert np.all(means.std(axis=0) < drawn.std(axis=0))


def test_samples_of_binarized_images_are_bits_of_the_images_shape(dynamic):
    drawn = rx.sample(dynamic, 7, key=jax.random.key(0))
    assert drawn.shape == (7, 5, 4, 1)
    assert set(np.unique(drawn)) == {0, 1}
    rebuilt = rx.reconstruct(dynamic, LEVELS)
    assert rebuilt.shape == LEVELS.shape
    assert np.all((rebuilt > 0) & (rebuilt < 1))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e39])
def test_codes_that_are_not_finite_are_refused(wine, wrong):
    with pytest.raises(DataError, match="finite codes; got NaN or infinity in row 2"):
        rx.decode(wine, np.asarray([[0.0, 1.0], [0.0, wrong]]))


def test_evaluation_is_the_mean_of_the_scores_with_honest_errors(wine):
    found, scores = rx.evaluate(wine, WINE, num_samples=7), rx.score(wine, WINE, num_samples=7)
    assert found.iwae == pytest.approx(scores.log_density.astype(np.float64).mean(), rel=1e-5)
    error = scores.log_density.astype(np.float64).std(ddof=1) / np.sqrt(178)
    assert found.iwae_standard_error == pytest.approx(error, rel=1e-5)
    assert found.elbo == pytest.approx(found.reconstruction - found.kl, rel=1e-5)
    assert found.elbo <= found.iwae
    assert (found.num_examples, found.num_samples, found.latent_dim) == (178, 7, 2)
    codes = rx.encode(wine, WINE)
    assert found.active_units == (codes.var(axis=0) > 0.01).sum()
    one = rx.evaluate(wine, WINE[:1], num_samples=7)
    assert one.iwae_standard_error is None
    assert one.iwae == pytest.approx(float(scores.log_density[0]), rel=1e-6)


def test_bits_per_dim_of_images(dynamic):
    found = rx.evaluate(dynamic, LEVELS, num_samples=3)
    assert found.bits_per_dim == pytest.approx(-found.iwae / (20 * np.log(2)))
    # Fair coins cost one bit; a model of nearly uniform intensities cannot be far from it.
    assert 0.8 < found.bits_per_dim < 1.2


@pytest.mark.parametrize(
    ("likelihood", "is_counted"),
    [("bernoulli", True), ("discretized-logistic", True), ("categorical", True), ("poisson", True),
     ("normal", False), ("continuous-bernoulli", False)],
)  # fmt: skip
@pytest.mark.parametrize("context_dim", [0, 2])
def test_only_probabilities_are_counted_in_bits(likelihood, is_counted, context_dim):
    schema = rx.read(np.random.default_rng(0).integers(0, 2, (20, 3, 4))).schema
    recipe = suggest(schema, 20, likelihood=likelihood, latent_dim=2, width=4, context_dim=context_dim)
    model = build(recipe, schema, key=jax.random.key(0), contexts=np.ones((20, 2)) if context_dim else None)
    assert _gives_probabilities(rx.FittedModel(model, schema, recipe)) == is_counted


def test_scores_rise_with_the_number_of_samples_towards_the_bound(wine):
    few, many = (rx.score(wine, WINE, num_samples=count).log_density.mean() for count in (1, 200))
    assert many > few


@pytest.mark.parametrize("count", [0, -3])
def test_numbers_of_samples_below_one_are_refused(wine, count):
    for call in (
        lambda: rx.score(wine, WINE, num_samples=count),
        lambda: rx.evaluate(wine, WINE, num_samples=count),
        lambda: rx.sample(wine, count, key=jax.random.key(0)),
    ):
        with pytest.raises(RecipeError, match="from 1 up"):
            call()


def test_rows_of_another_shape_are_refused(wine):
    with pytest.raises(DataError, match="13 columns"):
        rx.encode(wine, WINE[:, :5])
    with pytest.raises(DataError, match="finite"):
        rx.score(wine, np.where(WINE > 1000, np.inf, WINE))


def test_bernoulli_on_gray_values_offers_the_continuous_bernoulli():
    gray = np.random.default_rng(0).uniform(size=(20, 3, 3))
    with pytest.raises(DataError, match="continuous-bernoulli") as caught:
        fit(gray, likelihood="bernoulli")
    assert "0 and 1" in str(caught.value)
    assert rx.plan(gray).likelihood == "continuous-bernoulli"


def test_dates_in_seconds_keep_their_digits_and_their_density():
    start = datetime(2024, 1, 1).timestamp()
    rng = np.random.default_rng(0)
    near = np.column_stack([rng.normal(0.0, 20.0, 200), rng.normal(size=200)])
    dates = near + np.array([start, 0.0])
    there = fit(dates)
    assert there.schema.dtype == "float64"
    back = rx.reconstruct(there, dates)
    assert back.dtype == np.float64
    assert np.all(np.abs(back[:, 0] - dates[:, 0]) < 200)
    drawn = rx.sample(there, 200, key=jax.random.key(0))
    assert 5 < drawn[:, 0].std() < 80  # float32 steps by 128 seconds there
    # A shift has Jacobian one: rows that are shifted already have the same density under the same model.
    shifted = (dates - there.units.offset).astype(np.float32)
    here = replace(there, schema=rx.read(shifted).schema)
    assert here.units.offset is None
    np.testing.assert_array_equal(
        rx.score(there, dates, num_samples=9).log_density, rx.score(here, shifted, num_samples=9).log_density
    )


@pytest.fixture(scope="module")
def deterministic():
    return fit(WINE, objective="reconstruction", likelihood="normal", epochs=60)


def test_a_deterministic_autoencoder_reconstructs_generates_and_claims_no_density(deterministic):
    assert deterministic.recipe.posterior == "deterministic"
    scores = rx.score(deterministic, WINE)
    assert scores.log_density is None
    x = WINE[:5]
    law = deterministic.model.likelihood
    log_scale = np.asarray(law.log_scale, np.float64)
    bounded = -7 + np.logaddexp(0, log_scale + 7) - np.logaddexp(0, log_scale - 3)  # softly, by the likelihood
    std = np.asarray(law.std.value) * np.exp(bounded)
    rebuilt = rx.reconstruct(deterministic, x)
    by_hand = (0.5 * ((x - rebuilt) / std) ** 2 + np.log(std) + 0.5 * np.log(2 * np.pi)).sum(axis=1)
    np.testing.assert_allclose(scores.anomaly_score[:5], by_hand, rtol=2e-3)
    codes = rx.encode(deterministic, WINE)
    prior = deterministic.model.prior(deterministic.model.posterior)
    spread = codes.std(axis=0)
    assert np.all(np.abs(np.asarray(prior.mean) - codes.mean(axis=0)) < 0.2 * spread)  # of the rows fitted on
    drawn = rx.sample(deterministic, 400, key=jax.random.key(0))
    assert np.all(np.abs(drawn.mean(axis=0) - WINE.mean(axis=0)) < 0.5 * WINE.std(axis=0))
    found = rx.evaluate(deterministic, WINE)
    nothing = (found.elbo, found.iwae, found.kl, found.bits_per_dim, found.iwae_standard_error)
    assert nothing == (None,) * 5
    assert found.reconstruction == pytest.approx(-scores.anomaly_score.astype(np.float64).mean(), rel=1e-4)


def test_standard_deviations_and_bounds_of_a_deterministic_autoencoder_are_refused(deterministic):
    with pytest.raises(RecipeError, match="--std"):
        rx.encode_std(deterministic, WINE)
    for objective in ("elbo", "iwae"):
        with pytest.raises(RecipeError, match="--objective reconstruction"):
            fit(WINE, posterior="deterministic", objective=objective)


def test_two_rows_are_enough_and_one_is_not():
    fitted = fit(WINE[:2], epochs=2)
    seen, far = (rx.score(fitted, rows, num_samples=3).log_density for rows in (WINE[:2], WINE[:2] + 1e4))
    assert seen.min() > far.max()
    with pytest.raises(DataError, match="at least 2"):
        fit(WINE[:1])


def test_control_c_during_fit_keeps_the_best_model():
    def press(record) -> None:
        raise KeyboardInterrupt

    fitted = fit(WINE, epochs=500, progress=press)
    assert fitted.status == "interrupted"
    assert len(fitted.history) == 1
    _, held_out = split(rx.read(WINE), fitted.recipe.valid, fitted.recipe.seed)
    found = rx.evaluate(fitted, held_out, num_samples=50)
    assert abs(found.elbo - fitted.history[0].valid["bound"]) < 3 * found.elbo_standard_error


def test_counts_stay_whole_when_sampled():
    counts = np.random.default_rng(0).poisson((0.5, 20.0), (60, 2))
    fitted = fit(counts, likelihood="poisson", epochs=40)
    drawn = rx.sample(fitted, 500, key=jax.random.key(0))
    np.testing.assert_array_equal(drawn, np.round(drawn))
    assert drawn.min() >= 0
    means = drawn.mean(axis=0)
    assert np.all(np.abs(means - counts.mean(axis=0)) < [0.4, 5.0])
    # K = 1 and a code of no use: near the entropy of two Poisson columns.
    entropy = -rx.evaluate(fitted, counts, num_samples=50).iwae
    assert 2.5 < entropy < 6.0


def test_log_density_of_bits_sums_to_one_over_every_image():
    bits = np.random.default_rng(0).integers(0, 2, (40, 2, 2))
    bits[:, 0, 0] = bits[:, 1, 1]
    fitted = fit(bits, posterior="categorical", latent_dim=1, epochs=30)
    every = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T.reshape(16, 2, 2)
    bound = rx.score(fitted, every, num_samples=3000).log_density.astype(np.float64)
    # The bound of many samples is nearly log p(x), and ten states are enough for 3000 draws to see them all.
    assert special.logsumexp(bound) == pytest.approx(0.0, abs=0.02)
