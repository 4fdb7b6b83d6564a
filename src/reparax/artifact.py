"""A fitted model on disk: a folder of JSON and safetensors, from which nothing is ever executed.

``weights.safetensors`` holds the arrays of the model under their paths in the pytree, except those that are computed
from the schema (`reparax.pytrees.Derived`). ``model.json`` holds the format version, the recipe, the schema, the
versions of the libraries, the history of training, and the checksums. ``README.md`` says it for people.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import PyTree

from reparax.card import model_card
from reparax.data import Schema, check_output
from reparax.disk import atomic_write, is_left_behind, locked
from reparax.errors import ArtifactError, DataError, OutputError, RecipeError
from reparax.model import Model
from reparax.pytrees import classes_of, partition, with_derived
from reparax.recipe import FittedModel, Guarantee, Recipe, build
from reparax.tensors import (
    NO_CHECKSUM,
    FileSeal,
    Leaf,
    described,
    escaped,
    filled,
    is_sealed,
    leaves_of,
    packed,
    sealed,
    unpacked,
    with_paths,
)
from reparax.training import Record, Status, history_text

FORMAT = "reparax model"
FORMAT_VERSION = 7
DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
COMPANION = "companion.safetensors"
"""The weights of the companion that was trained along with the model, if there is one."""
CARD = "README.md"
"""A description for people, which loading ignores; it is written anew when the model is."""
HISTORY = "history.csv"
"""The history of training for spreadsheets, which loading ignores."""
REPORT = "report.html"
"""A report that may be in the same folder; it is removed when the model is replaced."""
LIBRARIES = ("reparax", "jax", "equinox", "numpyro", "numpy")


class _Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How training went."""

    status: Status
    history: list[dict[str, Any]]


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``model.json``."""

    format: str
    format_version: int
    libraries: dict[str, str]
    recipe: Recipe | None
    data: Schema
    training: _Training
    arrays: dict[str, Leaf]
    scalars: dict[str, bool | int | float | str]
    files: dict[str, FileSeal]
    checksum: str
    companion: dict[str, Leaf] = {}
    others: list[_Training] = []
    guarantee: Guarantee | None = None
    fingerprint: str | None = None
    classes: dict[str, str] | None = None


def save(fitted: FittedModel, folder: str | Path) -> None:
    """Writes a fitted model to a folder, completely or not at all; an existing model folder is replaced.

    Args:
        fitted: The fitted model, from a recipe or custom.
        folder: The folder to write or replace; its parent folder must exist.

    Raises:
        OutputError: The folder cannot be written, or contains other files than those of a model.
        ArtifactError: Two arrays of the model have the same path, the model was built for another schema, or it has
            weights that are not finite.
    """
    check_folder(folder)
    _check_derived(fitted)
    for member in fitted.members:
        _check_finite(member.model, "the model", "fit the model again, with a lower learning rate")
    arrays, scalars = leaves_of(_of_all([member.model for member in fitted.members]))
    of_companion, _ = leaves_of(_of_all([member.companion for member in fitted.members]))
    contents = {WEIGHTS: packed(arrays)} | ({COMPANION: packed(of_companion)} if of_companion else {})
    description = _Description(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        libraries={name: version(name) for name in LIBRARIES},
        recipe=fitted.recipe,
        data=fitted.schema,
        training=_training(fitted),
        others=[_training(other) for other in fitted.others],
        guarantee=fitted.guarantee,
        fingerprint=fitted.fingerprint,
        # A recipe says which they are.
        classes=classes_of(fitted.model) if fitted.recipe is None else None,
        arrays=described(arrays),
        companion=described(of_companion),
        scalars=escaped(scalars),
        files={name: FileSeal.of(part) for name, part in contents.items()},
        checksum=NO_CHECKSUM,
    )
    text = sealed(description)
    num_weights = sum(array.size for array in arrays.values())
    card = model_card(fitted, description.libraries, num_weights).encode()
    with atomic_write(folder) as temporary:
        temporary.unlink()
        temporary.mkdir()
        for name, part in contents.items():
            (temporary / name).write_bytes(part)
        (temporary / DESCRIPTION).write_bytes(text)
        (temporary / CARD).write_bytes(card)
        (temporary / HISTORY).write_text(history_text(fitted.history), encoding="utf-8")


def load(
    folder: str | Path, *, model: Model | None = None, allow: Sequence[str] = (), companion: PyTree = None
) -> FittedModel:
    """Reads a fitted model from a folder; everything in it is checked, and nothing in it is executed.

    Args:
        folder: A folder that `save` wrote.
        model: For a custom model, a newly built model of the same structure; its arrays are replaced.
        allow: The modules of custom parts that may be imported; by default none.
        companion: A newly built companion of the same structure, if training is to continue; by default, the companion
            is not loaded, as applying a model does not need it.

    Raises:
        ArtifactError: The folder is not a model folder, is damaged or altered, has another format version, does not
            match ``model``, or has weights that are not finite.
    """
    folder = Path(folder).expanduser()
    with locked(Path(os.path.realpath(folder)).parent, shared=True):  # so that `save` replaces nothing in between
        description = _described(folder)
        stored = _stored(folder, WEIGHTS, description.files)
        beside = {} if companion is None else _stored(folder, COMPANION, description.files)
    skeleton = _skeleton(folder, description, allow) if model is None else _of_same_classes(model, description, folder)
    trainings = [description.training, *description.others]
    count = len(trainings)
    models = _each(filled(_of_all([skeleton] * count), stored, description.arrays, description.scalars, folder), count)
    companions = [None] * count
    if companion is not None:
        filled_in = filled(_of_all([companion] * count), beside, description.companion, {}, folder)
        companions = _each(filled_in, count)
    recipe = description.recipe
    of_member = recipe if recipe is None or count == 1 else msgspec.structs.replace(recipe, ensemble=1)
    first, *others = [
        replace(_fitted(folder, description.data, of_member, *each), fingerprint=description.fingerprint)
        for each in zip(trainings, models, companions, strict=True)
    ]
    return replace(first, recipe=recipe, others=tuple(others), guarantee=description.guarantee)


def _fitted(
    folder: Path, schema: Schema, recipe: Recipe | None, training: _Training, model: Model, companion: PyTree
) -> FittedModel:
    """One model of a folder."""
    _check_finite(model, str(folder), "copy the folder again from its source, or fit the model again")
    history = _history(training.history, folder)
    fitted = FittedModel(model, schema, recipe, history, training.status, companion)
    return replace(fitted, model=with_derived(model, fitted.units.summary))


def _training(fitted: FittedModel) -> _Training:
    return _Training(fitted.status, [record.as_json() for record in fitted.history])


def _of_all(trees: Sequence[PyTree]) -> PyTree:
    """What is saved of several models: of one, the model itself."""
    return trees[0] if len(trees) == 1 else tuple(trees)


def _each(trees: PyTree, count: int) -> Sequence[PyTree]:
    """The inverse of `_of_all`."""
    return [trees] if count == 1 else trees


def describe(folder: str | Path) -> dict[str, Any]:
    """The checked content of ``model.json`` as plain values: recipe, data, training, libraries, arrays.

    Raises:
        ArtifactError: The folder is not a model folder, or its description is damaged or altered.
    """
    description = msgspec.to_builtins(_described(Path(folder).expanduser()))
    return {name: value for name, value in description.items() if name not in {"format", "checksum", "scalars"}}


def check_whole(folder: str | Path) -> None:
    """Checks the description and the checksums of all files of a model.

    Raises:
        ArtifactError: The folder is not a model folder, or is damaged or altered.
    """
    path = Path(folder).expanduser()
    files = _described(path).files
    for name in files:
        _checked(path, name, files)


def check_folder(folder: str | Path) -> None:
    """Checks that a model can be saved in a folder; call it before long work.

    Raises:
        OutputError: The folder cannot be written, or contains other files than those of a model.
    """
    check_output(folder, ())
    path = Path(folder).expanduser()
    found = set(os.listdir(path)) if path.is_dir() else set()
    of_model = {DESCRIPTION, WEIGHTS, COMPANION, REPORT} | ({CARD, HISTORY} if DESCRIPTION in found else set())
    names = found - of_model
    others = sorted(name for name in names if not is_left_behind(name))  # a report that was killed
    if others:
        raise OutputError(
            expected=f"{folder} to be a new folder, or one that contains nothing but a model",
            got=f"a folder with {', '.join(others[:3])}{' and more' if len(others) > 3 else ''} in it",
            cure="choose another name, as saving a model replaces the folder",
        )


def _stored(folder: Path, name: str, files: Mapping[str, FileSeal]) -> Mapping[str, np.ndarray]:
    """The arrays of a file, after a check of its checksum."""
    try:
        return unpacked(_checked(folder, name, files))
    except ValueError as error:
        if isinstance(error, ArtifactError):
            raise
        raise _damaged(folder / name, f"a file that is not one of weights ({error})") from None


def _check_finite(model: Model, where: str, cure: str) -> None:
    """Refuses weights that are not numbers, or infinite; constants of a model may be infinite."""
    for path, leaf in with_paths(partition(model)[0]):
        if not np.isfinite(np.asarray(leaf)).all():
            raise ArtifactError(expected=f"finite weights in {where}", got=f"others in {path}", cure=cure)


def _check_derived(fitted: FittedModel) -> None:
    """Refuses a model that `load` would change, because it was built for another schema."""
    models = [member.model for member in fitted.members]
    rederived = jax.tree.leaves([with_derived(model, fitted.units.summary) for model in models])
    same = all(map(_same, jax.tree.leaves(models), rederived))
    if len(jax.tree.leaves(models)) != len(rederived) or not same:
        raise ArtifactError(
            expected="a model that was built for the data of its schema",
            got="a model that was built for other columns",
            cure="build the model from the schema that it is fitted with",
        )


def _same(leaf: Any, other: Any) -> bool:
    return leaf is other or (leaf.shape == other.shape and bool(jnp.array_equal(leaf, other, equal_nan=True)))


def _described(folder: Path) -> _Description:
    """The description, after a check of its format and checksum."""
    text = _bytes(folder, DESCRIPTION)
    try:
        content = json.loads(text)
        name, number, checksum = content["format"], content["format_version"], content["checksum"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(folder / DESCRIPTION, "a file that is not the description of a model") from None
    if name != FORMAT:
        raise _damaged(folder / DESCRIPTION, f"the format {name!r}")
    if number != FORMAT_VERSION:
        raise ArtifactError(
            expected=f"format version {FORMAT_VERSION} in {folder / DESCRIPTION}",
            got=f"version {number!r}",
            cure=f"fit the model again: reparax fit DATA --out {folder}",
        )
    if not is_sealed(text, checksum):
        raise _damaged(folder / DESCRIPTION, "content that was changed after it was written")
    try:
        return msgspec.convert(content, _Description, strict=False)
    except (msgspec.ValidationError, RecipeError) as error:
        wrote = content.get("libraries", {}).get("reparax", "another version")
        raise ArtifactError(
            expected=f"parts and settings that this version of reparax knows in {folder / DESCRIPTION}",
            got=str(error),
            cure=f"install reparax {wrote}, which wrote it, or fit the model again",
        ) from None


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        got = f"a folder without {name}" if folder.is_dir() else "nothing there"
    except NotADirectoryError:
        got = "a file"
    except OSError as error:
        got = f"a {name} that cannot be read ({error.strerror})"
    raise ArtifactError(
        expected=f"a model folder at {folder}", got=got, cure="use the folder that reparax fit --out wrote"
    )


def _checked(folder: Path, name: str, files: Mapping[str, FileSeal]) -> bytes:
    """The bytes of a file, after a check of its size and checksum."""
    content = _bytes(folder, name)
    wanted = files.get(name)
    if wanted is None:
        raise _damaged(folder / DESCRIPTION, f"no checksum of {name}")
    if broken := wanted.broken_by(content):
        raise _damaged(folder / name, broken)
    return content


def _damaged(path: Path, got: str) -> ArtifactError:
    return ArtifactError(
        expected=f"{path} as reparax wrote it",
        got=got,
        cure="copy the folder again from its source, or fit the model again",
    )


def _of_same_classes(model: Model, description: _Description, folder: Path) -> Model:
    """The model of the user, which must have the classes of the saved one: arrays of others may have equal shapes.

    Raises:
        ArtifactError: It has others.
    """
    saved, found = description.classes, classes_of(model)
    if saved is None or saved == found:
        return model
    places = [place for place in {**saved, **found} if saved.get(place) != found.get(place)]
    raise ArtifactError(
        expected=f"a model of the classes in {folder}, with {saved.get(places[0], 'nothing')} at {places[0]}",
        got=f"one with {found.get(places[0], 'nothing')} there",
        cure="build it as the saved one was built",
    )


def _skeleton(folder: Path, description: _Description, allow: Sequence[str]) -> Model:
    """The model of a recipe with shapes and dtypes in place of arrays; nothing is computed or allocated."""
    if description.recipe is None:
        raise ArtifactError(
            expected=f"a model of the structure in {folder}",
            got="none, and a custom model that no recipe describes",
            cure="build the model again and pass it: rx.load(folder, model=your_model)",
        )
    forbidden = [module for module in description.recipe.own_modules() if module not in allow]
    if forbidden:
        raise ArtifactError(
            expected=f"permission to import {', '.join(forbidden)}, where parts of {folder} are defined",
            got="no permission, as importing a module executes it",
            cure=f"if you trust it, load with allow={forbidden!r} (on the command line: --allow {' '.join(forbidden)})",
        )
    try:
        return eqx.filter_eval_shape(build, description.recipe, description.data, key=jax.random.key(0))
    except (RecipeError, DataError) as error:
        wrote = description.libraries.get("reparax", "the version")
        raise ArtifactError(
            expected=f"a recipe in {folder} that this version of reparax can build",
            got=str(error),
            cure=f"install reparax {wrote}, which wrote it, or fit the model again",
        ) from None


def _history(records: Sequence[dict[str, Any]], folder: Path) -> list[Record]:
    try:
        return [Record.from_json(record) for record in records]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise _damaged(folder / DESCRIPTION, "an invalid record of training") from None
