"""Answers as messages: JSON, or a binary frame of a JSON header and the bytes of arrays."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

ALIGNED = 8
"""Arrays begin at multiples of so many bytes, so that a browser can look at them without copying."""
DTYPES = {"f": "<f4", "i": "<i4", "u": "|u1", "b": "|u1"}
NAMES = {"<f4": "float32", "<i4": "int32", "|u1": "uint8"}


class Answer(NamedTuple):
    """The answer to a message.

    Attributes:
        fields: What JSON can hold.
        arrays: Numbers by name: of one byte, whole, or float32.
    """

    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = {}


def written(number: int | None, answer: Answer) -> str | bytes:
    """The message of an answer.

    With arrays it is binary: uint32 H, a header of H bytes of JSON whose ``arrays`` lists name, dtype and shape, then
    the arrays, little-endian. Header and arrays are padded to multiples of 8 bytes. Numbers that are not finite are
    null in JSON.

    Args:
        number: The ``id`` of the message that is answered.
        answer: The answer.
    """
    header: dict[str, Any] = {"id": number, **answer.fields}
    if not answer.arrays:
        return _json(header).decode()
    arrays = {name: _plain(array) for name, array in answer.arrays.items()}
    header["arrays"] = [
        {"name": name, "dtype": NAMES[array.dtype.str], "shape": list(array.shape)} for name, array in arrays.items()
    ]
    text = _json(header)
    text += b" " * (-(4 + len(text)) % ALIGNED)
    pieces = [struct.pack("<I", len(text)), text]
    for array in arrays.values():
        content = array.tobytes()
        pieces += [content, b"\0" * (-len(content) % ALIGNED)]
    return b"".join(pieces)


def _plain(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype("<i4")
    return array.astype(DTYPES[array.dtype.kind], copy=False)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_of_numpy)


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value)} in an answer")


def brief(values: np.ndarray, digits: int = 5) -> list[float]:
    """Numbers rounded to some significant digits, which makes JSON shorter."""
    values = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = np.where(np.isfinite(values) & (values != 0), np.floor(np.log10(np.abs(values))), 0.0)
        scale = 10.0 ** np.clip(digits - 1 - power, -300, 300)
        short = np.round(values * scale) / scale
    return np.where(np.isfinite(short), short, values).tolist()
