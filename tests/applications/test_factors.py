"""Measures of codes against known factors: codes that are the factors have 1, independent ones about 0."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

import reparax as rx
from reparax.applications import factors_of
from reparax.cli.main import main
from reparax.errors import DataError

RNG = np.random.default_rng(0)
N = 3000
SHAPE, SIZE, PLACE = RNG.integers(0, 3, N), RNG.uniform(-1, 1, N), RNG.normal(size=N)
TABLE = pl.DataFrame({"shape": np.array(["disk", "star", "ring"])[SHAPE], "size": SIZE, "place": PLACE})
PERFECT = np.column_stack([3 * PLACE, SHAPE.astype(float), -SIZE])
MEASURES = ("mig", "sap", "disentanglement", "completeness")


def test_codes_that_are_the_factors():
    found = factors_of(PERFECT, TABLE)
    for name in MEASURES:
        assert getattr(found, name) > 0.97, name
    assert found.informativeness > 0.97
    assert found.factor_vae_score == 1
    assert [found.by_factor[name].code for name in TABLE.columns] == [1, 2, 0]


def test_independent_codes():
    found = factors_of(RNG.normal(size=(N, 4)), TABLE)
    for name in MEASURES:
        assert abs(getattr(found, name)) < 0.06, name
    assert found.informativeness < 0.06
    assert abs(found.factor_vae_score - 1 / 3) < 0.08


def test_rotated_codes_are_complete_for_nothing():
    rotated = np.column_stack([SIZE + PLACE, SIZE - PLACE])
    found = factors_of(rotated, TABLE.select("size", "place"))
    assert found.informativeness > 0.9
    assert found.disentanglement < 0.25
    assert found.mig < 0.3


def test_two_codes_of_one_factor_are_disentangled_but_not_complete():
    found = factors_of(np.column_stack([SIZE, SIZE + 1e-3 * RNG.normal(size=N), PLACE]), TABLE.select("size", "place"))
    assert found.disentanglement > 0.95
    assert found.by_factor["size"].completeness < 0.75
    assert found.by_factor["size"].mig < 0.05
    assert found.by_factor["size"].sap < 0.01
    assert found.by_factor["place"].mig > 0.95


def test_mig_and_sap_by_their_definitions():
    a, b = RNG.integers(0, 4, N), RNG.integers(0, 2, N)
    codes = np.column_stack(
        [np.where(RNG.random(N) < 0.8, a, RNG.integers(0, 4, N)), b + 0.1 * a, RNG.integers(0, 5, N)]
    )
    found = factors_of(codes, pl.DataFrame({"a": a}))
    information = sorted(mutual_info_score(a, np.unique(code, return_inverse=True)[1]) for code in codes.T)
    assert abs(found.mig - (information[-1] - information[-2]) / mutual_info_score(a, a)) < 1e-9
    squares = sorted(stats.linregress(code, a).rvalue ** 2 for code in codes.T)
    assert abs(found.sap - (squares[-1] - squares[-2])) < 1e-9
    assert found.disentanglement is None


def test_seeds_are_bits_and_constant_codes_do_no_harm():
    codes = np.column_stack([PERFECT, np.full(N, 2.0)])
    assert factors_of(codes, TABLE, seed=3) == factors_of(codes, TABLE, seed=3)
    nothing = factors_of(np.zeros((N, 2)), TABLE)
    assert (nothing.mig, nothing.sap, nothing.informativeness) == (0, 0, 0)
    assert nothing.factor_vae_score == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (TABLE.head(10), "10 rows"),
        (TABLE.with_columns(size=pl.lit(1.0)), "one value"),
        (TABLE.with_columns(pl.when(pl.col("size") > 0).then("size")), "missing cells"),
        (TABLE.with_columns(name=pl.Series([f"row {index}" for index in range(N)])), "'name'"),
        (np.zeros((N, 8, 8)), "images"),
    ],
)
def test_what_is_no_factor_is_refused(factors, message):
    with pytest.raises(DataError, match=message):
        factors_of(PERFECT, factors)


def test_the_command(tmp_path, capsys):
    rows = pl.DataFrame({"x": SIZE[:400] + 0.1 * PLACE[:400], "y": SIZE[:400] - 0.1 * PLACE[:400], "w": PLACE[:400]})
    fitted = rx.fit(rows, latent_dim=2, epochs=2, hide=0.0)
    rx.save(fitted, tmp_path / "model")
    rows.write_csv(tmp_path / "rows.csv")
    TABLE.head(400).write_csv(tmp_path / "factors.csv")
    np.save(tmp_path / "size.npy", SIZE[:400])
    common = ["evaluate", str(tmp_path / "model"), str(tmp_path / "rows.csv"), "--samples", "2", "--quiet"]
    assert main([*common, "--factors", str(tmp_path / "factors.csv")]) == 0
    found = json.loads(capsys.readouterr().out)["factors"]
    expected = rx.evaluate_factors(fitted, rows, TABLE.head(400))
    assert found["mig"] == expected.mig
    assert found["by_factor"]["shape"]["sap"] == expected.by_factor["shape"].sap
    assert main([*common, "--held-out", "--factors", str(tmp_path / "size.npy")]) == 0
    found = json.loads(capsys.readouterr().out)["factors"]
    assert found["num_examples"] == 40
    assert found["disentanglement"] is None
    assert main([*common, "--factors", str(tmp_path / "nowhere.csv")]) == 2
    assert "nowhere.csv" in capsys.readouterr().err
    np.save(tmp_path / "short.npy", SIZE[:5])
    assert main([*common, "--factors", str(tmp_path / "short.npy")]) == 2
    assert "5 rows" in capsys.readouterr().err
