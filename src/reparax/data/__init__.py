"""The user's data: reading and writing files and arrays, and a schema of what they hold. NumPy and Arrow, never jax."""

from reparax.data._array_files import BUILTIN
from reparax.data._atomic import atomic_write, check_output
from reparax.data._dataset import Dataset, FrameKind, from_array, require_fit, split
from reparax.data._describe import ColumnLine, cell_text, cell_value, column_lines
from reparax.data._fill import fill
from reparax.data._images import grid
from reparax.data._marginals import marginal_oddity
from reparax.data._overrides import kinds_of
from reparax.data._read import read, read_as
from reparax.data._restore import to_frame
from reparax.data._schema import Schema
from reparax.data._write import WRITABLE, write

__all__ = [
    "BUILTIN", "WRITABLE", "ColumnLine", "Dataset", "FrameKind", "Schema", "atomic_write", "cell_text",
    "cell_value", "check_output", "column_lines", "fill", "from_array", "grid", "kinds_of", "marginal_oddity",
    "read", "read_as", "require_fit", "split", "to_frame", "write",
]  # fmt: skip
