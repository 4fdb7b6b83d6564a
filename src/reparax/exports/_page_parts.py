"""What a page shows: sliders, controls of what is given, the view of an example, and the map of codes."""

import base64
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from reparax.applications import ACTIVE_VARIANCE, encode
from reparax.data import Dataset, formulas_of
from reparax.exports._functions import functions_of
from reparax.exports._page_functions import places_of_categories
from reparax.recipe import FittedModel, Units
from reparax.summary import Column
from reparax.tables import adapter_of

MOST_POINTS = 4000
ROWS_FOR_RANGES = 2000
MOST_NAMES = 10
LONGEST_TABLE = 60
"""Plain numbers that are shown as a table; more are shown as a curve."""
SPACES = {
    "real": (-math.inf, math.inf), "positive": (0.0, math.inf), "unit interval": (0.0, 1.0), "binary": (0.0, 1.0),
    "count": (0.0, math.inf), "simplex": (0.0, 1.0), "sphere": (-1.0, 1.0), "ball": (-1.0, 1.0), "one-hot": (0.0, 1.0),
    "class and real": (-math.inf, math.inf),
}  # fmt: skip
"""Latent spaces that the page shows, and the least and the greatest number in each."""
WHOLE = frozenset({"binary", "count"})


def as_base64(array: np.ndarray) -> str:
    """The bytes of an array, in the order of small machines."""
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def some_of(dataset: Dataset, most: int) -> Dataset:
    """Evenly spaced rows of a dataset, at most as many."""
    return dataset.take(np.arange(len(dataset))[:: -(-len(dataset) // most)])


def codes_of(
    fitted: FittedModel, rows: Dataset
) -> tuple[Float[np.ndarray, "n latent"], Float[np.ndarray, " l"] | None]:
    """Codes, and the mean KL of each latent dimension to a standard normal if the posterior has such deviations.

    Drawn rows are not matched to the schema, as draws of whole numbers from a normal likelihood have fractions.
    """
    function = functions_of(fitted, 1)[0]
    inputs = [fitted.units.stored(rows.values)]
    if rows.conditions is not None:
        inputs.append(_given_of(fitted).stored(rows.conditions.values))
    found = jax.jit(jax.vmap(function.call))(*(jnp.asarray(each, jnp.float32) for each in inputs))
    codes = np.asarray(found["z"], np.float64)
    if fitted.model.posterior.latent_space != "real" or "z_std" not in found:
        return codes, None
    std = np.maximum(np.asarray(found["z_std"], np.float64), 1e-12)
    return codes, np.mean(0.5 * (codes**2 + std**2 - 1) - np.log(std), axis=0)


def latents_of(
    fitted: FittedModel, codes: Float[np.ndarray, "n l"], kl: Float[np.ndarray, " l"] | None
) -> dict[str, Any]:
    """The range of each slider, the order of the sliders (those that say most of the data first), and the choices.

    A choice is a one-hot vector among the latent dimensions, which has no sliders.
    """
    space = fitted.model.posterior.latent_space
    lowest, highest = SPACES[space]
    middle, spread = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1e-3)
    active = codes.var(axis=0) > (ACTIVE_VARIANCE if lowest == -math.inf else 1e-4)
    weight = codes.var(axis=0) if kl is None else kl
    choices = _choices(fitted)
    chosen = {each["start"] + place for each in choices for place in range(each["count"])}
    latents = []
    for j in range(codes.shape[1]):
        wide = max(4 * spread[j], 1.0 if lowest == -math.inf or space in WHOLE else 0.0)
        low, high = max(middle[j] - wide, lowest), min(middle[j] + wide, highest)
        if space not in {"real", "positive", "unit interval", "class and real"}:
            low, high = lowest, highest if highest < math.inf else math.ceil(high)
        latents.append(
            {
                "index": j, "low": _rounded(low), "high": _rounded(high), "start": _rounded(middle[j]),
                "step": 1 if space in WHOLE else 0, "kl": None if kl is None else _rounded(kl[j]),
                "dead": bool(~active[j]),
            }
        )  # fmt: skip
    order = [place for place in np.argsort(-weight, kind="stable").tolist() if place not in chosen]
    return {"space": space, "latents": latents, "order": order, "choices": choices}


def _choices(fitted: FittedModel) -> list[dict[str, Any]]:
    posterior = fitted.model.posterior
    if posterior.latent_space == "class and real":
        count = int(getattr(posterior, "num_classes", 0))
        names = fitted.schema.classes or tuple(f"class {place + 1}" for place in range(count))
        return [{"name": "class", "start": 0, "count": count, "names": list(map(str, names))}]
    if posterior.latent_space != "one-hot":
        return []
    variables, count = posterior.latent_shape
    names = [str(place + 1) for place in range(count)]
    return [
        {"name": f"z{place + 1}", "start": place * count, "count": count, "names": names} for place in range(variables)
    ]


def _given_of(fitted: FittedModel) -> Units:
    """The units of what is given."""
    assert fitted.schema.given is not None
    return Units.of(fitted.schema.given)


def controls_of(fitted: FittedModel) -> list[dict[str, Any]]:
    """The control of each given column: categories, or a range of numbers or dates, and the usual value."""
    if fitted.schema.given is None:
        return []
    offset = _given_of(fitted).offset
    offsets = np.zeros(len(fitted.schema.given_columns)) if offset is None else offset.ravel()
    return [_control(column, float(shift)) for column, shift in zip(fitted.schema.given_columns, offsets, strict=True)]


def _control(column: Column, offset: float) -> dict[str, Any]:
    """A given cell is never missing, so that there is no control for that."""
    what = "category" if column.is_category else "date" if column.kind == "datetime" else "number"
    usual = 0.0 if column.is_category else min(max(column.mean, column.low), column.high)
    if column.step > 0 and not column.is_category:
        usual = min(max(round(usual / column.step) * column.step, column.low), column.high)
    return {
        "name": column.name, "what": what, "categories": [str(each).strip() or "(blank)" for each in column.categories],
        "low": float(column.low), "high": float(column.high), "step": float(column.step), "start": float(usual),
        "offset": offset,
    }  # fmt: skip


def _rounded(number: float) -> float:
    return float(f"{float(number):.6g}")


def view_of(fitted: FittedModel) -> dict[str, Any]:
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
    places = places_of_categories(fitted) if adapter_of(fitted.model.likelihood).is_table else {}
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


def map_of(fitted: FittedModel, dataset: Dataset) -> dict[str, Any]:
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
    groups, names = _groups(fitted, rows)
    return {
        "count": len(rows),
        "codes": as_base64(codes.astype(np.float32)),
        "places": as_base64(((flat - low) / extent).astype(np.float32)),
        "axes": axes,
        "rows": (places + 1).tolist(),
        "given": None if rows.conditions is None else rows.conditions.values.astype(np.float64).tolist(),
        "groups": groups,
        "names": names,
    }


def _groups(fitted: FittedModel, rows: Dataset) -> tuple[list[int] | None, list[str]]:
    """The label of each row, or its first given category, if there are few different ones."""
    texts = None if rows.labels is None else [str(each) for each in rows.labels.tolist()]
    if texts is None and rows.conditions is not None:
        columns = zip(fitted.schema.given_columns, rows.conditions.values.T, strict=True)
        named = ([str(column.categories[int(code)]).strip() for code in cells] for column, cells in columns
                 if column.is_category)  # fmt: skip
        texts = next(named, None)
    if texts is None:
        return None, []
    names, groups = np.unique(np.asarray(texts), return_inverse=True)
    return (groups.tolist(), names.tolist()) if len(names) <= MOST_NAMES else (None, [])
