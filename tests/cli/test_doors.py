"""Odd words on the command line: one sentence and exit code 2, and standard input and output as files."""

import io
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.cli import main


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sample", "MODEL", "-n", "1.5", "-o", "out.csv"], "1.5 is not a whole number"),
        (["sample", "MODEL", "-n", "99999999999", "-o", "out.csv"], "at most"),
        (["sample", "MODEL", "-n", "3", "-o", "out.csv", "--seed", "99999999999999999999"], "too large"),
        (["score", "MODEL", "DATA", "-o", "out.csv", "--samples", "1e2"], "not a whole number"),
        (["fit", "DATA", "--out", "model", "--width", "0"], "width"),
        (["fit", "DATA", "--out", "model", "--epochs", "2.5"], "not a whole number"),
        (["fit", "DATA", "--out", "model", "--seed", "99999999999999999999"], "too large"),
        (["fit", "DATA", "--out", "/"], "a name to write to"),
        (["fit", "DATA", "--out", ""], "a name to write to"),
        (["fit", "", "--out", "model"], "an empty path"),
        (["fit", "/dev/zero", "--out", "model"], "a pipe or a device"),
        (["fit", "DATA", "--out", "m" * 300], "name too long"),
    ],
)
def test_odd_words_end_in_a_sentence(words, sentence, model, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    named = {"MODEL": str(model), "DATA": str(data / "table.csv")}
    assert main([named.get(word, word) for word in words]) == 2
    assert sentence.lower() in capsys.readouterr().err.lower()
    assert not list(tmp_path.iterdir())


def test_standard_input_and_output(model, data, tmp_path, monkeypatch, capsys):
    table = data / "table.csv"
    assert main(["score", str(model), str(table), "-o", str(tmp_path / "scores.csv")]) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    assert main(["score", str(model), "-", "-o", "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "scores.csv").read_text()


def test_a_column_left_out_is_said_even_when_quiet(tmp_path, capsys):
    rng = np.random.default_rng(0)
    table = tmp_path / "t.csv"
    pl.DataFrame({"id": np.arange(60), "x": rng.normal(size=60), "y": rng.normal(size=60)}).write_csv(table)
    small = ["--epochs", "1", "--width", "4", "--hide", "0", "--no-report", "--quiet"]
    words = ["fit", str(table), "--out", str(tmp_path / "model"), *small]
    assert main(words) == 0
    assert "warning: column 'id' was left out" in capsys.readouterr().err
    assert main([*words, "--exclude", "id"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_a_real_pipe_between_two_commands_in_any_encoding(tmp_path):
    rows = pl.DataFrame({"größe": np.linspace(0, 1, 40) ** 2})
    model = str(tmp_path / "model")
    rx.save(rx.fit(rows, epochs=1, width=4, depth=1, latent_dim=1, hide=0.0, valid=0.0), model)

    def run(*words, given=None):
        ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
        command = [sys.executable, "-m", "reparax", *words]
        return subprocess.run(command, input=given, capture_output=True, check=True, env=ascii_only).stdout

    drawn = run("sample", model, "-n", "5", "-o", "-")
    assert pl.read_csv(drawn).columns == ["größe"]
    assert len(pl.read_csv(run("score", model, "-", "-o", "-", given=drawn))) == 5
    assert b"gr\\xf6\\xdfe" in run("info", model)
