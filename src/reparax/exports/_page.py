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
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.applications import ACTIVE_VARIANCE, dataset_of, encode, sample_dataset
from reparax.data import Dataset, formulas_of
from reparax.errors import RecipeError
from reparax.exports._convert import graph_of
from reparax.exports._functions import Function, functions_of
from reparax.exports._graph import Graph
from reparax.networks import context_size
from reparax.recipe import FittedModel
from reparax.tables import adapter_of
from reparax.tables.categories import Categories

MOST_WEIGHTS = 4_000_000
MOST_POINTS = 4000
ROWS_FOR_RANGES = 2000
MOST_NAMES = 10
LONGEST_TABLE = 60
"""Plain numbers that are shown as a table; more are shown as a curve."""
SPACES = {"real": None, "positive": 0.0, "unit interval": 0.0}
"""Latent spaces with sliders, and the least value of each."""
OPERATIONS = frozenset({
    "Abs", "Acosh", "Add", "And", "ArgMax", "Asinh", "Atanh", "Cast", "Ceil", "Concat", "Cos", "Cosh", "CumSum",
    "Div", "Equal", "Erf", "Exp", "Expand", "Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual",
    "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow",
    "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Sigmoid", "Sign", "Sin",
    "Sinh", "Slice", "Sqrt", "Sub", "Tan", "Tanh", "Transpose", "Where", "Xor",
})  # fmt: skip
"""The operations of ``engine.js``."""


def page_of(fitted: FittedModel, data: Any = None) -> str:
    """The page of a model.

    Args:
        fitted: The fitted model.
        data: Data for the map of codes; by default there is no map, and sliders range over codes of drawn examples.

    Raises:
        RecipeError: The latent space has no sliders, the model is conditional or large, or the page lacks an operation.
        DataError: The data have another shape or kind than in the fit.
    """
    _check(fitted)
    graph = graph_of(_decoder(fitted))
    _check_graph(graph)
    dataset = None if data is None else dataset_of(fitted, data)
    rows = dataset or sample_dataset(fitted, ROWS_FOR_RANGES, key=jax.random.key(0))
    codes, kl = _codes(fitted, _some(rows, ROWS_FOR_RANGES))
    latents, order = _latents(fitted, codes, kl)
    about = {
        "graph": _as_json(graph),
        "latents": latents,
        "order": order,
        "view": _view(fitted),
        "map": None if dataset is None else _map(fitted, dataset),
    }
    kind = {"table": "a table", "images": "images", "array": "an array"}[fitted.schema.kind]
    texts = {
        "title": f"A model of {kind}",
        "lead": _lead(fitted, dataset is not None),
        "heading": {"image": "Image", "curve": "Values", "table": "Row"}[about["view"]["kind"]],
    }
    return _rendered({name: html.escape(text) for name, text in texts.items()}, about)


def _rendered(texts: dict[str, str], about: dict[str, Any]) -> str:
    """The template with its parts; what comes from the data is in one block of JSON, in which no tag can end."""
    source = files("reparax.exports")
    script = source.joinpath("engine.js").read_text("utf-8") + source.joinpath("page.js").read_text("utf-8")
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
            expected=f"a latent space that sliders can show: {', '.join(SPACES)}",
            got=f"{space}",
            cure="export with --format onnx or stablehlo, or fit with --posterior diagonal-normal",
        )
    if context_size(fitted.model):
        raise RecipeError(
            expected="a model without given columns or a context",
            got="a conditional model",
            cure="export with --format onnx or stablehlo, or fit without --given",
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


def _decoder(fitted: FittedModel) -> Function:
    """The mean, and for tables the probability of each category, from one latent vector."""
    decode = functions_of(fitted, 1)[1]
    if not adapter_of(fitted.model.likelihood).is_table:
        return decode._replace(call=lambda z: {"mean": decode.call(z)["mean"]})
    shape = fitted.model.posterior.latent_shape

    def call(z: Array) -> dict[str, Array]:
        row = fitted.model.likelihood(z.reshape(shape))
        statistics = row.statistics()
        families = zip(row.layout.families, statistics, strict=True)
        groups = [group for family, made in families if isinstance(family, Categories) for group in made]
        flat = [jnp.ravel(group) for group in groups] or [jnp.zeros(1)]
        return {"mean": row.typical(statistics), "probabilities": jnp.concatenate(flat)}

    return decode._replace(call=call)


def _places_of_categories(fitted: FittedModel) -> dict[int, tuple[int, bool]]:
    """Where the probabilities of each column of categories begin, and whether the last one is of several categories."""
    places, start = {}, 0
    for family in fitted.model.likelihood(jnp.zeros(fitted.model.posterior.latent_shape)).layout.families:
        for group in family.groups if isinstance(family, Categories) else ():
            for row, column in enumerate(group.columns):
                places[column] = (start + row * group.size, row in group.shared)
            start += group.log_fractions.size
    return places


def _as_json(graph: Graph) -> dict[str, Any]:
    kinds = {"f": ("f4", np.float32), "b": ("u1", np.uint8)}
    constants = []
    for name, array in graph.constants.items():
        kind, dtype = kinds.get(array.dtype.kind, ("i4", np.int32))
        constants.append({"name": name, "shape": list(array.shape), "kind": kind, "data": _base64(array.astype(dtype))})
    nodes = [
        {
            "op": node.op, "in": list(node.inputs), "out": node.output, "shape": list(node.shape), "set": node.settings,
            "whole": node.dtype.kind in "iu", "truth": node.dtype.kind == "b",
        }
        for node in graph.nodes
    ]  # fmt: skip
    return {
        "inputs": [{"name": each.name, "shape": list(each.shape)} for each in graph.inputs],
        "outputs": {name: tensor.name for name, tensor in graph.outputs.items()},
        "nodes": nodes,
        "constants": constants,
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _some(dataset: Dataset, most: int) -> Dataset:
    """Evenly spaced rows of a dataset, at most as many."""
    return dataset.take(np.arange(len(dataset))[:: -(-len(dataset) // most)])


def _codes(fitted: FittedModel, rows: Dataset) -> tuple[Float[np.ndarray, "n latent"], Float[np.ndarray, " l"] | None]:
    """Codes, and the mean KL of each latent dimension to a standard normal if the posterior has such deviations.

    Drawn rows are not matched to the schema, as draws of whole numbers from a normal likelihood have fractions.
    """
    function = functions_of(fitted, 1)[0]
    found = jax.jit(jax.vmap(function.call))(jnp.asarray(fitted.units.stored(rows.values), jnp.float32))
    codes = np.asarray(found["z"], np.float64)
    if fitted.model.posterior.latent_space != "real" or "z_std" not in found:
        return codes, None
    std = np.maximum(np.asarray(found["z_std"], np.float64), 1e-12)
    return codes, np.mean(0.5 * (codes**2 + std**2 - 1) - np.log(std), axis=0)


def _latents(
    fitted: FittedModel, codes: Float[np.ndarray, "n l"], kl: Float[np.ndarray, " l"] | None
) -> tuple[list[dict[str, Any]], list[int]]:
    """The range of each slider, and the order of the sliders: those that say most of the data first."""
    lowest = SPACES[fitted.model.posterior.latent_space]
    highest = 1.0 if fitted.model.posterior.latent_space == "unit interval" else math.inf
    middle, spread = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1e-3)
    active = codes.var(axis=0) > (ACTIVE_VARIANCE if lowest is None else 1e-4)
    weight = codes.var(axis=0) if kl is None else kl
    latents = []
    for j in range(codes.shape[1]):
        wide = max(4 * spread[j], 1.0 if lowest is None else 0.0)
        low, high = max(middle[j] - wide, -math.inf if lowest is None else lowest), min(middle[j] + wide, highest)
        latents.append(
            {
                "index": j, "low": _rounded(low), "high": _rounded(high), "start": _rounded(middle[j]),
                "spread": _rounded(spread[j]), "kl": None if kl is None else _rounded(kl[j]), "dead": bool(~active[j]),
            }
        )  # fmt: skip
    return latents, np.argsort(-weight, kind="stable").tolist()


def _rounded(number: float) -> float:
    return float(f"{float(number):.6g}")


def _view(fitted: FittedModel) -> dict[str, Any]:
    schema, units = fitted.schema, fitted.units
    low, high = float(np.min(units.summary.low)), float(np.max(units.summary.high))
    if schema.kind == "images":
        height, width, channels = schema.event_shape
        return {"kind": "image", "height": height, "width": width, "channels": channels, "low": low, "high": high}
    size = units.summary.size
    if not schema.columns or (size > LONGEST_TABLE and not adapter_of(fitted.model.likelihood).is_table):
        lines = schema.event_shape[-1] if len(schema.event_shape) > 1 and schema.event_shape[-1] <= 8 else 1
        return {"kind": "curve", "length": size // lines, "lines": lines, "low": low, "high": high}
    offset = np.zeros(size) if units.offset is None else units.offset.ravel()
    places = _places_of_categories(fitted) if adapter_of(fitted.model.likelihood).is_table else {}
    columns, relations = [], formulas_of(schema)
    implied = {relation["child"] for relation in relations if relation["implied"]}
    for index, column in enumerate(schema.columns):
        start, shares_last = places.get(index, (0, False))
        names = [str(each) for each in column.categories] if index in places else []
        names = [*names[:255], "all others"] if shares_last else names
        what = "name" if index in implied else "date" if column.kind == "datetime" else "number"
        columns.append(
            {
                "name": column.name, "what": what, "offset": float(offset[index]), "step": float(column.step),
                "categories": names, "start": start,
            }
        )  # fmt: skip
    return {"kind": "table", "columns": columns, "relations": relations}


def _map(fitted: FittedModel, dataset: Dataset) -> dict[str, Any]:
    """The codes of some rows, and their places in the plane of the first two principal axes."""
    places = np.arange(len(dataset))[:: -(-len(dataset) // MOST_POINTS)]
    rows = dataset.take(places)
    codes = encode(fitted, rows)
    middle = codes.mean(axis=0)
    _, _, directions = np.linalg.svd(codes - middle, full_matrices=False)
    weights = np.zeros((2, codes.shape[1]))
    weights[: len(directions[:2])] = directions[:2]
    flat = (codes - middle) @ weights.T
    low, extent = flat.min(axis=0), np.maximum(np.ptp(flat, axis=0), 1e-6)
    axes = [
        {"weights": (weights[k] / extent[k]).tolist(), "offset": float((-middle @ weights[k] - low[k]) / extent[k])}
        for k in range(2)
    ]
    groups, names = _groups(rows)
    return {
        "count": len(rows),
        "codes": _base64(codes.astype(np.float32)),
        "places": _base64(((flat - low) / extent).astype(np.float32)),
        "axes": axes,
        "rows": (places + 1).tolist(),
        "groups": groups,
        "names": names,
    }


def _groups(rows: Dataset) -> tuple[list[int] | None, list[str]]:
    """The label of each row, if there are few different ones."""
    if rows.labels is None:
        return None, []
    names, groups = np.unique(np.asarray([str(each) for each in rows.labels.tolist()]), return_inverse=True)
    return (groups.tolist(), names.tolist()) if len(names) <= MOST_NAMES else (None, [])


def _lead(fitted: FittedModel, has_data: bool) -> str:
    count = math.prod(fitted.model.posterior.latent_shape)
    words = f"The decoder of a model with {count} latent dimension{'' if count == 1 else 's'}, computed in this page."
    ordered = "the data" if has_data else "examples drawn from the model"
    return (
        f"{words} Move a slider to see what changes. The first sliders say most of {ordered}; nothing is sent anywhere."
    )
