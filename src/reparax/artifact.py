"""A fitted model on disk: a folder of JSON and safetensors, from which nothing is ever executed.

``weights.safetensors`` holds the arrays of the model under their paths in the pytree, except those that are computed
from the schema (`reparax.pytrees.Derived`). ``model.json`` holds the format version, the recipe, the schema, the
versions of the libraries, the history of training, and the checksums.
"""

import hashlib
import json
import math
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
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from reparax.data import Schema, atomic_write, check_output
from reparax.errors import ArtifactError, DataError, OutputError, RecipeError
from reparax.model import Model
from reparax.pytrees import with_derived, without_derived
from reparax.recipe import FittedModel, Recipe, build
from reparax.training import Record, Status

FORMAT = "reparax model"
FORMAT_VERSION = 6
DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
COMPANION = "companion.safetensors"
"""The weights of the companion that was trained along with the model, if there is one."""
REPORT = "report.html"
"""A report that may be in the same folder; it is removed when the model is replaced."""
LIBRARIES = ("reparax", "jax", "equinox", "numpyro", "numpy")
NO_CHECKSUM = "0" * 64


class _Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How training went."""

    status: Status
    history: list[dict[str, Any]]


class _Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of the model: its dtype in the model, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size and the checksum of a file of the folder."""

    bytes: int
    sha256: str


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``model.json``."""

    format: str
    format_version: int
    libraries: dict[str, str]
    recipe: Recipe | None
    data: Schema
    training: _Training
    arrays: dict[str, _Leaf]
    scalars: dict[str, bool | int | float | str]
    files: dict[str, _File]
    checksum: str
    companion: dict[str, _Leaf] = {}


def save(fitted: FittedModel, folder: str | Path) -> None:
    """Writes a fitted model to a folder, completely or not at all; an existing model folder is replaced.

    Args:
        fitted: The fitted model, from a recipe or custom.
        folder: The folder to write or replace; its parent folder must exist.

    Raises:
        OutputError: The folder cannot be written, or contains other files than those of a model.
        ArtifactError: Two arrays of the model have the same path, or the model was built for another schema.
    """
    check_folder(folder)
    _check_derived(fitted)
    arrays, scalars = _leaves(fitted.model)
    of_companion, _ = _leaves(fitted.companion)
    contents = {WEIGHTS: _packed(arrays)} | ({COMPANION: _packed(of_companion)} if of_companion else {})
    description = _Description(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        libraries={name: version(name) for name in LIBRARIES},
        recipe=fitted.recipe,
        data=fitted.schema,
        training=_Training(fitted.status, [_from_record(record) for record in fitted.history]),
        arrays=_described_arrays(arrays),
        companion=_described_arrays(of_companion),
        scalars=_escaped(scalars),
        files={name: _File(len(part), hashlib.sha256(part).hexdigest()) for name, part in contents.items()},
        checksum=NO_CHECKSUM,
    )
    text = json.dumps(msgspec.to_builtins(description), indent=1, allow_nan=False).encode() + b"\n"
    text = text.replace(NO_CHECKSUM.encode(), hashlib.sha256(text).hexdigest().encode())
    with atomic_write(folder) as temporary:
        temporary.unlink()
        temporary.mkdir()
        for name, part in contents.items():
            (temporary / name).write_bytes(part)
        (temporary / DESCRIPTION).write_bytes(text)


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
        ArtifactError: The folder is not a model folder, is damaged or altered, has another format version, or does not
            match ``model``.
    """
    folder = Path(folder).expanduser()
    description = _described(folder)
    stored = _stored(folder, WEIGHTS, description.files)
    skeleton = _skeleton(folder, description, allow) if model is None else model
    filled = _filled(skeleton, stored, description.arrays, description.scalars, folder)
    if companion is not None:
        companion = _filled(companion, _stored(folder, COMPANION, description.files), description.companion, {}, folder)
    history = [_to_record(record, folder) for record in description.training.history]
    fitted = FittedModel(filled, description.data, description.recipe, history, description.training.status, companion)
    return replace(fitted, model=with_derived(filled, fitted.units.summary))


def describe(folder: str | Path) -> dict[str, Any]:
    """The checked content of ``model.json`` as plain values: recipe, data, training, libraries, arrays.

    Raises:
        ArtifactError: The folder is not a model folder, or its description is damaged or altered.
    """
    description = msgspec.to_builtins(_described(Path(folder).expanduser()))
    return {name: value for name, value in description.items() if name not in {"format", "checksum", "scalars"}}


def check_folder(folder: str | Path) -> None:
    """Checks that a model can be saved in a folder; call it before long work.

    Raises:
        OutputError: The folder cannot be written, or contains other files than those of a model.
    """
    check_output(folder, ())
    path = Path(folder).expanduser()
    others = sorted(set(os.listdir(path)) - {DESCRIPTION, WEIGHTS, COMPANION, REPORT}) if path.is_dir() else []
    if others:
        raise OutputError(
            expected=f"{folder} to be a new folder, or one that contains nothing but a model",
            got=f"a folder with {', '.join(others[:3])}{' and more' if len(others) > 3 else ''} in it",
            cure="choose another name, as saving a model replaces the folder",
        )


def _leaves(model: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a pytree, as NumPy, and its numbers, by path; without what is derived from the schema."""
    arrays: dict[str, np.ndarray] = {}
    scalars: dict[str, Any] = {}
    for path, leaf in _with_paths(without_derived(model)):
        if path in arrays or path in scalars:
            raise ArtifactError(
                expected="one path for each array of the model",
                got=f"two arrays at {path}",
                cure="use keys in your module's dictionaries that differ when written out",
            )
        if eqx.is_array(leaf) or isinstance(leaf, np.ndarray):
            arrays[path] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        elif isinstance(leaf, bool | int | float):
            scalars[path] = leaf
    return arrays, scalars


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    return tensor_bytes({path: _plain(array) for path, array in arrays.items()})


def _described_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, _Leaf]:
    return {path: _Leaf(_dtype_name(array), array.shape) for path, array in arrays.items()}


def _stored(folder: Path, name: str, files: Mapping[str, _File]) -> Mapping[str, np.ndarray]:
    """The arrays of a file, after a check of its checksum."""
    content = _checked(folder, name, files)
    try:
        arrays = read_tensors(content)
        if wrong := [path for path, array in arrays.items() if array.dtype.kind == "f" and np.isnan(array).any()]:
            raise ValueError(f"weights that are not numbers in {wrong[0]}")
        return arrays
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / name, f"a file that is not one of weights ({error})") from None


def _check_derived(fitted: FittedModel) -> None:
    """Refuses a model that `load` would change, because it was built for another schema."""
    rederived = jax.tree.leaves(with_derived(fitted.model, fitted.units.summary))
    same = all(map(_same, jax.tree.leaves(fitted.model), rederived))
    if len(jax.tree.leaves(fitted.model)) != len(rederived) or not same:
        raise ArtifactError(
            expected="a model that was built for the data of its schema",
            got="a model that was built for other columns",
            cure="build the model from the schema that it is fitted with",
        )


def _same(leaf: Any, other: Any) -> bool:
    return leaf is other or (leaf.shape == other.shape and bool(jnp.array_equal(leaf, other, equal_nan=True)))


def _with_paths(tree: Any) -> list[tuple[str, Any]]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(array: np.ndarray) -> np.ndarray:
    """A contiguous array for safetensors; dtypes that NumPy lacks (bfloat16) become unsigned integers."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array.view(f"uint{8 * array.dtype.itemsize}") if array.dtype.kind == "V" else array


def _dtype_name(array: np.ndarray) -> str:
    return array.dtype.name


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
    _check_own_checksum(folder, text, checksum)
    try:
        return msgspec.convert(content, _Description, strict=False)
    except (msgspec.ValidationError, RecipeError) as error:
        wrote = content.get("libraries", {}).get("reparax", "another version")
        raise ArtifactError(
            expected=f"parts and settings that this version of reparax knows in {folder / DESCRIPTION}",
            got=str(error),
            cure=f"install reparax {wrote}, which wrote it, or fit the model again",
        ) from None


def _check_own_checksum(folder: Path, text: bytes, checksum: Any) -> None:
    written = str(checksum).encode()
    blank = text.replace(written, NO_CHECKSUM.encode()) if written else text
    if hashlib.sha256(blank).hexdigest() != checksum:
        raise _damaged(folder / DESCRIPTION, "content that was changed after it was written")


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


def _checked(folder: Path, name: str, files: Mapping[str, _File]) -> bytes:
    """The bytes of a file, after a check of its size and checksum."""
    content = _bytes(folder, name)
    wanted = files.get(name)
    if wanted is None:
        raise _damaged(folder / DESCRIPTION, f"no checksum of {name}")
    if len(content) != wanted.bytes:
        raise _damaged(folder / name, f"{len(content)} bytes instead of {wanted.bytes}")
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise _damaged(folder / name, "content that was changed after it was written")
    return content


def _damaged(path: Path, got: str) -> ArtifactError:
    return ArtifactError(
        expected=f"{path} as reparax wrote it",
        got=got,
        cure="copy the folder again from its source, or fit the model again",
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


def _filled(
    skeleton: Any,
    stored: Mapping[str, np.ndarray],
    arrays: Mapping[str, _Leaf],
    scalars: Mapping[str, Any],
    folder: Path,
) -> Any:
    """The skeleton with the arrays and numbers of the folder, by path, after a check of every shape and dtype."""
    paths = {path: leaf for path, leaf in _with_paths(without_derived(skeleton)) if _is_arrayish(leaf)}
    if set(paths) != set(stored) or set(stored) != set(arrays):
        missing, extra = sorted(set(paths) - set(stored)), sorted(set(stored) - set(paths))
        parts = [f"{word} {', '.join(some[:3])}" for word, some in (("no", missing), ("also", extra)) if some]
        raise ArtifactError(
            expected=f"the arrays of this model in {folder}",
            got=f"a file with {' and '.join(parts) or 'other arrays'}",
            cure="pass a model of the structure that was saved",
        )

    def fill(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if _is_arrayish(leaf):
            return leaf if name not in paths else _restored(name, leaf, stored[name], arrays[name])
        return _unescaped(scalars[name]) if name in scalars else leaf

    return jax.tree_util.tree_map_with_path(fill, skeleton)


def _is_arrayish(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray | jax.ShapeDtypeStruct)


def _restored(name: str, leaf: Any, array: np.ndarray, written: _Leaf) -> Any:
    """An array of the same kind as in the skeleton: a jax array, a NumPy array or a random key."""
    wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    expected, got = (str(wanted.dtype), tuple(wanted.shape)), (written.dtype, written.shape)
    if expected != got or array.shape != written.shape:
        raise ArtifactError(
            expected=f"the array {name} to be {expected[0]} of shape {expected[1]}",
            got=f"{got[0]} of shape {got[1]}",
            cure="load with the model and the setting of jax_enable_x64 that it was saved with",
        )
    array = array.view(np.dtype(wanted.dtype)) if array.dtype != wanted.dtype else array
    if isinstance(leaf, np.ndarray):
        return array
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=str(jax.random.key_impl(leaf)))
    return jnp.asarray(array)


def _from_record(record: Record) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in Record.__dataclass_fields__}
    return {name: _escaped(value) if isinstance(value, dict) else value for name, value in fields.items()}


def _to_record(fields: dict[str, Any], folder: Path) -> Record:
    try:
        train, valid = ({key: _unescaped(x) for key, x in fields[name].items()} for name in ("train", "valid"))
        return Record(fields["epoch"], fields["step"], train, valid, fields["seconds"])
    except (TypeError, KeyError, AttributeError, ValueError):
        raise _damaged(folder / DESCRIPTION, "an invalid record of training") from None


def _escaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as JSON can write them, with text for NaN and infinities."""
    return {name: str(x) if isinstance(x, float) and not math.isfinite(x) else x for name, x in values.items()}


def _unescaped(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value
