"""rx.export and reparax export: what is written, what is refused, and the example that runs without reparax."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from jax import export as jax_export

import reparax as rx
from reparax.cli import main
from reparax.errors import OutputError, RecipeError

from .conftest import ARRAY, TABLE, made


@pytest.fixture(scope="module")
def table_model():
    return made(TABLE).fitted


@pytest.fixture(scope="module")
def folder(table_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "onnx"
    import jax

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rx.export(table_model, path, format="onnx", num_samples=3)
    return path


WITHOUT_REPARAX = """\
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"reparax", "jax", "equinox", "numpyro"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_example_runs_in_a_process_without_reparax(table_model, folder, tmp_path):
    rows = TABLE[:7]
    rows.write_csv(tmp_path / "rows.csv")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_REPARAX, folder / "example.py", folder, tmp_path / "rows.csv"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "results.npz") as results:
        np.testing.assert_allclose(results["codes"], rx.encode(table_model, rows), rtol=1e-5, atol=1e-5)
        offset = [column["offset"] for column in json.loads((folder / "export.json").read_text())["data"]["columns"]]
        wanted = rx.decode(table_model, results["codes"])
        np.testing.assert_allclose(results["reconstructed"] + np.asarray(offset), wanted, rtol=1e-3, atol=0.6)
        assert results["log_density"].shape == (7,)
        assert results["shares"].shape == (7, 5)


def test_the_description_says_what_goes_in_and_out(folder):
    about = json.loads((folder / "export.json").read_text())
    assert set(about["functions"]) == {"encode", "decode", "score"}
    assert about["functions"]["score"]["inputs"][1]["shape"] == ["batch", 3, 2]
    assert "jax" in about["libraries"]
    kinds = {column["name"]: column["what"] for column in about["data"]["columns"]}
    assert kinds["day"].startswith("days")
    assert kinds["kind"] == "category"
    assert all((folder / each["file"]).is_file() for each in about["functions"].values())


def test_the_command_writes_stablehlo_that_loads_without_the_model(tmp_path, capsys):
    rx.save(made(ARRAY, likelihood="normal").fitted, tmp_path / "model")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "model"), "--format", "stablehlo", "-o", str(out), "--samples", "2"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "decode.stablehlo", "encode.stablehlo", "export.json", "score.stablehlo",
    ]  # fmt: skip
    program = jax_export.deserialize(bytearray((out / "encode.stablehlo").read_bytes()))
    found = program.call(ARRAY[:5])
    np.testing.assert_allclose(found["z"], rx.encode(rx.load(tmp_path / "model"), ARRAY[:5]), rtol=1e-5, atol=1e-5)
    assert main(["export", str(tmp_path / "model"), "--format", "stablehlo", "-o", str(tmp_path / "model")]) == 2
    assert "README.md" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "model"), "-f", "onyx", "-o", str(out)]) == 2
    assert main(["export", str(tmp_path / "model"), "-f", "html", "-o", str(tmp_path / "page.txt")]) == 2
    assert main(["export", str(tmp_path / "none"), "-f", "html", "-o", str(tmp_path / "page.html")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_folders_of_others_unknown_formats_and_relations_are_refused(table_model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        rx.export(table_model, tmp_path / "mine", format="onnx")
    with pytest.raises(RecipeError, match="one of the formats"):
        rx.export(table_model, tmp_path / "out", format="pickle")  # ty: ignore[invalid-argument-type]
    with pytest.raises(RecipeError, match="from 1 up"):
        rx.export(table_model, tmp_path / "out", format="onnx", num_samples=0)
    with pytest.raises(RecipeError, match="no data for"):
        rx.export(table_model, tmp_path / "out", format="onnx", data=TABLE)
    a = np.random.default_rng(0).integers(0, 50, 600)
    sums = pl.DataFrame({"a": a, "b": a[::-1], "c": a + a[::-1]})
    with pytest.raises(RecipeError, match="--relations none"):
        made(sums, relations="found")
