"""The checkpoints of a fit, and what a resumed fit must have in common with the one that was killed."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
from scipy import sparse

from reparax.data import Dataset, Stream
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.pytrees import partition
from reparax.recipe import Recipe
from reparax.training import Checkpoints


def checkpoints_in(
    folder: str | Path | None, identity: Callable[[], Mapping[str, Any]], seconds: float, *, resume: bool
) -> Checkpoints | None:
    """The checkpoints in a folder; None for no folder.

    Args:
        folder: The folder.
        identity: What makes a fit the same one; not called without a folder, as it takes a while for large data.
        seconds: How long to train between two checkpoints.
        resume: Whether to go on from the newest one.

    Raises:
        RecipeError: A fit is to be resumed without a folder, or the time is not a number from 0 up.
    """
    if not seconds >= 0:
        raise RecipeError(expected="seconds from 0 up between two checkpoints", got=f"{seconds:g}", cure="leave it out")
    if folder is not None:
        return Checkpoints(folder, identity(), seconds, resume)
    if resume:
        cure = "add checkpoints=, the folder of the fit that is to be resumed"
        raise RecipeError(expected="a folder of checkpoints to resume from", got="none", cure=cure)
    return None


def identity_of(
    model: Model, recipe: Recipe, part: Dataset | Stream, held_out: Dataset | None, *, is_custom: bool = False
) -> Mapping[str, Any]:
    """What makes a fit the same one: the recipe with its seed, the data, their schema, the shapes of the weights.

    Args:
        model: The model before training.
        recipe: The recipe.
        part: The data of the fit.
        held_out: The data that are held out of it, if there are any.
        is_custom: Whether the model is none that the recipe describes.
    """
    shapes = [(str(leaf.dtype), leaf.shape) for leaf in jax.tree.leaves(partition(model)[0])]
    return {
        "data": fingerprint(part),
        "held-out data": None if held_out is None else fingerprint(held_out),
        "recipe": msgspec.to_builtins(recipe),
        "schema": _short(msgspec.json.encode(part.schema)),
        "weights": _short(str(shapes).encode()),
        "custom model": _short(str(list(_structure(model))).encode()) if is_custom else None,
    }


def _structure(tree: Any) -> Iterator[str]:
    """The classes and settings in a model, the same in every process, without its arrays."""
    if isinstance(tree, bool | int | float | str | None):
        yield repr(tree)
        return
    yield f"{type(tree).__module__}.{type(tree).__qualname__}"
    if isinstance(tree, tuple | list):
        children = list(enumerate(tree))
    elif isinstance(tree, Mapping):
        children = list(tree.items())
    elif is_dataclass(tree):
        children = [(each.name, getattr(tree, each.name)) for each in fields(tree)]
    else:
        children = []
        yield getattr(tree, "__qualname__", "")
    for name, child in children:
        yield f"({name}"
        yield from _structure(child)
        yield ")"


def identity_of_data(dataset: Dataset | Stream) -> Mapping[str, str | None]:
    """What tells data from others before it is known which rows are held out: values, what is given, description."""
    given = None if isinstance(dataset, Stream) else dataset.conditions
    return {
        "data": fingerprint(dataset),
        "schema": _short(msgspec.json.encode(dataset.schema)),
        "given columns": None if given is None else f"{fingerprint(given)} {_short(msgspec.json.encode(given.schema))}",
    }


def fingerprint(dataset: Dataset | Stream) -> str:
    """What tells the data of a fit from others: their number and a checksum."""
    if isinstance(dataset, Stream):
        return dataset.fingerprint
    context = b"" if dataset.context is None else dataset.context.tobytes()
    classes = b"" if dataset.classes is None else dataset.classes.tobytes()
    values = dataset.values
    is_sparse = isinstance(values, sparse.csr_array)
    parts = (values.indptr, values.indices, values.data) if is_sparse else (values,)
    digest = hashlib.sha256(np.ascontiguousarray(parts[0]).data)
    for part in parts[1:]:
        digest.update(np.ascontiguousarray(part).data)
    digest.update(context + classes)
    return f"of {len(dataset)} examples with checksum {digest.hexdigest()[:16]}"


def _short(content: bytes) -> str:
    return f"with checksum {hashlib.sha256(content).hexdigest()[:16]}"
