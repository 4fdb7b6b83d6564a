"""Exporting a fitted model: files that run where reparax is not installed."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from reparax.data import check_output
from reparax.disk import atomic_write, is_left_behind
from reparax.errors import OutputError, RecipeError
from reparax.exports._description import description
from reparax.exports._functions import Function, functions_of
from reparax.exports._stablehlo import stablehlo
from reparax.extras import extras
from reparax.recipe import FittedModel

Format = Literal["onnx", "stablehlo", "html"]
FORMATS = get_args(Format)
DESCRIPTION, EXAMPLE = "export.json", ("example.py", "cells.py")
LEFT_BY_EXAMPLE = ("results.npz", "__pycache__")
SAMPLES = 100
PAGES = (".html", ".htm")


def export(
    fitted: FittedModel, path: str | Path, *, format: Format, data: Any = None, num_samples: int = SAMPLES
) -> None:
    """Writes a model for use without reparax.

    ``"onnx"`` and ``"stablehlo"`` write a folder with the functions ``encode`` (the code and the posterior standard
    deviation), ``decode`` (E[x | z] and the parameters of p(x | z)) and ``score`` (a bound on log p(x), the anomaly
    score, and for tables each column's share), each for batches of any size, and ``export.json``, which says how cells
    become numbers. No function draws random numbers: the noise of ``score`` is one of its inputs. ``"html"`` writes one
    page with the decoder, which runs in any browser without a network.

    Args:
        fitted: The fitted model.
        path: The folder or the .html file to write; an existing one of the same kind is replaced.
        format: ``"onnx"``, ``"stablehlo"`` or ``"html"``.
        data: For ``"html"``, data whose codes are shown as a map; anything that `reparax.data.read` reads.
        num_samples: The number of draws of z for each example in ``score``.

    Raises:
        RecipeError: The format is unknown, or a part of the model cannot be exported to it.
        DataError: The data have another shape or kind than in the fit.
        OutputError: The folder or file cannot be written, or contains other files than those of an export.
        MissingExtra: ``"onnx"`` without the library onnx.
    """
    if format not in FORMATS:
        raise RecipeError(expected=f"one of the formats {', '.join(FORMATS)}", got=repr(format), cure="choose one")
    fitted.require_one("to export")
    fitted.refuse_views("to export", "use rx.encode, rx.score and rx.impute, or export a model of one of the views")
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")
    if format == "html":
        from reparax.exports._page import page_of

        check_output(path, PAGES)
        text = page_of(fitted, data)
        with atomic_write(path) as file:
            file.write_text(text, encoding="utf-8")
        return
    if data is not None:
        raise RecipeError(
            expected=f"no data for the format {format}", got="some", cure="leave them out, or export to html"
        )
    _check_folder(path, format)
    functions = functions_of(fitted, num_samples)
    suffix = f".{format}"
    contents = {f"{each.name}{suffix}": _writer(format)(each) for each in functions}
    about = description(fitted, functions, suffix)
    contents[DESCRIPTION] = (json.dumps(about, indent=2, allow_nan=False) + "\n").encode()
    if format == "onnx":
        contents |= {name: files("reparax.exports").joinpath(f"{name}.txt").read_bytes() for name in EXAMPLE}
    _write_folder(path, contents)


def _writer(format: Format) -> Callable[[Function], bytes]:
    return _onnx if format == "onnx" else stablehlo


def _onnx(function: Function) -> bytes:
    from reparax.exports._convert import graph_of

    with extras():
        from reparax.exports._onnx import onnx_model

    notes = {port.name: port.text for port in (*function.inputs, *function.outputs)}
    return onnx_model(graph_of(function), function.name, notes).SerializeToString(deterministic=True)


def _check_folder(path: str | Path, format: str) -> None:
    """Checks that a folder can be written, before long work: a new one, or one with an export of the same format."""
    check_output(path, ())
    folder = Path(path).expanduser()
    of_functions = (f"{name}.{format}" for name in ("encode", "decode", "score"))
    of_export = {DESCRIPTION, *EXAMPLE, *of_functions, *LEFT_BY_EXAMPLE}
    found = {each.name for each in folder.iterdir() if not is_left_behind(each.name)} if folder.is_dir() else set()
    others = sorted(found - of_export if DESCRIPTION in found else found)
    if others:
        raise OutputError(
            expected=f"{path} to be a new folder, or one that contains nothing but an export to {format}",
            got=f"a folder with {', '.join(others[:3])}{' and more' if len(others) > 3 else ''} in it",
            cure="choose another name, as exporting replaces the folder",
        )


def _write_folder(path: str | Path, contents: Mapping[str, bytes]) -> None:
    with atomic_write(path) as temporary:
        temporary.unlink()
        temporary.mkdir()
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
