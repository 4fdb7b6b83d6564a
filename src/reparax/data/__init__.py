"""The user's data: reading and writing files and arrays, and a schema of what they hold. NumPy and Arrow, never jax."""

from reparax.data._atomic import atomic_write, check_output
from reparax.data._builtin import BUILTIN
from reparax.data._dataset import Dataset, from_array, require_fit, split
from reparax.data._grid import grid
from reparax.data._read import read, read_as
from reparax.data._schema import Schema
from reparax.data._write import WRITABLE, write

__all__ = [
    "BUILTIN", "WRITABLE", "Dataset", "Schema", "atomic_write", "check_output", "from_array", "grid", "read",
    "read_as", "require_fit", "split", "write",
]  # fmt: skip
