"""What the report says of relations between columns, on rows in which they hold and in which they are broken."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from reparax.data import read, related
from reparax.reports.findings import kept, relations_held
from reparax.reports.related import related as section


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    zone = rng.choice([f"zone {i}" for i in range(8)], 400)
    paid = rng.choice(["cash", "card"], 400)
    frame = pl.DataFrame(
        {
            "zone": zone,
            "borough": np.array(["north", "south"])[[int(name.split()[1]) % 2 for name in zone]],
            "paid": paid,
            "tip": np.where(paid == "cash", 0.0, np.round(rng.gamma(2, 1, 400), 2)),
        }
    )
    dataset = read(frame)
    return related(dataset.schema, dataset.values, find=True), dataset.values


def study(schema, real, synthetic):
    fitted = SimpleNamespace(schema=schema)
    return SimpleNamespace(is_table=True, fitted=fitted, compared=(real, synthetic), columns=schema.columns)


def test_relations_that_hold_are_good(table):
    schema, values = table
    (found,) = kept(study(schema, values, values[::-1]))
    assert (found.value, found.level) == (1.0, "good")
    assert "hold in 100 %" in found.sentence


def test_broken_relations_are_named_with_their_fraction(table):
    schema, values = table
    broken = values.copy()
    broken[:100, 1] = 1 - broken[:100, 1]
    (found,) = kept(study(schema, values, broken))
    assert found.value == pytest.approx(0.75)
    assert found.level == "poor"
    assert "broken in 25 %" in found.sentence
    assert "borough follows from zone" in found.sentence
    real, synthetic = relations_held(study(schema, values, broken))
    assert min(real) == 1.0
    assert sorted(synthetic)[0] == pytest.approx(0.75)


def test_pairs_that_occur_together_are_counted(table):
    schema, values = table
    broken = values.copy()
    broken[:, 3] = 1.0
    (found,) = kept(study(schema, values, broken))
    assert found.value == pytest.approx(
        float((values[:, 2] != list(schema.columns[2].categories).index("cash")).mean())
    )
    assert "never paid" in found.sentence


def test_the_section_lists_them(table):
    schema, values = table
    made = section(study(schema, values, values))
    assert made is not None
    lines = [cell for block in made.blocks for cell in getattr(block, "rows", ())]
    assert any("borough follows from zone" in str(line) for line in lines)
    assert section(study(read(pl.DataFrame({"a": [1.0, 2.5]})).schema, values, values)) is None
