"""Precision, recall, density, coverage and a classifier's test of synthetic examples, against hand-made cases."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import cdist

import reparax as rx
from reparax.cli.main import main
from reparax.errors import DataError

RNG = np.random.default_rng(0)
FOUR = ("precision", "recall", "density", "coverage")


def cloud(n: int, shift: float = 0.0) -> np.ndarray:
    return RNG.normal(size=(n, 3)) + shift


def table(n: int, far: bool = False) -> pl.DataFrame:
    kind = RNG.choice(["a", "b", "c"], n)
    size = np.where(kind == "a", 1.0, 5.0) + RNG.normal(size=n)
    place = RNG.normal(size=n) - 50 * far
    return pl.DataFrame({"kind": ["d"] * n if far else kind, "size": size + 100 * far, "place": place})


def test_samples_of_one_distribution():
    for pair in ((cloud(1500), cloud(1500)), (table(1500), table(1500))):
        found = rx.compare_samples(*pair)
        assert found.precision > 0.95
        assert found.recall > 0.95
        assert abs(found.density - 1) < 0.08
        assert abs(found.coverage - (1 - 2**-5)) < 0.03  # Naeem et al. (2020), lemma 2
        assert found.accuracy.low <= 0.5 <= found.accuracy.high
        assert found.told_apart.low <= 0.5 <= found.told_apart.high


def test_samples_that_have_nothing_in_common():
    for pair in ((cloud(300), cloud(300, 50.0)), (table(300), table(300, far=True))):
        found = rx.compare_samples(*pair)
        assert [getattr(found, name) for name in FOUR] == [0, 0, 0, 0]
        assert found.accuracy.value == found.told_apart.value == 1


def test_a_small_case_by_hand():
    """On a line, k = 1. Radii of the real 0, 1, 3, 7: 1, 1, 2, 4; of the synthetic 0.5, 1.5, 20, 40: 1, 1, 18.5, 20.

    0.5 is near 0 and 1; 1.5 near 1 and 3; 20 and 40 near none. So near are 2 of 4, by 4 balls of 4 k; of the real ones
    0, 1 and 3 have a synthetic one near. The real 0 and 1 are near 0.5, 1 also near 1.5, 3 and 7 near 20.
    """
    real, synthetic = np.array([[[0.0], [1.0], [3.0], [7.0]], [[0.5], [1.5], [20.0], [40.0]]]) + 0.25
    found = rx.compare_samples(real, synthetic, num_neighbors=1)
    assert found.distance == "euclidean"
    assert [getattr(found, name) for name in FOUR] == [2 / 4, 4 / 4, 4 / 4, 3 / 4]


def test_against_the_formulas_of_the_papers():
    x, y, k = cloud(200), 1.3 * cloud(200, 0.4), 4
    of_x, of_y = (np.sort(cdist(rows, rows), axis=1)[:, k] for rows in (x, y))
    inside = cdist(y, x) <= of_x
    expected = [inside.any(axis=1).mean(), (cdist(x, y) <= of_y).any(axis=1).mean(), inside.sum() / (k * 200),
                inside.any(axis=0).mean()]  # fmt: skip
    found = rx.compare_samples(x, y, num_neighbors=k)
    np.testing.assert_allclose([getattr(found, name) for name in FOUR], expected, atol=0.011)


def test_modes_that_are_missing_cost_recall_and_copies_of_one_row_cost_coverage():
    real = np.concatenate([cloud(300), cloud(300, 30.0)])
    half = rx.compare_samples(real, cloud(600))
    assert half.precision > 0.95
    assert half.recall < 0.6
    copies = rx.compare_samples(real, np.repeat(real[:1], 600, axis=0) + 1e-3 * cloud(600))
    assert copies.precision == 1
    assert copies.coverage < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbors": 0}, "from 1 to"), ({"num_neighbors": 300}, "from 1 to 299"),
        ({"num_neighbors": 2.5}, "whole"),
        ({"distance": "columns"}, None), ({"distance": "cosine"}, "a distance"),
    ],
)  # fmt: skip
def test_options(options, message):
    if message is None:
        assert rx.compare_samples(cloud(300), cloud(300), **options).distance == "columns"
        return
    with pytest.raises(DataError, match=message):
        rx.compare_samples(cloud(300), cloud(300), **options)


def test_the_command(tmp_path, capsys):
    table(200).write_csv(tmp_path / "real.csv")
    table(150).write_csv(tmp_path / "new.csv")
    np.save(tmp_path / "other.npy", cloud(50)[:, :2])
    assert main(["compare", str(tmp_path / "real.csv"), str(tmp_path / "new.csv"), "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_examples"] == 150
    assert found["distance"] == "columns"
    assert set(found["accuracy"]) == {"value", "low", "high"}
    out = tmp_path / "found.json"
    assert main(["compare", str(tmp_path / "real.csv"), str(tmp_path / "new.csv"), "-o", str(out)]) == 0
    assert json.loads(out.read_text()) == found
    assert main(["compare", str(tmp_path / "real.csv"), str(tmp_path / "other.npy")]) == 2
    assert "column" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "real.csv"), str(tmp_path / "new.csv"), "--distance", "euclidean"]) == 2
    assert "columns" in capsys.readouterr().err
