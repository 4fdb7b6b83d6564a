"""Pytrees on disk: arrays as safetensors under their paths in the tree, numbers as JSON, both with checksums."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from reparax.errors import ArtifactError
from reparax.pytrees import without_derived

NO_CHECKSUM = "0" * 64


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of the model: its dtype in the model, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class FileSeal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size and the checksum of a file of the folder."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "FileSeal":
        """The seal of a content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())

    def broken_by(self, content: bytes) -> str | None:
        """How a content differs from what was sealed; None if it does not."""
        if len(content) != self.bytes:
            return f"{len(content)} bytes instead of {self.bytes}"
        return None if self == FileSeal.of(content) else "content that was changed after it was written"


def sealed(description: Any) -> bytes:
    """A description, whose field ``checksum`` is `NO_CHECKSUM`, as JSON with the checksum of the text in its place."""
    text = json.dumps(msgspec.to_builtins(description), indent=1, allow_nan=False).encode() + b"\n"
    return text.replace(NO_CHECKSUM.encode(), hashlib.sha256(text).hexdigest().encode())


def is_sealed(text: bytes, checksum: Any) -> bool:
    """Whether a text is as `sealed` wrote it with this checksum."""
    written = str(checksum).encode()
    blank = text.replace(written, NO_CHECKSUM.encode()) if written else text
    return hashlib.sha256(blank).hexdigest() == checksum


def leaves_of(model: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a pytree, as NumPy, and its numbers, by path; without what is derived from the schema."""
    arrays: dict[str, np.ndarray] = {}
    scalars: dict[str, Any] = {}
    for path, leaf in with_paths(without_derived(model)):
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


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a safetensors file."""
    return tensor_bytes({path: _plain(array) for path, array in arrays.items()})


def unpacked(content: bytes) -> Mapping[str, np.ndarray]:
    """The arrays of a safetensors file.

    Raises:
        ValueError: It is none.
    """
    try:
        return read_tensors(content)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def described(arrays: Mapping[str, np.ndarray]) -> dict[str, Leaf]:
    """The dtype and the shape of each array."""
    return {path: Leaf(array.dtype.name, array.shape) for path, array in arrays.items()}


def filled(
    skeleton: Any,
    stored: Mapping[str, np.ndarray],
    arrays: Mapping[str, Leaf],
    scalars: Mapping[str, Any],
    folder: Path,
) -> Any:
    """The skeleton with the arrays and numbers of a folder, by path, after a check of every shape and dtype.

    Raises:
        ArtifactError: The folder has other arrays, or arrays of other shapes or dtypes.
    """
    paths = {path: leaf for path, leaf in with_paths(without_derived(skeleton)) if _is_arrayish(leaf)}
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
        return unescaped(scalars[name]) if name in scalars else leaf

    return jax.tree_util.tree_map_with_path(fill, skeleton)


def _is_arrayish(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray | jax.ShapeDtypeStruct)


def _restored(name: str, leaf: Any, array: np.ndarray, written: Leaf) -> Any:
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
        return jax.random.wrap_key_data(jax.device_put(array), impl=str(jax.random.key_impl(leaf)))
    return jax.device_put(array)


def with_paths(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a pytree, each with its path."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(array: np.ndarray) -> np.ndarray:
    """A contiguous array for safetensors; dtypes that NumPy lacks (bfloat16) become unsigned integers."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array.view(f"uint{8 * array.dtype.itemsize}") if array.dtype.kind == "V" else array


def escaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as JSON can write them, with text for NaN and infinities."""
    return {name: str(x) if isinstance(x, float) and not math.isfinite(x) else x for name, x in values.items()}


def unescaped(value: Any) -> Any:
    """The number that `escaped` wrote."""
    return float(value) if isinstance(value, str) else value
