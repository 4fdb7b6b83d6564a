"""Models of counts: the size of an example, and the influence of a batch on the codes."""

import jax
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import reparax as rx
from reparax.errors import DataError, RecipeError

NUM_CELLS, NUM_GENES = 900, 60


def made(seed: int, batch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of three types of cells in two batches, which multiply each gene by a factor."""
    rng = np.random.default_rng(seed)
    profiles = np.exp(rng.normal(0.5, 0.7, NUM_GENES) + rng.normal(size=(3, NUM_GENES)) * (rng.random(NUM_GENES) < 0.4))
    kinds, batches = rng.integers(0, 3, NUM_CELLS), rng.integers(0, 2, NUM_CELLS)
    factors = np.exp(batch * rng.normal(size=(2, NUM_GENES)))
    mean = profiles[kinds] * factors[batches] * rng.lognormal(0.0, 0.6, (NUM_CELLS, 1))
    return rng.negative_binomial(5.0, 5.0 / (5.0 + mean)), kinds, batches


COUNTS, KINDS, BATCHES = made(0, batch=0.7)
TABLE = pl.DataFrame({f"g{index}": column for index, column in enumerate(COUNTS.T)}).with_columns(
    batch=pl.Series([("first", "second")[place] for place in BATCHES])
)
SETTINGS = {"latent_dim": 5, "seed": 0, "likelihood": "negative-binomial"}


@pytest.fixture(scope="module")
def codes():
    with_batch = rx.fit(TABLE, given=["batch"], library_size="observed", epochs=70, **SETTINGS)
    without = rx.fit(COUNTS, library_size="observed", epochs=25, **SETTINGS)
    return rx.encode(with_batch, TABLE), rx.encode(without, COUNTS), with_batch


def accuracy(codes: np.ndarray, labels: np.ndarray, model) -> float:
    return float(cross_val_score(model, codes / codes.std(axis=0), labels, cv=4).mean())


def mixing(codes: np.ndarray) -> float:
    """The fraction of the 15 nearest neighbors from the other batch, over that of all cells: 1 if these mix."""
    near = NearestNeighbors(n_neighbors=16).fit(codes).kneighbors(codes, return_distance=False)[:, 1:]
    of_other = (BATCHES[near] != BATCHES[:, None]).mean()
    fraction = BATCHES.mean()
    return float(of_other / (2 * fraction * (1 - fraction)))


def test_a_given_batch_leaves_the_codes(codes):
    removed, kept, _ = codes
    logistic, neighbors = LogisticRegression(max_iter=1000), KNeighborsClassifier(15)
    assert accuracy(kept, BATCHES, neighbors) > 0.9  # there is an effect to remove
    assert mixing(kept) < 0.3
    assert accuracy(removed, BATCHES, neighbors) < 0.62
    assert accuracy(removed, BATCHES, logistic) < 0.62
    assert mixing(removed) > 0.85
    assert accuracy(removed, KINDS, neighbors) > 0.95  # and what the cells are is still there


@pytest.mark.full
def test_codes_know_less_of_the_size_if_it_is_a_factor(codes):
    removed, _, _ = codes
    sizes = np.log1p(COUNTS.sum(axis=1))
    free = rx.encode(rx.fit(TABLE, given=["batch"], epochs=70, **SETTINGS), TABLE)

    def explained(z):
        design = np.column_stack([z, np.ones(len(z))])
        left = sizes - design @ np.linalg.lstsq(design, sizes, rcond=None)[0]
        return 1 - left.var() / sizes.var()

    assert explained(free) > 0.9
    assert explained(removed) < explained(free) - 0.2


def test_samples_and_files_of_a_model_with_a_size(codes, tmp_path):
    *_, fitted = codes
    rows = rx.sample(fitted, 300, key=jax.random.key(1), where={"batch": "first"})
    assert set(rows["batch"]) == {"first"}
    totals = rows.drop("batch").to_numpy().sum(axis=1)
    real = COUNTS[BATCHES == 0].sum(axis=1)
    assert abs(np.log(np.median(totals) / np.median(real))) < 0.3
    rx.save(fitted, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    np.testing.assert_array_equal(rx.score(again, TABLE).log_density, rx.score(fitted, TABLE).log_density)


def test_a_latent_size_is_closed_only_for_poisson_counts():
    for name in ("negative-binomial", "zero-inflated-poisson", "zero-inflated-negative-binomial"):
        with pytest.raises(RecipeError, match="Poisson counts only"):
            rx.fit(COUNTS, likelihood=name, library_size="latent", epochs=1)
    with pytest.raises(RecipeError, match="none or observed or latent"):
        rx.fit(COUNTS, likelihood="poisson", library_size="seen", epochs=1)


def test_negative_counts_and_fractions_are_refused(codes):
    *_, fitted = codes
    wrong = TABLE.with_columns(g0=pl.lit(-1))
    with pytest.raises(DataError, match="counts, as in training"):
        rx.score(fitted, wrong)
