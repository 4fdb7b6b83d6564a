"""A page for the browser: the decoder with its weights, sliders, a pad, and a map of codes; one file, no network."""

import base64
import hashlib
import html
import json
import math
import re
from importlib.resources import files
from typing import Any

import jax
import numpy as np

from reparax.applications import dataset_of, sample_dataset
from reparax.errors import RecipeError
from reparax.exports._convert import graph_of
from reparax.exports._graph import Graph
from reparax.exports._page_functions import decoder_of, draws_of
from reparax.exports._page_parts import (
    ROWS_FOR_RANGES,
    SPACES,
    as_base64,
    codes_of,
    controls_of,
    latents_of,
    map_of,
    some_of,
    view_of,
)
from reparax.networks import context_size
from reparax.recipe import FittedModel

MOST_WEIGHTS = 4_000_000
SCRIPTS = ("engine.js", "shown.js", "controls.js", "page.js")
OPERATIONS = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "Asin", "Asinh", "Atanh", "Cast", "Ceil", "Concat", "Conv", "Cos",
    "Cosh", "CumSum", "Div", "Equal", "Erf", "Exp", "Expand", "Floor", "Gather", "GatherElements", "Greater",
    "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Pow", "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Sigmoid", "Sign",
    "Sin", "Sinh", "Slice", "Sqrt", "Sub", "Tan", "Tanh", "Transpose", "Where", "Xor",
})  # fmt: skip
"""The operations of ``engine.js``: all that a graph may have."""
KINDS = {"f": ("f", np.float32), "b": ("b", np.uint8), "i": ("i", np.int32), "u": ("i", np.int32)}


def page_of(fitted: FittedModel, data: Any = None) -> str:
    """The page of a model.

    Args:
        fitted: The fitted model.
        data: Data for the map of codes; by default there is no map, and sliders range over codes of drawn examples.

    Raises:
        RecipeError: The latent space has no sliders, the decoder is large, it takes a context of unnamed numbers, or
            the page lacks an operation.
        DataError: The data have another shape or kind than in the fit.
    """
    _check(fitted)
    graph = graph_of(decoder_of(fitted))
    _check_graph(graph)
    draws = draws_of(fitted)
    dataset = None if data is None else dataset_of(fitted, data)
    rows = dataset or sample_dataset(fitted, ROWS_FOR_RANGES, key=jax.random.key(0))
    codes, kl = codes_of(fitted, some_of(rows, ROWS_FOR_RANGES))
    about = {
        "graph": _as_json(graph),
        "draws": as_base64(draws) if isinstance(draws, np.ndarray) else draws and _as_json(draws),
        **latents_of(fitted, codes, kl),
        "given": controls_of(fitted),
        "view": view_of(fitted),
        "map": None if dataset is None else map_of(fitted, dataset),
    }
    kind = {"table": "a table", "images": "images", "array": "an array"}[fitted.schema.kind]
    texts = {
        "title": f"A model of {kind}",
        "lead": _lead(fitted, dataset is not None, bool(about["order"])),
        "view": about["view"]["kind"],
        "heading": {"image": "Image", "curve": "Values", "table": "Row"}[about["view"]["kind"]],
    }
    return _rendered({name: html.escape(text) for name, text in texts.items()}, about)


def _rendered(texts: dict[str, str], about: dict[str, Any]) -> str:
    """The template with its parts; what comes from the data is in one block of JSON, in which no tag can end."""
    source = files("reparax.exports")
    script = "".join(source.joinpath(name).read_text("utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = json.dumps(about, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    parts = {**texts, "hash": digest, "css": source.joinpath("page.css").read_text("utf-8")}
    page = source.joinpath("page.html").read_text("utf-8")
    pieces = re.split(r"\{\{(\w+)\}\}", page)  # texts are not searched for names of others
    named = {**parts, "script": script, "about": text}
    return "".join(named[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _check(fitted: FittedModel) -> None:
    space = fitted.model.posterior.latent_space
    if space not in SPACES:
        raise RecipeError(
            expected=f"a latent space that the page can show: {', '.join(SPACES)}",
            got=f"{space}",
            cure="export with --format onnx or stablehlo, or fit with --posterior diagonal-normal",
        )
    if context_size(fitted.model) and fitted.schema.given is None:
        raise RecipeError(
            expected="a model of which something is given by name, so that its range or categories are known",
            got="one with a context of numbers without names",
            cure='fit with --given, or with context={"name": values}; or export with --format onnx or stablehlo',
        )


def _check_graph(graph: Graph) -> None:
    missing = sorted({node.op for node in graph.nodes} - OPERATIONS)
    if missing:
        raise RecipeError(
            expected="a decoder of operations that the page has",
            got=f"one with {', '.join(missing)}",
            cure="fit with --network mlp, or export with --format onnx",
        )
    count = sum(array.size for array in graph.constants.values())
    if count > MOST_WEIGHTS:
        raise RecipeError(
            expected=f"a decoder of at most {MOST_WEIGHTS:,} numbers for one page",
            got=f"{count:,}",
            cure="fit with a smaller --width, or export with --format onnx",
        )


def _as_json(graph: Graph) -> dict[str, Any]:
    constants = []
    for name, array in graph.constants.items():
        kind, dtype = KINDS[array.dtype.kind]
        data = as_base64(array.astype(dtype))
        constants.append({"name": name, "shape": list(array.shape), "kind": kind, "data": data})
    nodes = [
        {
            "op": node.op, "in": list(node.inputs), "out": node.output, "shape": list(node.shape), "set": node.settings,
            "kind": KINDS[node.dtype.kind][0],
        }
        for node in graph.nodes
    ]  # fmt: skip
    return {
        "inputs": [{"name": each.name, "shape": list(each.shape)} for each in graph.inputs],
        "outputs": {name: tensor.name for name, tensor in graph.outputs.items()},
        "nodes": nodes,
        "constants": constants,
    }


def _lead(fitted: FittedModel, has_data: bool, has_sliders: bool) -> str:
    count = math.prod(fitted.model.posterior.latent_shape)
    given = ", ".join(column.name for column in fitted.schema.given_columns)
    kind = f"conditional model (given {given})" if given else "model"
    words = f"The decoder of a {kind} with {count} latent dimension{'' if count == 1 else 's'}, computed in this page."
    ordered = "the data" if has_data else "examples drawn from the model"
    move = f"Move a slider to see what changes. The first sliders say most of {ordered}"
    return f"{words} {move if has_sliders else 'Choose a value to see what changes'}; nothing is sent anywhere."
