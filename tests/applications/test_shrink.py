"""Imputed numbers that are too sure are moved towards the mean; good ones and categories stay."""

import numpy as np
import pytest

from reparax.applications._shrink import shrunk
from reparax.data import read

ROWS = 1500


def table() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(3.0, 2.0, size=(ROWS, 3))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    return rows


VALUES = table()
COLUMNS = read(VALUES).schema.columns
TRUTH = np.where(np.isnan(VALUES), np.random.default_rng(1).normal(3.0, 2.0, size=VALUES.shape), VALUES)


def noisy(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The first column is imputed at random, the second with noise as large as what is right, the third exactly."""
    rng = np.random.default_rng(int(np.isnan(values).sum()))
    guess = TRUTH[places].copy()
    guess[:, 0] = rng.normal(3.0, 2.0, len(places))
    guess[:, 1] += rng.normal(0.0, 2.0, len(places))
    return np.where(np.isnan(values), guess, values)


def test_guesses_are_as_sure_as_hidden_cells_allow():
    filled = noisy(VALUES, np.arange(ROWS))
    found = shrunk(filled, VALUES, COLUMNS, noisy)
    gaps = np.isnan(VALUES)
    np.testing.assert_array_equal(found[~gaps], VALUES[~gaps])
    for index, expected in enumerate((0.0, 0.5, 1.0)):
        at, mean = gaps[:, index], COLUMNS[index].mean
        slope = (found[at, index] - mean) / (filled[at, index] - mean)
        assert np.ptp(slope) < 1e-6
        assert slope[0] == pytest.approx(expected, abs=0.2)


def test_the_order_of_the_rows_does_not_matter():
    order = np.random.default_rng(2).permutation(ROWS)
    mean = np.nanmean(VALUES, axis=0)

    def guess(values: np.ndarray, places: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), mean + np.cos(np.nansum(values, axis=1))[:, None], values)

    found = shrunk(guess(VALUES, np.arange(ROWS)), VALUES, COLUMNS, guess)
    other = shrunk(guess(VALUES[order], np.arange(ROWS)), VALUES[order], COLUMNS, guess)
    np.testing.assert_allclose(found[order], other, rtol=1e-9)


def test_nothing_is_said_by_too_few_rows():
    filled = noisy(VALUES[:1], np.arange(1))
    np.testing.assert_allclose(shrunk(filled, VALUES[:1], COLUMNS, noisy), filled, atol=1.0)
