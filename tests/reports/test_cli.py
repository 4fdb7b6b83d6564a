"""``reparax report``: writes the whole page or nothing, and refuses wrong input in one sentence."""

import json

import jax
import polars as pl
import pytest

import reparax as rx
from reparax.cli import main


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", enabled)


@pytest.fixture
def files(table, table_model, tmp_path):
    """A folder with a model and its data."""
    rx.save(table_model, tmp_path / "model")
    table.write_parquet(tmp_path / "people.parquet")
    return tmp_path


def test_report(files, page_of, capsys):
    out = files / "report.html"
    words = ["report", str(files / "model"), str(files / "people.parquet"), "--out", str(out), "--samples", "4"]
    assert main([*words, "--label", "kind"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("report.html: 90 examples\n")
    page = page_of(out)
    assert "synthetic rows are nearer to one of them" in page.text
    assert "unknown" not in said.err
    lines = said.err.splitlines()[:-1]
    assert len(lines) >= 4
    assert all(line.split(maxsplit=1)[1] in page.text for line in lines)
    assert "Model of people.parquet" in page.text
    assert f"reparax report {files / 'model'} {files / 'people.parquet'} --label kind --samples 4" in page.text
    assert sorted(path.name for path in files.iterdir() if path.name != "cache") == [
        "model", "people.parquet", "report.html",
    ]  # fmt: skip


def test_numbers_as_json(files, capsys):
    out, numbers = files / "report.json", files / "numbers.json"
    given = [str(files / "model"), str(files / "people.parquet"), "--samples", "4", "--quiet"]
    assert main(["report", *given, "--out", str(out)]) == 0
    assert main(["evaluate", *given, "--held-out", "--privacy", "--out", str(numbers)]) == 0
    assert capsys.readouterr() == ("", "")
    report, evaluation = json.loads(out.read_text()), json.loads(numbers.read_text())
    privacy = evaluation.pop("privacy")
    assert report["evaluation"] == evaluation
    assert report["privacy"] == privacy
    assert privacy["num_fitted"] == 81


def test_wrong_input_leaves_the_old_page(files, capsys):
    out = files / "report.html"
    out.write_text("old")
    pl.DataFrame({"a": [1, 2, 3]}).write_csv(files / "other.csv")
    model, data = str(files / "model"), str(files / "people.parquet")
    for words, sentence in (
        ([model, str(files / "other.csv")], "the 5 columns the model was fitted on"),
        ([model, data, "--samples", "0"], "a number of samples from 1 up"),
        ([model, data, "--label", "nose"], "nose"),
        ([str(files / "nowhere"), data], "a model folder"),
        ([model, data, "--out", str(files / "report.txt")], "a file ending in .html"),
    ):
        assert main(["report", *words, *([] if "--out" in words else ["--out", str(out)])]) == 2
        said = capsys.readouterr().err
        assert said.count("error: ") == 1
        assert sentence in said
        assert "Traceback" not in said
        assert out.read_text() == "old"
    assert not list(files.glob(".*"))
