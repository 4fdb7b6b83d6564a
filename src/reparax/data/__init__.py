"""The user's data: reading and writing files and arrays, and a schema of what they hold. NumPy and Arrow, never jax."""

from reparax.data._builtin import BUILTIN
from reparax.data._dataset import Dataset, from_array, require_fit, split
from reparax.data._read import read
from reparax.data._schema import Schema

__all__ = ["BUILTIN", "Dataset", "Schema", "from_array", "read", "require_fit", "split"]
