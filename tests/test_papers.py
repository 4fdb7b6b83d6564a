"""The page of papers is made from what their scripts kept, and the pieces of the scripts do what they say."""

import importlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "papers"
RNG = np.random.default_rng(0)


@pytest.fixture
def script(monkeypatch):
    """Imports a script, as one that runs beside the others."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def images(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 4, 4, 1)).astype(np.uint8)


def test_the_page_is_made_from_what_was_kept(script):
    module = script("page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python benchmarks/papers --page"


def test_every_row_that_was_kept_is_on_the_page(script):
    text, record = script("page").page(), script("record")
    kept = sorted((FOLDER / "results").glob("*.json"))
    assert kept
    for path in kept:
        found = record.Record.load(path)
        assert all("| " + " | ".join(row.cells()) + " |" in text for row in found.rows), path
        assert all(len(row.values) == len(row.seeds) for row in found.rows), path


def test_another_result_is_another_page(script, tmp_path, monkeypatch):
    module, record = script("page"), script("record")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    before = module.page()
    assert before.count("**Not run") == len(module.SECTIONS)
    row = record.Row("something", "0.5", (0.25, 0.75), (0, 1), 2)
    record.Record((row,), ("A note.",), 1.5).save("miwae")
    assert "| something | 0.5 | 0.50 (0.25 to 0.75) | 0, 1 |" in module.page()
    assert json.loads((tmp_path / "miwae.json").read_text())["notes"] == ["A note."]


def test_every_script_is_on_the_page(script):
    module = script("page")
    others = {"page", "record", "__main__"}
    assert {path.stem for path in FOLDER.glob("*.py")} - others == {section.script for section in module.SECTIONS}
    assert set(module.ON_TWO_CORES) <= {section.script for section in module.SECTIONS}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_closed_forms_of_variances(script, p):
    """Against moments over all values of the bit, and over a grid of the uniform variable behind a pair."""
    module = script("binary_gradients")
    exact = module.closed_forms(p)
    f = (np.array([0.0, 1.0]) - module.TARGET) ** 2
    scores, weights = np.array([-p, 1 - p]), np.array([1 - p, p])
    assert exact["score-function"] == pytest.approx(weights @ (f * scores) ** 2 - (weights @ (f * scores)) ** 2)
    one = np.arange(0.5, 200_000) / 200_000
    first, second = (one > 1 - p).astype(int), (one < p).astype(int)
    arm = (f[first] - f[second]) * (one - 0.5)
    assert exact["arm"] == pytest.approx(arm.var(), rel=1e-3)
    factor = 0.5 * (-1.0) ** second * (first != second) * max(p, 1 - p)
    assert exact["disarm"] == pytest.approx(((f[first] - f[second]) * factor).var(), rel=1e-3)


def test_labels_are_ten_of_each(script):
    module = script("few_labels")
    labels = RNG.integers(0, 10, 1000)
    known = module.few(labels, seed=3)
    seen = known != module.UNKNOWN
    assert np.array_equal(known[seen], labels[seen])
    assert (np.bincount(known[seen]) == 10).all()
    assert not np.array_equal(known, module.few(labels, seed=4))


def test_half_of_the_cells_are_imputed(script):
    module = script("miwae")
    base = RNG.normal(size=(120, 1))
    full = module.standardized(base + 0.1 * RNG.normal(size=(120, 4)))
    mask = module.removed(full.shape)
    assert mask.sum() == 240
    assert module.error(np.zeros_like(full), full, mask) == pytest.approx((full[mask] ** 2).mean())
    assert module.linear(full, mask) < 0.5
    assert module.imputed(full, mask, {"epochs": 2, "width": 8}, 0) < 2.0


def test_errors_of_mixed_tables_are_those_of_the_paper(script, tmp_path):
    module = script("hi_vae")
    folder = tmp_path / "Small"
    folder.mkdir()
    (folder / "data_types.csv").write_text("type,dim,nclass\nreal,1,\ncat,2,2\nordinal,4,4\n")
    np.savetxt(folder / "data.csv", [[0, 1, 1], [10, 2, 2], [5, 1, 3], [5, 2, 4]], delimiter=",", fmt="%d")
    np.savetxt(folder / "Missing20_1.csv", [[1, 1], [2, 1], [1, 2], [3, 2], [4, 3]], delimiter=",", fmt="%d")
    table, kinds = module.read(tmp_path, "Small")
    mask = module.hidden(folder.parent, "Small", 20, table.shape)
    assert mask.sum() == 5
    guess = pl.DataFrame({"x0": [2.0, 6.0, 0.0, 0.0], "x1": ["c1", "c1", "c2", "c1"], "x2": [1, 2, 3, 1]})
    expected = np.mean([np.sqrt((2**2 + 4**2) / 2) / 10, 1 / 2, 3 / 4])
    assert module.error(guess, table, kinds, mask) == pytest.approx(expected)
    assert module.plain(table, kinds, mask) > 0
    assert module.with_gaps(table, mask)["x0"].to_list() == [None, None, 5, 5]


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_importance_weighted_fits_start(script, layers):
    module = script("iwae")
    size = module.Size(60, 1, 20, 10, 2, ((layers, 5),))
    (row,) = module.measure(range(1), images(80), images(20), "tiny", size).rows
    assert row.values[0] > 0
    assert row.published == {1: "85.54", 2: "83.89"}[layers]


@pytest.mark.full
def test_the_other_fits_start(script):
    module = script("ladder")
    found = module.measure(range(1), images(80), images(20), "tiny", module.Size(60, 2, 1, 20, 10, 2))
    assert [row.values[0] < 0 for row in found.rows] == [True] * 3
    module = script("hyperspherical")
    found = module.measure(range(1), images(80), images(20), module.Size(60, 1, 10, 2, 8))
    assert len(found.rows) == 6
    assert len(found.notes) == 4
    module = script("frey_faces")
    faces = images(80) / np.float32(255)
    found = module.measure(range(1), faces, module.Size((2, 3), (320, 6400), 8, 16))
    assert [row.what for row in found.rows[:2]] == [
        f"2 dimensions, 320 samples, {part}" for part in ("training", "held out")
    ]
    assert len({row.values for row in found.rows}) == len(found.rows) == 8
    module = script("held_out_counts")
    found = module.measure(range(1), {"made up": RNG.poisson(2.0, (80, 5))}, epochs=1, width=8)
    assert all(row.values[0] < 0 for row in found.rows)
    assert found.notes == ("made up: 80 cells, 5 genes.",)
    module = script("few_labels")
    labels = np.arange(200) % 10
    ours, simple = module.accuracies(images(200), labels, images(40), np.arange(40) % 10, 0, 1)
    assert 0 <= ours <= 1
    assert 0 <= simple <= 1


@pytest.mark.full
def test_the_toy_has_the_variances_of_the_closed_forms(script):
    module = script("binary_gradients")
    found, exact = module.toy(0.3, 0, 50_000), module.closed_forms(0.3)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=0.1, abs=1e-9), name
