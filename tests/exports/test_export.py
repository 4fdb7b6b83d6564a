"""rx.export and reparax export: what is written, what is refused, and the example that runs without reparax."""

import datetime
import json
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files

import equinox as eqx
import jax
import msgspec
import numpy as np
import onnxruntime
import polars as pl
import pytest
from jax import export as jax_export

import reparax as rx
from reparax.cli import main
from reparax.data import MISSING_TEXT, cell_text, cell_value
from reparax.data.match import codes_of
from reparax.errors import DataError, OutputError, RecipeError
from reparax.exports import _description
from reparax.exports._export import _check_folder
from reparax.exports._page import page_of

from .conftest import ARRAY, RNG, TABLE, any_relations, made


@pytest.fixture(scope="module")
def table_model():
    return made(TABLE).fitted


@pytest.fixture(scope="module")
def folder(table_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "onnx"
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
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(folder, rows, path, *more):
    """What the example writes for rows of a table, or for those in a file."""
    if rows is not None:
        rows.write_csv(path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_REPARAX, folder / "example.py", folder, path, *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "results.npz") as results:
        return dict(results)


def test_the_example_runs_in_a_process_without_reparax(table_model, folder, tmp_path):
    rows = TABLE[:7]
    spelled = rows.with_columns(gappy=pl.col("gappy").cast(pl.String).fill_null(" ?"))
    results = run_example(folder, spelled, tmp_path / "rows.csv")
    np.testing.assert_allclose(results["codes"], rx.encode(table_model, rows), rtol=1e-5, atol=1e-5)
    wanted = rx.decode(table_model, results["codes"])
    np.testing.assert_allclose(results["reconstructed"], wanted, rtol=1e-3, atol=0.6)
    assert results["log_density"].shape == (7,)
    assert results["shares"].shape == (7, 5)


def test_the_example_takes_what_is_given_from_the_table_or_from_another_file(tmp_path):
    table = TABLE.with_columns(sunny=RNG.random(len(TABLE)) < 0.5)
    fitted = made(table, given=["kind", "day", "sunny"]).fitted
    rx.export(fitted, tmp_path / "onnx", format="onnx", num_samples=3)
    results = run_example(tmp_path / "onnx", table[:7], tmp_path / "rows.csv")
    np.testing.assert_allclose(results["codes"], rx.encode(fitted, table[:7]), rtol=1e-5, atol=1e-5)
    wanted = rx.decode(fitted, results["codes"], context=table[:7].select("kind", "day", "sunny"))
    np.testing.assert_allclose(results["reconstructed"], wanted, rtol=1e-3, atol=0.6)
    given = {"size": RNG.normal(size=len(ARRAY))}
    fitted = made(ARRAY, context=given, likelihood="normal").fitted
    rx.export(fitted, tmp_path / "array", format="onnx", num_samples=3)
    np.save(tmp_path / "rows.npy", ARRAY)
    pl.DataFrame(given).write_csv(tmp_path / "given.csv")
    results = run_example(tmp_path / "array", None, tmp_path / "rows.npy", tmp_path / "given.csv")
    np.testing.assert_allclose(results["codes"], rx.encode(fitted, ARRAY, context=given), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(results["reconstructed"], rx.reconstruct(fitted, ARRAY, context=given), rtol=1e-4)


@pytest.fixture(scope="module")
def related():
    """A table with a sum, a product, an order of dates, and a category that follows from another; gaps."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 90, 900) / 4, rng.integers(1, 50, 900) * 1.0
    city = rng.integers(0, 12, 900)
    start = pl.Series(rng.integers(1_600_000_000, 1_700_000_000, 900) * 1_000_000).cast(pl.Datetime("us"))
    frame = pl.DataFrame(
        {
            "a": a, "b": b, "sum": a + 2 * b, "area": a * b, "start": start,
            "end": start + pl.Series(rng.integers(60, 9000, 900) * 1_000_000).cast(pl.Duration("us")),
            "city": [f"c{each}" for each in city], "state": [f"s{each // 4}" for each in city],
        }
    )  # fmt: skip
    frame = frame.with_columns(a=pl.when(pl.int_range(900) % 7 == 3).then(None).otherwise(pl.col("a")))
    return frame, made(frame, relations="found").fitted


def test_relations_are_computed_outside_of_the_functions(related, tmp_path):
    frame, fitted = related
    forms = {type(relation.form).__name__ for relation in fitted.schema.relations}
    assert {"Linear", "Implied"} <= forms
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rx.export(fitted, tmp_path / "onnx", format="onnx", num_samples=3)
    rows = frame[:40]
    results = run_example(tmp_path / "onnx", rows, tmp_path / "rows.csv")
    np.testing.assert_allclose(results["codes"], rx.encode(fitted, rows), rtol=1e-5, atol=1e-5)
    decode = onnxruntime.InferenceSession(tmp_path / "onnx" / "decode.onnx")
    mean = decode.run(["mean"], {"z": results["codes"]})[0].astype(np.float64)
    wanted = fitted.schema.extension.collapsed(mean + fitted.units.offset)
    np.testing.assert_array_equal(results["reconstructed"], wanted)
    assert fitted.schema.extension.holds(results["reconstructed"]).mean(axis=0).min() > 0.9
    assert results["shares"].shape == (40, 8)


@pytest.mark.parametrize("step", [0.0, 1e-20, 1 / 86400, 0.01, 0.25, 1 / 3, 1.0, 3.0])
def test_the_example_computes_relations_as_reparax_does(step):
    """Remainders and what is put together from them, for relations of every form and gaps, are the same bits."""
    about, extension, rows = any_relations(step)
    about = json.loads(json.dumps(about))
    names = {}
    exec(compile((files("reparax.exports") / "cells.py.txt").read_text(), "cells.py", "exec"), names)
    extended = names["extended"](about, rows)
    np.testing.assert_array_equal(extended, extension.extended(rows))
    np.testing.assert_array_equal(names["collapsed"](about, extended), extension.collapsed(extended))


@pytest.mark.parametrize(
    "form",
    ["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M:%S.000", "%Y-%m-%dT%H:%M:%S+00:00", "%-m/%-d/%Y", "zone", "offset", "naive"],
)
def test_the_example_reads_times_as_reparax_does(form):
    hours = pl.Series([datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=13 * step) for step in range(40)])
    zones = {"zone": "Europe/Berlin", "offset": "+01:00", "naive": None}
    times = hours.dt.replace_time_zone(zones[form]) if form in zones else hours.dt.strftime(form)
    column = rx.read(pl.DataFrame({"t": times, "x": range(40)}, strict=False)).schema.columns[0]
    names = {}
    exec(compile((files("reparax.exports") / "cells.py.txt").read_text(), "cells.py", "exec"), names)
    about = json.loads(json.dumps(_description._column(column, 0.0)))
    texts = [cell_text(column, column.high), "2024-02-01 12:00", "2024-02-01T12:00:00Z", "2024-02-01 12:00:00+02:00"]
    for text in texts:
        try:
            wanted = cell_value(column, text)
        except DataError:
            with pytest.raises(ValueError, match="offset from UTC, as in the fit"):
                names["number"](text, about, [])
        else:
            assert names["number"](text, about, []) == wanted


TEXTS = [
    "a", " a ", "A", "b,c", "3", "3.0", " 3", "+3", "03", "0", "1", "1.0", "1e0", "-0", "0.0", "true", "TRUE", "F",
    "no", "None", "none", "nan", "NaN", "?", "-", "1_0", "1e400", "",
]  # fmt: skip


@pytest.mark.parametrize(
    "categories",
    [("a", "b,c"), (3, 1), ("3", "03"), ("3", "3.0"), (1.5, 3.0), (False, True), ("TRUE", "FALSE"), (0, 1)],
)
def test_the_example_reads_categories_as_reparax_does(categories):
    """However they are written; what the fit did not have is one beyond the last, unless it is given to the model."""
    column = msgspec.structs.replace(made(TABLE).fitted.schema.columns[1], categories=categories)
    names = {}
    exec(compile((files("reparax.exports") / "cells.py.txt").read_text(), "cells.py", "exec"), names)
    about = json.loads(json.dumps(_description._column(column, 0.0)))
    for text in TEXTS:
        wanted = np.nan if text.strip() in MISSING_TEXT else codes_of([text], column)[0]
        np.testing.assert_equal(float(names["number"](text, about, MISSING_TEXT)), wanted, err_msg=text)


def test_the_example_takes_tables_as_they_are_written_elsewhere(table_model, folder, tmp_path):
    """Byte order marks, unknown categories and gaps among numbers; infinities and unknown given values are refused."""
    rows = TABLE[:4].with_columns(pl.lit("new").alias("kind"), gappy=pl.Series([" None", "-NaN", "N/A", "1e-1"]))
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbf" + rows.write_csv().encode())
    results = run_example(folder, None, tmp_path / "rows.csv")
    wanted = rx.encode(table_model, str(tmp_path / "rows.csv"))
    np.testing.assert_allclose(results["codes"], wanted, rtol=1e-5, atol=1e-5)
    names, description = {}, json.loads((folder / "export.json").read_text())
    exec(compile((files("reparax.exports") / "cells.py.txt").read_text(), "cells.py", "exec"), names)
    with pytest.raises(ValueError, match="kind: expected a value of the fit in row 1"):
        names["known"](description, description["data"]["columns"][1:2], tmp_path / "rows.csv")
    for text in ("inf", "1e39", "1_0"):
        with pytest.raises(ValueError, match="a: expected a finite number"):
            names["number"](text, description["data"]["columns"][0], description["missing_numbers"])


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


def test_one_member_of_an_ensemble_is_exported(tmp_path, capsys):
    one = made(ARRAY, likelihood="normal").fitted
    moved = jax.tree.map(lambda leaf: leaf + 0.1 if eqx.is_inexact_array(leaf) else leaf, one.model)
    fitted = replace(one, others=(replace(one, model=moved),), recipe=msgspec.structs.replace(one.recipe, ensemble=2))
    rx.save(fitted, tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--format", "html", "-o", str(tmp_path / "page.html")]
    assert main(command) == 2
    assert "--member 1" in capsys.readouterr().err
    assert main([*command, "--member", "3"]) == 2
    assert main([*command, "--member", "2"]) == 0
    second = page_of(rx.load(tmp_path / "model").members[1])
    assert (tmp_path / "page.html").read_text("utf-8") == second != page_of(one)


def test_folders_of_others_and_unknown_formats_are_refused(table_model, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("export.json", "results.npz", "__pycache__/cells.cpython-312.pyc"):  # running the example leaves these
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("x")
    _check_folder(tmp_path / "run", "onnx")
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
