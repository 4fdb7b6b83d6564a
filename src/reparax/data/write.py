"""Writing arrays and tables to files in the format of the suffix."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data.files import EXCEL, check_output
from reparax.data.frames import is_frame
from reparax.data.images import grid
from reparax.data.restore import to_frame
from reparax.data.schema import Schema
from reparax.data.values import column_name
from reparax.disk import atomic_write
from reparax.errors import DataError
from reparax.extras import extras

if TYPE_CHECKING:
    import polars as pl


WRITABLE = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".feather", ".arrow", ".xlsx", ".png")


@extras()
def write(
    path: str | Path,
    values: Any,
    *,
    names: Sequence[str] | None = None,
    schema: Schema | None = None,
) -> None:
    """Writes rows of a table, or images, to a file, completely or not at all.

    ==============  ============================================================================================
    suffix          what is written
    ==============  ============================================================================================
    npy             the array; for several named arrays, their columns side by side
    npz             the array under the name X; for several named arrays, each under its name
    csv, tsv        a table with a header; the values of an image, or of each array, are columns name_0, name_1, ...
    parquet         the same
    feather, arrow  the same
    xlsx            the same, in one sheet of an Excel workbook
    png             images as a grid (see `grid`), scaled by the bounds of the schema
    ==============  ============================================================================================

    Args:
        path: The file; its folder must exist.
        values: An array with one row or one image for each example; several such arrays, by name; or a data frame.
        names: The names of the columns; by default those of the schema, else ``column_0``, ``column_1``, ...
        schema: The schema of the values, for names and for the bounds of images. Rows of a table are written in the
            form of the user's table: data types, categories, rounding, dates, missing cells (see `to_frame`).

    Raises:
        OutputError: The file cannot be written, or its suffix is unknown.
        DataError: The names do not match the columns, arrays have different lengths, or the format cannot store the
            values (a table as png, text as npy).
    """
    check_output(path, WRITABLE)
    if schema is not None and schema.columns is not None and names is None and isinstance(values, np.ndarray):
        values = to_frame(values, schema)
    if is_frame(values):
        _write_frame(path, values)
        return
    if names is None and schema is not None:
        names = schema.names
    arrays = _by_name(values)
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        joined = (
            values if not isinstance(values, Mapping) else np.column_stack([_flat(some) for some in arrays.values()])
        )
        content = np.ascontiguousarray(joined)
        with atomic_write(path) as file, file.open("wb") as stream:
            np.save(stream, content, allow_pickle=False)
    elif suffix == ".npz":
        with atomic_write(path) as file, file.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
    elif suffix == ".png":
        _write_png(path, arrays, schema)
    else:
        _write_table(path, suffix, _columns(arrays, names, named=isinstance(values, Mapping)))


def _by_name(values: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = (
        {"X": np.asarray(values)} if not isinstance(values, Mapping) else {k: np.asarray(v) for k, v in values.items()}
    )
    lengths = {len(array) if array.ndim else None for array in arrays.values()}
    if len(lengths) != 1 or None in lengths:
        raise DataError(
            expected="arrays with one row for each example, all of one length",
            got=f"shapes {', '.join(str(array.shape) for array in arrays.values()) or 'of no arrays'}",
            cure="write arrays of different lengths to separate files",
        )
    return arrays


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))


def _columns(arrays: dict[str, np.ndarray], names: Sequence[str] | None, *, named: bool) -> dict[str, np.ndarray]:
    """The columns of a table, by name."""
    if named:
        return {
            name if array.ndim == 1 else f"{name}_{index}": column
            for name, array in arrays.items()
            for index, column in enumerate(_flat(array).T)
        }
    rows = _flat(arrays["X"])
    names = [column_name(None, index) for index in range(rows.shape[1])] if names is None else list(names)
    if len(set(names)) != rows.shape[1] or len(names) != rows.shape[1]:
        raise DataError(
            expected=f"{rows.shape[1]} different names, one for each column",
            got=f"{names}",
            cure="choose such names",
        )
    return dict(zip(names, rows.T, strict=True))


def _write_table(path: str | Path, suffix: str, columns: dict[str, np.ndarray]) -> None:
    import polars as pl

    table = pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})
    _write_polars(path, suffix, table)


MOST_EXCEL_ROWS = 1_048_575


def _write_polars(path: str | Path, suffix: str, table: "pl.DataFrame") -> None:
    import polars as pl

    stream = io.BytesIO()  # polars may abort if writing to a file fails
    if suffix in {".csv", ".tsv"}:
        table.write_csv(stream, separator="\t" if suffix == ".tsv" else ",")
    elif suffix == ".parquet":
        table.write_parquet(stream)
    elif suffix == EXCEL:
        if len(table) > MOST_EXCEL_ROWS:
            raise DataError(
                expected=f"at most {MOST_EXCEL_ROWS:,} rows for Excel",
                got=f"{len(table):,}",
                cure="write csv or parquet",
            )
        texts = pl.selectors.by_dtype(pl.Categorical, pl.Enum)
        # Excel has no zones: such times become text with their offset from UTC.
        zoned = pl.selectors.datetime(time_zone="*").dt.to_string("%Y-%m-%d %H:%M:%S%.f%:z")
        table.with_columns(texts.cast(pl.String), zoned).write_excel(stream, autofilter=False)
    else:
        table.write_ipc(stream)
    with atomic_write(path) as file:
        file.write_bytes(stream.getbuffer())


def _write_frame(path: str | Path, frame: Any) -> None:
    """Writes a data frame; as npy and npz only if every column is numeric."""
    import narwhals as nw

    table = nw.from_native(frame, eager_only=True).to_polars()
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        raise DataError(expected="images for png", got="a table", cure="write tables as csv, parquet, npy or npz")
    if suffix not in {".npy", ".npz"}:
        _write_polars(path, suffix, table)
        return
    write(path, of_numbers(table, suffix))


def of_numbers(table: "pl.DataFrame", suffix: str) -> np.ndarray:
    """The matrix of a table of numbers.

    Args:
        table: The table.
        suffix: The format that it is for.

    Raises:
        DataError: Some columns are not numbers.
    """
    texts = [column.name for column in table.get_columns() if not (column.dtype.is_numeric() or column.dtype == bool)]
    if texts:
        raise DataError(
            expected=f"only columns of numbers for {suffix}",
            got=f"column {texts[0]!r} of text, categories or dates",
            cure="write it as csv, parquet or feather",
        )
    return table.to_numpy()


def _write_png(path: str | Path, arrays: dict[str, np.ndarray], schema: Schema | None) -> None:
    images = next(iter(arrays.values()))
    if schema is None:
        low, high = (0.0, 1.0) if images.dtype.kind == "f" else (0.0, 255.0)
    elif schema.kind == "images":
        low, high = float(np.min(schema.low)), float(np.max(schema.high))
    else:
        low, high = 0.0, 0.0
    if images.ndim not in {3, 4}:
        raise DataError(
            expected="images for png",
            got=f"rows of shape {images.shape[1:]}",
            cure="write tables as csv, parquet, npy or npz",
        )
    picture = grid(images, low=low, high=high if high > low else low + 1)
    from PIL import Image

    with atomic_write(path) as file:
        Image.fromarray(picture).save(file, format="PNG")
