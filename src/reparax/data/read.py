"""Reading data of any supported kind as a `Dataset`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs
from scipy import sparse

from reparax.data.aligned import Identified, aligned, identified, names_of
from reparax.data.arrays import (
    PREFIX,
    Arrays,
    Read,
    read_builtin,
    read_idx,
    read_labels,
    read_npy,
    read_npz,
    text_or_numbers,
)
from reparax.data.columns import CHOSEN
from reparax.data.counts import as_counts
from reparax.data.dataset import Dataset, as_matched
from reparax.data.files import LabelNotFoundError, content_of, missing, read_bytes, visible_files
from reparax.data.frames import Frame, is_frame, kind_of_frame, load_frame, object_series
from reparax.data.given import with_given
from reparax.data.images import SUFFIXES, read_folder
from reparax.data.named import conditions_as, in_context
from reparax.data.overrides import NOTHING, overrides, taken_over
from reparax.data.schema import Schema
from reparax.data.sparse import Sparse, labeled, of_scipy, read_hdf5, read_mtx, read_sparse_npz
from reparax.data.statements import Statement, stated
from reparax.data.tables import (
    ARROW,
    EXCEL,
    JSON_LINES,
    PARQUET,
    TEXT,
    read_arrow_file,
    read_csv_file,
    read_excel_file,
    read_json_lines,
    read_parquet_file,
    read_table_folder,
    table_suffix,
)
from reparax.data.views import ViewRows, Views, by_view, joined, require_view
from reparax.errors import DataError
from reparax.extras import extras

if TYPE_CHECKING:
    import polars as pl


READABLE = (
    ".npy, .npz, .csv, .tsv, .parquet, .feather, .arrow, .jsonl, .xlsx, .h5ad, .loom, .mtx or IDX files, folders of "
    "tables or of PNG and JPEG images, or builtin:digits"
)


_Loaded = Arrays | Frame | Read | Sparse
_Reader = Callable[[Path, str | Path | None], _Loaded]


@extras()
def read(
    source: Any,
    *,
    label: str | Path | None = None,
    schema: str | Path | Mapping[str, Any] | Schema | None = None,
    exclude: Iterable[str] = (),
    given: Iterable[str] = (),
    context: Any = None,
) -> Dataset:
    """Reads data from a file, a folder, an array or a data frame.

    Sources are ``.npy`` and ``.npz`` files (pickles are refused); IDX files, which may be gzipped; folders of PNG and
    JPEG images (see `read_folder`); tables as CSV (with commas, semicolons, tabs or bars, with or without a header),
    Parquet, Arrow, Feather or JSON lines files, and folders of these; the first sheet of an Excel workbook;
    sparse matrices of scipy, in memory or in ``.npz``, ``.h5ad``, ``.loom`` and ``.mtx`` files, which stay sparse;
    ``builtin:digits`` and other data sets of scikit-learn; NumPy arrays and what converts to one; pandas, polars and
    arrow frames.

    The kinds of columns of a table are inferred from their cells (see `column_of`): several kinds of numbers, booleans,
    categories, dates. Cells that are empty, NaN, null, NA or ? are missing. Row identifiers, free text and empty
    columns are not modeled, with a note. A table of numbers without missing cells is an array of a compact dtype; any
    other table is a matrix of numbers, codes of categories and days since 1970, with NaN for missing cells.

    An array with two axes is a table; with three, gray images; with four, images with channels last (or first, if only
    that is possible); with more, an array. Values are binary if all are 0 or 1, integer if all are whole numbers of any
    dtype, and otherwise real. Images of dtype uint8 have levels 0 to 255; images of whole numbers of other dtypes have
    levels 0 to their maximum if that is below 128 (digits: 16), else to the next 2**bits - 1 (255, 4095, 65535); real
    images within [0, 1] are intensities between 0 and 1. Columns of tables have their observed bounds.

    Args:
        source: A path, ``builtin:NAME``, an array, a data frame, a dataset (returned unchanged), or several `Views`.
        label: Where the labels are: a column of a table (``column_0``, ... or its number if it has no name), an array
            of an ``.npz`` file, or a file (``.npy``, IDX, one-column CSV). Labels are not among the values.
        schema: The kinds of columns where those inferred from their values are wrong: a mapping such as
            ``{"age": "continuous", "zip": "categorical", "id": "exclude"}``, a JSON or TOML file with such a mapping,
            or the schema of other data. Instead of a kind, a column may have statements that hold in every row and in
            every synthetic one: ``{"dropoff": {"after": "pickup"}}``, ``{"total": {"sum": ["fare", "tip"]}}``,
            ``{"borough": {"of": "zone"}}``, ``{"age": {"kind": "count", "range": [0, 120]}}``,
            ``{"model": {"with": ["make"]}}`` (only the combinations of the data), ``{"code": {"unique": true}}``; also
            ``before``, ``difference``, ``product`` and ``ratio``.
        exclude: Columns to ignore.
        given: Columns that are known of each example and not modeled, or ``"label"`` for the labels: a model of these
            data is one of p(x | given), and takes them from the columns of the data that it is applied to.
        context: The same by name, as a mapping such as ``{"digit": digits}`` or a data frame with one row for each
            example; or numbers without names, one row for each example.

    Raises:
        DataError: The source is missing, damaged, or cannot be modeled, or a row breaks a statement; the message says
            what to do.
    """
    if isinstance(source, Views):
        return _read_views(source, label, schema, tuple(exclude), given, context)
    chosen = overrides(schema, exclude)
    loaded = _load(source, label)
    dataset = loaded.complete if isinstance(loaded, Read) and not chosen else loaded.dataset(chosen)
    given = [given] if isinstance(given, str) else list(map(str, given))
    if isinstance(loaded, Sparse) and given and (known := loaded.given(given)):
        dataset, given = in_context(dataset, known), []
    dataset = _with_statements(dataset, chosen.statements)
    if taken := taken_over(schema):
        dataset = replace(dataset, notes=(taken, *dataset.notes))
    dataset = with_given(dataset, given)
    dataset = dataset if chosen.kinds else as_counts(dataset)
    return dataset if context is None else in_context(dataset, context)


def _read_views(
    source: Views, label: str | Path | None, schema: Any, exclude: tuple[str, ...], given: Iterable[str], context: Any
) -> Dataset:
    """Reads several views as one dataset.

    Raises:
        DataError: A view cannot be read, or something is asked for that views do not have.
    """
    if schema is not None or exclude:
        raise DataError(
            expected="views whose columns are described one by one", got="a schema, or columns to ignore",
            cure="read such a view first: rx.Views({'clinic': rx.read('clinic.csv', schema=..., exclude=...), ...})",
        )  # fmt: skip

    def of_view(name: str, loaded: _Loaded) -> Dataset:
        dataset = as_counts(loaded.dataset(NOTHING))
        require_view(name, dataset)
        return dataset

    dataset = joined(*aligned(_identified(source), of_view))
    if label is not None:
        dataset = replace(dataset, labels=read_labels(Path(label), len(dataset)))
    dataset = with_given(dataset, [given] if isinstance(given, str) else list(map(str, given)))
    return dataset if context is None else in_context(dataset, context)


def _identified(source: Views) -> dict[str, Identified]:
    """The data of each view, and the names of its rows if they have some.

    Raises:
        DataError: A view cannot be read, or its rows do not have names as the others do.
    """
    found = {}
    for name, data in source.sources.items():
        if isinstance(source.id, Mapping):
            if name not in source.id:
                raise DataError(
                    expected=f"names of the rows of every view, {', '.join(source.sources)}", got=f"none of {name!r}",
                    cure="add them to id={...}",
                )  # fmt: skip
            found[name] = identified(_load(data, None), name, source.id[name])
        elif source.id is None:
            found[name] = Identified(_load(data, None), None)
        else:
            found[name] = names_of(_load_named(data, source.id), name, source.id)
    return found


def _load_named(data: Any, name: str) -> _Loaded:
    with suppress(LabelNotFoundError):
        return _load(data, name)
    return _load(data, None)


def _views_as(source: Any, schema: Schema, allowed: frozenset[str]) -> Dataset:
    """Views matched to those of a fit.

    Raises:
        DataError: These are no views, or others than those of the fit.
    """
    names = [name for name, _ in schema.views]
    if isinstance(source, Dataset) and source.schema.views:
        views = {name: Identified(Read(view.dataset), None) for name, view in by_view(source).items()}
    elif isinstance(source, Views):
        views = _identified(source)
    else:
        raise DataError(
            expected=f"some of the views {', '.join(names)}", got=f"a {type(source).__name__} without names of views",
            cure=f"write --view {names[0]}=FILE; in Python: rx.Views({{'{names[0]}': data}})",
        )  # fmt: skip
    known = dict(schema.views)
    if unknown := [name for name in views if name not in known]:
        raise DataError(
            expected=f"some of the views {', '.join(names)}", got=", ".join(unknown), cure="leave the others out"
        )

    def of_view(name: str, loaded: _Loaded) -> Dataset:
        return loaded.matched(known[name], allow_missing=name in allowed)

    if not isinstance(source, Dataset):
        return joined(*aligned(views, of_view), schema=schema)
    rows = {name: view.rows for name, view in by_view(source).items() if len(view.rows)}
    matched = {name: ViewRows(of_view(name, views[name].loaded), places) for name, places in rows.items()}
    dataset = joined(matched, len(source), source.ids, schema)
    return replace(source, values=dataset.values, schema=schema, frame_kind=dataset.frame_kind)


def _with_statements(dataset: Dataset, statements: tuple[Statement, ...]) -> Dataset:
    """The dataset with what is stated of its columns in its schema."""
    if not statements:
        return dataset
    if dataset.schema.columns is None:
        raise DataError(expected="a table for statements on columns", got=dataset.schema.kind, cure="leave them out")
    relations, constraints = stated(statements, dataset.values, dataset.schema.columns)
    return replace(dataset, schema=structs.replace(dataset.schema, relations=relations, constraints=constraints))


def _load(source: Any, label: str | Path | None) -> _Loaded:
    if isinstance(source, Dataset):
        return Read(source)
    if isinstance(source, str) and source.startswith(PREFIX):
        array, names, labels, key = read_builtin(source.removeprefix(PREFIX))
        loaded = Arrays(array, labels, key, names=names)
        return loaded if label is None else replace(loaded, labels=read_labels(Path(label), len(array)))
    if isinstance(source, str | Path):
        if not str(source):
            raise DataError(expected="the path of a file or folder", got="an empty path", cure="name the data")
        path = Path(source).expanduser()
        return _reader(path)(path, label)
    if sparse.issparse(source):
        return labeled(of_scipy(source), label)
    if not isinstance(source, np.ndarray) and is_frame(source):
        return load_frame(source, label, kind=kind_of_frame(source))
    array = _to_array(source)
    if array.ndim == 2 and array.dtype.kind in "OU" and array.size:
        return replace(load_frame(_frame_of_objects(array), label), kind="numpy", original=array)
    return replace(_arrays(array, label), kind="numpy")


def _frame_of_objects(array: np.ndarray) -> "pl.DataFrame":
    """A frame of an array of text or Python objects, with numbers as column names."""
    import polars as pl

    return pl.DataFrame([object_series(str(index), column.tolist()) for index, column in enumerate(array.T)])


@extras()
def read_as(
    source: Any, schema: Schema, *, allow_missing: bool | frozenset[str] = False, context: Any = None
) -> Dataset:
    """Reads data for a fitted model and matches them to its schema: columns by name, with the same dtype.

    If the column or array that had the labels in the fit is present, it is read as the labels.

    Args:
        source: As for `read`.
        schema: The schema of the fit.
        allow_missing: Whether cells may be missing in columns without missing cells in the fit (NaN, in a floating
            dtype); of several views, the names of those whose cells may be.
        context: What is given of each example, by name, instead of the columns and labels of the data; see
            `conditions_as`.

    Returns:
        A dataset with ``schema``; its notes say what was noticed, such as categories that did not occur in the fit.

    Raises:
        DataError: As for `read`; or the data do not have the shape, columns or kind of values of the fit.
    """
    if schema.views:
        allowed = allow_missing if isinstance(allow_missing, frozenset) else frozenset()
        dataset = source if _is_of(source, schema) else _views_as(source, schema, allowed)
        if context is None or schema.given is None:
            return as_matched(dataset, schema, schema.given_of(dataset))
        return replace(dataset, schema=schema, conditions=conditions_as(context, schema.given, len(dataset)))
    if isinstance(source, Views) or (isinstance(source, Dataset) and source.schema.views):
        raise DataError(
            expected="data of one kind, as in the fit", got="several views",
            cure="give the data without --view, without rx.Views",
        )  # fmt: skip
    allow_missing = bool(allow_missing)
    if context is None or schema.given is None:
        return load_with_any_label(source, schema).matched(schema, allow_missing=allow_missing)
    plain = without_given(schema)
    dataset = load_with_any_label(source, plain).matched(plain, allow_missing=allow_missing)
    conditions = conditions_as(context, schema.given, len(dataset))
    return replace(dataset, schema=schema, conditions=conditions)


def without_given(schema: Schema) -> Schema:
    """The schema of the modeled columns alone, with what is given left out."""
    instead = tuple((column.name, CHOSEN) for column in schema.given_columns)
    return structs.replace(schema, given=None, order=(), excluded=(*schema.excluded, *instead))


def _is_of(source: Any, schema: Schema) -> bool:
    return isinstance(source, Dataset) and source.schema == schema


def _reopened(dataset: Dataset) -> _Loaded:
    """The table from which a dataset was read, as another schema may need other columns of it."""
    native, names = dataset.native, dataset.schema.names
    if native is None or dataset.schema.columns is None:
        return Read(dataset)
    if isinstance(native, np.ndarray) and native.dtype.kind in "biuf":
        names = names if names is not None and len(names) == native.shape[1] else None
        return Arrays(native, dataset.labels, dataset.schema.label, names=names, kind=dataset.frame_kind)
    table = _frame_of_objects(native) if isinstance(native, np.ndarray) else native
    frame = load_frame(table, None, named=names is not None, kind=dataset.frame_kind)
    kept = [index for index in frame.kept if frame.names[index] != dataset.schema.label]
    original = native if isinstance(native, np.ndarray) else None
    return replace(frame, kept=kept, labels=dataset.labels, label=dataset.schema.label, original=original)


def load_with_any_label(source: Any, schema: Schema) -> _Loaded:
    """What a source has, with the column or array that had the labels in a fit, if it is present, as its labels."""
    if isinstance(source, Dataset):
        return Read(source) if source.schema == schema else _reopened(source)
    loaded = None
    for label in (schema.label, *(each.name for each in schema.given_columns if each.name not in schema.order)):
        with suppress(LabelNotFoundError):
            loaded = loaded if loaded is not None or label is None else _load(source, label)
    if loaded is None:
        return _load(source, None)
    if isinstance(loaded, Frame) and schema.names is None and not loaded.named:
        (fitted,) = schema.event_shape if len(schema.event_shape) == 1 else (0,)
        if len(loaded.kept) == fitted - 1:  # unnamed columns, none of which holds labels
            return _load(source, None)
    return loaded


def _reader(path: Path) -> _Reader:
    """The function that reads a path, chosen by the suffix or else by the first bytes of the file."""
    if path.is_dir():
        return _folder
    if not path.exists():
        raise missing(path)
    by_suffix = {
        ".npy": _npy, ".npz": _npz, ".idx": _idx,
        **dict.fromkeys(TEXT, read_csv_file),
        **dict.fromkeys(PARQUET, read_parquet_file),
        **dict.fromkeys(ARROW, read_arrow_file),
        **dict.fromkeys(JSON_LINES, read_json_lines),
        **dict.fromkeys(EXCEL, read_excel_file),
        **dict.fromkeys((".h5ad", ".loom"), _hdf5), ".mtx": _mtx,
    }  # fmt: skip
    suffix = table_suffix(path)
    if suffix in by_suffix:
        return by_suffix[suffix]
    by_content = {"npy": _npy, "npz": _npz, "idx": _idx, "parquet": read_parquet_file, "arrow": read_arrow_file}
    by_content |= {"excel": read_excel_file, "hdf5": _hdf5}
    format_name, words = content_of(read_bytes(path))
    if format_name in by_content:
        return by_content[format_name]
    if format_name == "image":
        raise DataError(
            expected="a folder of images", got=f"{words}, {path}", cure="put the images in a folder, and use its path"
        )
    raise DataError(expected=READABLE, got=f"{path}, {words}", cure="convert the data to one of these")


def _folder(path: Path, label: str | Path | None) -> Read | Frame:
    """A folder of images, or of tables if it has no images."""
    tables = table_files(path)
    return read_table_folder(path, tables, label) if tables else Read(read_folder(path, label))


def table_files(folder: Path) -> list[Path]:
    """The tables of a folder, in order; none if it has images. Other files, such as ``_SUCCESS``, are left out."""
    files = visible_files(folder)
    if any(file.suffix.lower() in SUFFIXES for file in files):
        return []
    return [file for file in files if table_suffix(file) in {*TEXT, *PARQUET, *ARROW, *JSON_LINES}]


def _npy(path: Path, label: str | Path | None) -> Arrays:
    return _arrays(read_npy(path), label)


def _hdf5(path: Path, label: str | Path | None) -> Sparse:
    return labeled(read_hdf5(path), label)


def _mtx(path: Path, label: str | Path | None) -> Sparse:
    return labeled(read_mtx(path), label)


def _npz(path: Path, label: str | Path | None) -> Arrays | Sparse:
    matrix = read_sparse_npz(path)
    if matrix is not None:
        return labeled(matrix, label)
    try:
        values, labels, key, notes = read_npz(path, None if label is None else str(label))
    except LabelNotFoundError:
        if label is None or not Path(label).expanduser().is_file():
            raise
        values, _, _, notes = read_npz(path, None)
        return _arrays(values, label, notes)
    if labels is None:
        return Arrays(values, notes=tuple(notes))
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if label is None and (values.ndim == 0 or labels.shape != (len(values),)):
        notes.append(f"the array {key} was ignored, as its shape {labels.shape} is not that of labels")
        return Arrays(values, notes=tuple(notes))
    return Arrays(values, text_or_numbers(labels), key, tuple(notes))


def _idx(path: Path, label: str | Path | None) -> Arrays:
    array = read_idx(path)
    if array.ndim == 1:
        raise DataError(
            expected=f"images or a table in {path}",
            got=f"{len(array)} single values, like labels",
            cure="use the file of images as the data, and this one as --label",
        )
    return _arrays(array, label)


def _arrays(array: np.ndarray, label: str | Path | None, notes: Sequence[str] = ()) -> Arrays:
    """The array with labels from a file."""
    labels = None if label is None else read_labels(Path(label), len(array) if array.ndim else 0)
    return Arrays(array, labels, notes=tuple(notes))


def _to_array(source: Any) -> np.ndarray:
    """What the user gave as an array.

    Raises:
        DataError: It does not convert to an array, or is a masked or sparse array.
    """
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise DataError(
            expected="values for every cell",
            got="a masked array",
            cure="fill it first: array.filled(...)",
        )
    if hasattr(source, "toarray") and not isinstance(source, np.ndarray):
        raise DataError(
            expected="a dense array or a sparse matrix of scipy", got=f"one of {type(source).__module__}",
            cure="convert it, or call .toarray() on it",
        )  # fmt: skip
    try:
        array = np.asarray(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            expected="an array, a data frame or a path",
            got=f"a {type(source).__name__} that does not convert to one ({str(error).split('. ')[0]})",
            cure="use rows of the same length, or numpy.asarray(...) of your data",
        ) from None
    if array.ndim == 0 and array.dtype.hasobject:
        raise DataError(
            expected="an array, a data frame or a path", got=f"a {type(source).__name__}", cure=f"use {READABLE}"
        )
    return array
