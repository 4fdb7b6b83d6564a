"""``fit --given`` and what comes after it, in the terminal: files in, files out, and wrong words."""

import inspect
import json

import jax
import numpy as np
import polars as pl
import pytest

from reparax.cli import main
from reparax.cli.app import COMMANDS

FAST = ["--epochs", "1", "--width", "4", "--depth", "1", "--latent-dim", "1", "--hide", "0", "--no-report", "--quiet"]
SPECIES, ISLANDS = ["Adelie", "Gentoo", "Chinstrap"], ["Biscoe", "Dream"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table without and with a gap, images, their labels, and a model of each."""
    path = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 90)
    table = pl.DataFrame(
        {
            "species": [SPECIES[each] for each in kind],
            "mass": rng.normal(size=90) + kind,
            "island": [ISLANDS[int(each > 0)] for each in kind],
        }
    )
    table.write_csv(path / "table.csv")
    table.with_columns(pl.Series("island", [None, *table["island"][1:]])).write_csv(path / "gap.csv")
    np.save(path / "pictures.npy", rng.integers(0, 2, (60, 4, 4)))
    np.save(path / "labels.npy", rng.integers(3, 6, 60))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert main(["fit", str(path / "table.csv"), "--given", "species,island", "--out", str(path / "m"), *FAST]) == 0
        words = ["--label", str(path / "labels.npy"), "--given", "label", "--out", str(path / "p")]
        assert main(["fit", str(path / "pictures.npy"), *words, *FAST]) == 0
    return path


def run(folder, line: str) -> int:
    """Runs a command, with the names of files of the folder in place of @name."""
    return main([str(folder / word[1:]) if word[0] == "@" else word for word in line.split()])


def test_samples_have_what_is_given(folder, tmp_path, capsys):
    assert run(folder, f"sample @m -n 20 --where species=Gentoo -o {tmp_path}/rows.csv") == 0
    rows = pl.read_csv(tmp_path / "rows.csv")
    assert rows.columns == ["species", "mass", "island"]
    assert set(rows["species"]) == {"Gentoo"}
    assert set(rows["island"]) == {"Dream"}
    assert run(folder, f"score @m {tmp_path}/rows.csv -o {tmp_path}/scores.csv") == 0
    assert len(pl.read_csv(tmp_path / "scores.csv")) == 20
    capsys.readouterr()
    assert run(folder, f"sample @m -n 2 --where species=Gentoo,island=Biscoe -o {tmp_path}/guess.csv") == 0
    assert "no row of the fit has species=Gentoo, island=Biscoe together" in capsys.readouterr().err
    assert run(folder, f"sample @m -n 3 --means --where species=Adelie -o {tmp_path}/means.csv") == 0
    assert set(pl.read_csv(tmp_path / "means.csv")["species"]) == {"Adelie"}


def test_labels_travel_with_images(folder, tmp_path, capsys):
    assert run(folder, f"sample @p -n 5 --where label=4 -o {tmp_path}/fours.npz") == 0
    with np.load(tmp_path / "fours.npz") as drawn:
        assert drawn["X"].shape == (5, 4, 4, 1)
        np.testing.assert_array_equal(drawn["label"], np.full(5, 4))
    assert run(folder, f"encode @p {tmp_path}/fours.npz -o {tmp_path}/codes.npy") == 0
    assert run(folder, f"encode @p @pictures.npy --label @labels.npy -o {tmp_path}/codes.npy") == 0
    assert np.load(tmp_path / "codes.npy").shape == (60, 1)
    assert run(folder, f"refit-prior @p @pictures.npy --label @labels.npy --prior standard-normal -o {tmp_path}/q") == 0
    assert run(folder, f"export {tmp_path}/q @pictures.npy --label @labels.npy -f html -o {tmp_path}/q.html") == 0
    assert run(folder, "info @p") == 0
    assert "label" in capsys.readouterr().out


def test_what_is_missing_of_what_is_given_is_filled_in_or_averaged_over_where_asked(folder, tmp_path, capsys):
    assert run(folder, f"score @m @gap.csv --impute-given -o {tmp_path}/scores.csv") == 0
    assert "'island' is unknown in 1 of 90 rows, over whose values in the fit" in capsys.readouterr().err
    assert run(folder, f"score @m @table.csv -o {tmp_path}/plain.csv") == 0
    found, plain = (pl.read_csv(tmp_path / name)["log_density"].to_numpy() for name in ("scores.csv", "plain.csv"))
    np.testing.assert_allclose(found[1:], plain[1:], rtol=1e-6)
    assert np.isfinite(found[0])
    capsys.readouterr()
    assert run(folder, "evaluate @m @gap.csv --impute-given") == 0
    assert json.loads(capsys.readouterr().out)["iwae"] == pytest.approx(found.mean(), rel=1e-5)
    for verb in ("encode", "reconstruct", "impute"):
        assert run(folder, f"{verb} @m @gap.csv --impute-given -o {tmp_path}/{verb}.csv") == 0
        assert "filled in as the most probable" in capsys.readouterr().err
    assert len(pl.read_csv(tmp_path / "encode.csv")) == 90


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("evaluate @m @gap.csv --impute-given --held-out", "--held-out too"),
        ("score @m @gap.csv --impute-given --memory 1GB -o -", "--memory too"),
        ("fit @table.csv --given specis --out @x", "did you mean species?"),
        ("fit @table.csv --given label --out @x", "--label"),
        ("fit @table.csv --given species,mass,island --out @x", "all are given"),
        ("fit @gap.csv --given island --out @x", "the first in row 1"),
        ("fit @pictures.npy --given label --out @x", "--label"),
        ("fit @pictures.npy --given species --out @x", "--label"),
        ("score @m @gap.csv -o -", "the first in row 1"),
        ("score @m @pictures.npy -o -", "images of 4x4x1"),
        ("encode @p @pictures.npy -o -", "--label"),
        ("evaluate @p @pictures.npy --label @table.csv", "label"),
        ("sample @m -o - --where species=Emperor", "Emperor"),
        ("sample @m -o - --where place=Ulm", "place"),
        ("sample @p -o - --where label=9", "9"),
        ("sample @p -o - --where digit=4", "label"),
        ("sample @m -o - --means --where mass=1", "mass"),
    ],
)
def test_wrong_words_end_in_a_sentence(folder, line, sentence, capsys):
    assert run(folder, line) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert not (folder / "x").exists()


def test_wherever_a_model_meets_data_labels_can_be_named():
    """What is given by label is needed there: errors name the option."""
    parameters = {command.__name__: set(inspect.signature(command).parameters) for command in COMMANDS}
    meets = {name for name, those in parameters.items() if {"model", "data"} <= those}
    assert len(meets) > 8
    assert {name for name in meets if "label" not in parameters[name]} == set()
