"""``--view`` in the terminal: files in, a file for each view out, and wrong words."""

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.cli import main

FAST = ["--epochs", "1", "--width", "4", "--depth", "0", "--latent-dim", "1", "--hide", "0", "--quiet"]
NAMES = np.array([f"p{number}" for number in range(50)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures with names, numbers of some of them in another order, and a model of both."""
    path = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    np.savez(path / "pictures.npz", X=rng.integers(0, 5, (50, 2, 2)), who=NAMES)
    rows = rng.normal(size=(40, 2)).round(2)
    pl.DataFrame({"who": NAMES[:40], "a": rows[:, 0], "b": rows[:, 1]}).reverse().write_csv(path / "rows.csv")
    views = ["--view", f"picture={path}/pictures.npz", "--view", f"rows={path}/rows.csv", "--id", "who"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert main(["fit", *views, "--likelihood.views", "rows=normal", "--out", str(path / "m"), *FAST]) == 0
    return path


def run(folder, line):
    """Runs a command, with the names of files of the folder in place of @name."""
    return main([word.replace("@", f"{folder}/") for word in line.split()])


def test_what_is_fitted_is_said(folder, capsys):
    assert run(folder, "info @m") == 0
    text = capsys.readouterr().out
    assert "by-view (views=picture=discretized-logistic,rows=normal)" in text
    assert "the views picture, rows" in text
    assert "view rows: table of shape 2" in text
    assert (folder / "m" / "README.md").is_file()
    assert not (folder / "m" / "report.html").exists()


def test_each_view_has_its_file_with_the_names_of_the_rows(folder, tmp_path, capsys):
    assert run(folder, f"impute @m --view rows=@rows.csv --id who --samples 3 -o {tmp_path}/filled.csv") == 0
    rows, picture = (pl.read_csv(tmp_path / f"filled-{name}.csv") for name in ("rows", "picture"))
    assert rows.equals(pl.read_csv(folder / "rows.csv").rename({"who": "id"}))
    assert picture["id"].to_list() == rows["id"].to_list()
    assert picture.width == 5
    line = f"impute @m --view picture=@pictures.npz --id who --samples 3 --draws 2 -o {tmp_path}/drawn.npz"
    assert run(folder, line) == 0
    with np.load(tmp_path / "drawn-2-picture.npz") as found, np.load(folder / "pictures.npz") as given:
        assert found["id"].tolist() == NAMES.tolist()
        np.testing.assert_array_equal(found["X"][..., 0], given["X"])
    assert run(folder, f"sample @m -n 3 -o {tmp_path}/new.csv --seed 4") == 0
    drawn = rx.sample(rx.load(folder / "m"), 3, key=jax.random.key(4))
    np.testing.assert_allclose(pl.read_csv(tmp_path / "new-rows.csv").to_numpy(), drawn["rows"], rtol=1e-5)
    assert run(folder, f"reconstruct @m --view rows=@rows.csv --id who -o {tmp_path}/again.npy") == 0
    assert np.load(tmp_path / "again-picture.npy").shape == (40, 2, 2, 1)
    capsys.readouterr()


def test_codes_scores_and_bounds_of_any_of_the_views(folder, tmp_path, capsys):
    assert run(folder, f"encode @m --view rows=@rows.csv --id who -o {tmp_path}/z.csv") == 0
    assert pl.read_csv(tmp_path / "z.csv")["id"].to_list() == NAMES[:40][::-1].tolist()
    both = "--view picture=@pictures.npz --view rows=@rows.csv --id who"
    assert run(folder, f"score @m {both} --samples 2 -o {tmp_path}/s.csv") == 0
    assert pl.read_csv(tmp_path / "s.csv").columns == ["id", "log_density", "anomaly_score"]
    capsys.readouterr()
    assert run(folder, f"evaluate @m {both} --samples 2 --held-out --quiet") == 0
    assert '"picture":' in capsys.readouterr().out


WRONG = {
    "score @m -o x.csv": "several views; got none",
    "score @m @rows.csv -o x.csv": "write --view picture=FILE",
    "score @m @rows.csv --view rows=@rows.csv -o x.csv": "either data or views",
    "score @m @rows.csv --id who -o x.csv": "--id without views",
    "score @m --view rows -o x.csv": "views as NAME=FILE; got --view rows",
    "score @m --view rows=@rows.csv --view rows=@rows.csv -o x.csv": "name each view once",
    "score @m --view other=@rows.csv -o x.csv": "some of the views picture, rows; got other",
    "sample @m -o -": "of which each view has one",
    "sample @m --where a=3 -o x.csv": "reparax impute MODEL --view",
    "sample @m -o x.png": "not of images",
    "report @m @rows.csv": "got one of the views picture, rows",
    "report @m --view rows=@rows.csv --id who": "to report on, not several views; got --view rows=",
    "report @m": "data to report on: a file or a folder; got none",
    "export @m --view rows=@rows.csv --format html --out x.html": "to export, not several views; got --view rows=",
    "explore @m --view rows=@rows.csv --id who": "to explore, not several views; got --view rows=",
    "export @m --format html --out x.html": "got one of the views picture, rows",
    "fit --view rows=@rows.csv --id who --out q": "at least 2 views",
    "sweep --view rows=@rows.csv --id who --out q": "at least 2 views",
    "sweep --out q": "several views; got none",
    "fit --view rows=@rows.csv --view p=@pictures.npz --out q": "equally many rows",
    "fit --view a=@rows.csv --view b=@pictures.npz --id who --likelihood normal --out q": "--likelihood.views a=normal",
    "fit --view a=@rows.csv --view b=@pictures.npz --id who --exclude a --out q": "read such a view first",
    "fit --view a=@rows.csv --view b=@pictures.npz --id who --schema no.json --out q": "read such a view first",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_words_are_one_sentence(line, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(folder, line) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: expected ")
    assert WRONG[line] in error
    assert not list(tmp_path.iterdir())
