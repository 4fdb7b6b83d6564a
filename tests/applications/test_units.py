"""What the model sees of a table: wide numbers shifted, codes of categories as they are."""

import numpy as np
import polars as pl

from reparax.data import read
from reparax.recipe import Units


def test_wide_columns_are_shifted_and_codes_are_not():
    rng = np.random.default_rng(0)
    seconds = 1_700_000_000 + rng.integers(0, 999, 50)
    frame = pl.DataFrame({"t": seconds, "s": rng.choice(["x", "y", "z"], 50), "p": [7.25] * 25 + [None] * 25})
    dataset = read(frame)
    units = Units.of(dataset.schema)
    assert dataset.schema.dtype == "float64"
    assert units.offset[1] == 0
    assert units.offset[0] == np.rint(units.offset[0])
    stored = units.stored(dataset.values)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored[:, 1], dataset.values[:, 1])
    np.testing.assert_array_equal(units.restored(stored.astype(np.float64)), dataset.values)
    before, after = dataset.schema.columns, units.summary.columns
    assert after[1] == before[1]
    for old, new, offset in zip(before[::2], after[::2], units.offset[::2], strict=True):
        assert (new.low, new.high, new.mean) == (old.low - offset, old.high - offset, old.mean - offset)
        assert (new.std, new.step, new.kind) == (old.std, old.step, old.kind)
        np.testing.assert_array_equal(new.quantiles, np.asarray(old.quantiles) - offset)
        np.testing.assert_array_equal(new.spikes, np.asarray(old.spikes) - offset)
    np.testing.assert_allclose(units.summary.low, [after[0].low, 0, after[2].low])


def test_atoms_are_equal_to_the_stored_cells():
    seconds = np.repeat(1_700_000_000.1 + np.arange(20), 10)
    dataset = read(pl.DataFrame({"t": seconds, "s": ["x", "y"] * 100}))
    units = Units.of(dataset.schema)
    spikes = np.asarray(units.summary.columns[0].spikes, np.float32)
    assert len(spikes) == 20
    np.testing.assert_array_equal(np.unique(units.stored(dataset.values)[:, 0]), spikes)
