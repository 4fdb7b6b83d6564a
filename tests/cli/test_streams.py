"""Files larger than memory on the command line: the same numbers, batch by batch."""

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.cli import main
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
