"""Files larger than memory on the command line: the same numbers, batch by batch."""

import json

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import known_by
from reparax.cli import draw, main
from reparax.data.sources import describe, source, stream


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A Parquet file of several row groups, read a few rows at a time."""
    monkeypatch.setattr(source, "PIECE_ROWS", 70)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 3))
    values[::9] *= 4
    pl.DataFrame(dict(zip("abc", values.T, strict=True))).write_parquet(tmp_path / "rows.parquet", row_group_size=100)
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npy"])
@pytest.mark.parametrize("command", [["encode"], ["encode", "--std"], ["score", "--samples", "5"]])
def test_outputs_in_batches_are_those_of_memory(command, suffix, rows, model, tmp_path):
    name, *options = command
    out = [tmp_path / f"{memory}.{suffix}" for memory in ("1", "1GB")]
    for path, memory in zip(out, ("1", "1GB"), strict=True):
        assert main([name, str(model), str(rows), "-o", str(path), "--memory", memory, *options, "--quiet"]) == 0
    if suffix == "parquet":
        assert pl.read_parquet(out[0]).equals(pl.read_parquet(out[1]))
    else:
        assert out[0].read_bytes() == out[1].read_bytes()


def both(argv, out, *, quiet=True):
    """The files that a command writes with rows in blocks and in memory."""
    paths = [out.with_name(f"{memory}-{out.name}") for memory in ("1", "1GB")]
    for path, memory in zip(paths, ("1", "1GB"), strict=True):
        words = [*map(str, argv), "-o", str(path), "--memory", memory, *(["--quiet"] if quiet else [])]
        assert main(words) == 0
    return paths


def test_an_evaluation_is_that_of_memory(rows, model, tmp_path):
    blocks, memory = (
        json.loads(path.read_text()) for path in both(["evaluate", model, rows, "--samples", 3], tmp_path / "e.json")
    )
    columns, expected = blocks.pop("columns"), memory.pop("columns")
    assert blocks.pop("bits_per_dim") is memory.pop("bits_per_dim") is None
    assert blocks == pytest.approx(memory, rel=1e-6)
    assert columns == pytest.approx(expected, rel=1e-6)
    assert memory["elbo_standard_error"] > 0


def with_gaps(rows, make_model, folder):
    """A Parquet file of words, whole numbers and dates with gaps in some row groups, and a model of it."""
    table = pl.read_parquet(rows).with_row_index("k").with_columns(
        pl.when(pl.col("k") % 7 > 0).then(pl.col("a")).alias("a"),
        pl.when(pl.col("k") < 150).then(pl.lit("one")).otherwise(pl.lit("two")).alias("word"),
        pl.when(pl.col("k") != 250).then((pl.col("b") * 3).round().cast(pl.Int64)).alias("whole"),
        (pl.lit(0).cast(pl.Date) + pl.duration(days=pl.col("k"))).alias("day"),
        pl.col("c").round(1).cast(pl.String).cast(pl.Categorical).alias("left out"),
    ).drop("k")  # fmt: skip
    table.write_parquet(rows, row_group_size=100)
    return make_model(folder / "gaps", rows)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("parquet", []),
        pytest.param("csv", [], marks=pytest.mark.full),
        pytest.param("parquet", ["--draws", "2"], marks=pytest.mark.full),
    ],
)
def test_imputation_is_that_of_memory(suffix, options, rows, make_model, tmp_path, capsys):
    model = with_gaps(rows, make_model, tmp_path)
    argv = ["impute", model, rows, "--samples", 3, "--neighbors", "ignore", *options]
    found, expected = both(argv, tmp_path / f"filled.{suffix}", quiet=False)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wrote")]
    assert len({line.partition(": ")[2] for line in said}) == 1
    for number in ["-1", "-2"] if options else [""]:
        pair = [path.with_name(f"{path.stem}{number}{path.suffix}") for path in (found, expected)]
        tables = [pl.read_parquet(path) if suffix == "parquet" else pl.read_csv(path) for path in pair]
        assert tables[0].equals(tables[1])
        assert tables[0].null_count().sum_horizontal().item() == 0


def test_imputed_arrays_are_those_of_memory(tmp_path, make_model, monkeypatch):
    monkeypatch.setattr(source, "PIECE_ROWS", 70)
    values = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    values[::3, 1] = np.nan
    np.save(tmp_path / "x.npy", values)
    model = make_model(tmp_path / "model", tmp_path / "x.npy")
    for suffix in ("npy", "csv"):
        paths = both(
            ["impute", model, tmp_path / "x.npy", "--samples", 2, "--neighbors", "ignore"],
            tmp_path / f"filled.{suffix}",
        )
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("kind", ["table", "images"])
def test_reconstructions_are_those_of_memory(kind, rows, model, make_model, tmp_path, monkeypatch):
    path, suffix = rows, "csv"
    if kind == "images":
        monkeypatch.setattr(source, "PIECE_VALUES", 600)
        path, suffix = tmp_path / "x.npy", "npy"
        np.save(path, np.random.default_rng(0).integers(0, 17, (60, 6, 5)).astype(np.uint8))
        model = make_model(tmp_path / "model", path)
    paths = both(["reconstruct", model, path], tmp_path / f"r.{suffix}")
    if suffix == "npy":
        np.testing.assert_array_equal(*map(np.load, paths))
    else:
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_classes_are_those_of_memory(rows, make_model, tmp_path, capsys):
    table = pl.read_parquet(rows).with_columns(
        kind=pl.when(pl.col("a") > 1).then(pl.lit("up")).when(pl.col("a") < -1).then(pl.lit("down"))
    )
    table.write_parquet(rows, row_group_size=100)
    labeled = rx.data.with_classes(rx.read(rows, label="kind"))
    model = make_model(tmp_path / "model", labeled, objective="semi-supervised")
    argv = ["classify", model, rows, "--label", "kind"]
    paths = both(argv, tmp_path / "classes.csv", quiet=False)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("right")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(said) == 2
    assert said[0] == said[1]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npy"])
@pytest.mark.parametrize("kind", ["table", "condition", "images", "counts"])
def test_samples_in_pieces_are_those_drawn_at_once(kind, suffix, model, make_model, tmp_path, monkeypatch):
    options, rng = [], np.random.default_rng(0)
    if kind == "condition":
        options = ["--where", "a=0.5"]
    elif kind == "images":
        model = make_model(tmp_path / "model", rng.integers(0, 17, (60, 3, 2)).astype(np.uint8))
    elif kind == "counts":  # of which some exceed the data type of the data
        model = make_model(
            tmp_path / "model", rng.poisson(200, (300, 2)).clip(0, 255).astype(np.uint8), likelihood="poisson"
        )
    paths = [tmp_path / f"{name}.{suffix}" for name in ("pieces", "once")]
    for path, rows in zip(paths, (70, 1000), strict=True):
        monkeypatch.setattr(draw, "PIECE_ROWS", rows)
        assert main(["sample", str(model), "-n", "150", "-o", str(path), "--seed", "3", *options, "--quiet"]) == 0
    if suffix == "parquet":
        assert pl.read_parquet(paths[0]).equals(pl.read_parquet(paths[1]))
    elif suffix == "npy":
        first, second = map(np.load, paths)
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first.reshape(150, -1), axis=0)) > 75  # pieces are no copies of each other
    else:
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_most_anomalous_of_all_blocks(rows, model, tmp_path):
    out = [tmp_path / "blocks.csv", tmp_path / "memory.csv"]
    for path, memory in zip(out, ("1", "1GB"), strict=True):
        options = ["--memory", memory, "--top", "15", "--samples", "5", "--quiet"]
        assert main(["score", str(model), str(rows), "-o", str(path), *options]) == 0
    assert out[0].read_text() == out[1].read_text()


def test_notes_say_of_which_rows_they_are(tmp_path, rows, model, capsys):
    assert main(["encode", str(model), str(rows), "-o", str(tmp_path / "z.npz"), "--memory", "1"]) == 2
    assert "in blocks" in capsys.readouterr().err
    assert main(["encode", str(model), str(rows), "-o", str(tmp_path / "z.csv"), "--memory", "lots"]) == 2
    assert "an amount of memory" in capsys.readouterr().err


def test_a_fit_in_blocks(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 200)
    monkeypatch.setattr(stream, "FEWEST_SAMPLED", 100)
    monkeypatch.setattr(describe, "MOST_LEVELS", 50)
    monkeypatch.setattr(describe, "FEWEST_LEVELS", 50)
    small = ["--width", "8", "--depth", "1", "--latent-dim", "2", "--epochs", "2", "--no-report"]
    small += ["--likelihood", "normal", "--relations", "none"]
    assert main(["fit", str(rows), "--out", str(tmp_path / "model"), "--memory", "1kB", *small]) == 0
    said = capsys.readouterr().err
    assert "a sample of 200 of 300 rows is in memory" in said
    assert rx.load(tmp_path / "model").schema.num_examples == 270
    assert main(["fit", str(rows), "--out", str(tmp_path / "other"), "--memory", "1kB", "--trim", "0.1", *small]) == 2
    assert "--trim" in capsys.readouterr().err


def small_sample(monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 200)
    monkeypatch.setattr(stream, "FEWEST_SAMPLED", 100)


@pytest.mark.parametrize("fit", ["in blocks", "in memory"])
def test_rows_held_out_of_a_fit_are_found_again(fit, rows, make_model, tmp_path, monkeypatch, capsys):
    small_sample(monkeypatch)
    model = make_model(tmp_path / "model", rows)
    fitted = rx.load(model)
    if fit == "in blocks":
        whole = rx.data.opened(rows, memory=1)
        held_out = whole.split(fitted.recipe.valid, fitted.recipe.seed)[1]
        rx.save(known_by(fitted, held_out), model)
    else:
        held_out = rx.data.split(rx.read(rows), fitted.recipe.valid, fitted.recipe.seed)[1]
    expected = rx.evaluate(fitted, held_out.values, num_samples=2)
    argv = ["evaluate", model, rows, "--held-out", "--samples", 2]
    for path in both(argv, tmp_path / "e.json"):
        found = json.loads(path.read_text())
        assert found["num_examples"] == 30
        assert found["elbo"] == pytest.approx(expected.elbo, rel=1e-6)
    paths = both(["reconstruct", model, rows, "--held-out"], tmp_path / "r.csv")
    assert len(pl.read_csv(paths[0])) == 30
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pl.read_parquet(rows).reverse().write_parquet(rows)
    for memory in ("1", "1GB"):
        assert main([*map(str, argv), "--memory", memory]) == 2
        assert "the data of the fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "held_out"),
    [
        ("30 of the 300 rows, that were held out", 30),
        pytest.param("200 of the 300 rows, drawn at random", None, marks=pytest.mark.full),
    ],
)
def test_a_report_on_a_large_file(words, held_out, rows, model, make_model, tmp_path, monkeypatch, capsys):
    small_sample(monkeypatch)
    folder = model if held_out is None else make_model(tmp_path / "model", rows)
    argv = ["report", folder, rows, "--samples", 2, "--memory", 1, "-o", tmp_path / "report.json"]
    assert main([str(word) for word in argv]) == 0
    assert words in capsys.readouterr().err
    assert json.loads((tmp_path / "report.json").read_text())["data"]["held_out"] == held_out


def test_what_needs_all_rows_is_refused_in_blocks(rows, model, capsys):
    assert main(["evaluate", str(model), str(rows), "--factors", str(rows), "--memory", "1"]) == 2
    assert "--factors" in capsys.readouterr().err


def test_privacy_of_a_fit_in_blocks_however_the_file_is_read_later(rows, tmp_path, monkeypatch, capsys):
    small_sample(monkeypatch)
    size = ["--width", "4", "--latent-dim", "1", "--epochs", "1", "--likelihood", "normal", "--relations", "none"]
    size += ["--prior", "standard-normal", "--no-report", "--quiet"]
    assert main(["fit", str(rows), "--out", str(tmp_path / "model"), "--memory", "1", *size]) == 0
    found = []
    for memory in ("1", "1GB"):
        capsys.readouterr()
        argv = ["evaluate", tmp_path / "model", rows, "--privacy", "--samples", 2, "--memory", memory, "--quiet"]
        assert main(list(map(str, argv))) == 0
        found.append(json.loads(capsys.readouterr().out)["privacy"])
    assert found[0] == found[1]
    assert (found[0]["num_fitted"], found[0]["num_held_out"]) == (270, 30)


def test_ensembles_and_sweeps_of_a_file_in_blocks(rows, tmp_path, monkeypatch, capsys):
    small_sample(monkeypatch)
    size = ["--width", "4", "--latent-dim", "1", "--epochs", "1", "--memory", "1"]
    size += ["--likelihood", "normal", "--relations", "none", "--prior", "standard-normal"]
    argv = ["fit", rows, "--out", tmp_path / "model", "--ensemble", 2, "--no-report", *size]
    assert main(list(map(str, argv))) == 0
    assert "in blocks" in capsys.readouterr().err
    assert len(rx.load(tmp_path / "model").members) == 2
    argv = ["sweep", rows, "--out", tmp_path / "swept", "--beta", "0.5,2", "--seeds", 2, *size]
    assert main(list(map(str, argv))) == 0
    assert "in blocks" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "swept" / "leaderboard.json").read_text())["leaderboard"]) == 2
