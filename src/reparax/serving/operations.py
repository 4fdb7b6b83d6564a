"""What a service computes: requests are read by the schema of the model, and results are written as they were asked."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import msgspec
import numpy as np

from reparax import applications
from reparax.data import Dataset, joint_values, to_frame
from reparax.errors import DataError, RecipeError
from reparax.extras import extras
from reparax.networks import context_size
from reparax.recipe import FittedModel
from reparax.serving.limits import Limits

ARROW = "application/vnd.apache.arrow.stream"
AT_ONCE = 16
"""Rows that scores and imputations compute at once, so that the answer on one row does not wait for many."""
LARGEST = 10**300
"""Whole numbers of JSON have any size; larger ones are no numbers elsewhere."""
Cell = bool | int | float | str | None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request.

    Attributes:
        rows: Rows of a table: column names and cells; null for a missing cell.
        values: Examples as nested lists of numbers, for images and arrays.
        codes: Latent vectors, for decode.
        samples: The number of importance samples of each row, for score and impute.
        seed: The seed of everything random.
        count: How many examples to draw, for sample.
        where: Values of columns in every drawn example.
        means: Whether to draw E[x | z] instead of samples.
        std: Whether to give posterior standard deviations too, for encode.
        impossible: Whether rows that no values agree with are refused, or keep their gaps, for impute.
    """

    rows: list[dict[str, Cell]] | None = None
    values: list[Any] | None = None
    codes: list[list[float]] | None = None
    samples: int | None = None
    seed: int = 0
    count: int = 1
    where: dict[str, Cell] = {}
    means: bool = False
    std: bool = False
    impossible: Literal["refuse", "leave"] = "refuse"


class Work(NamedTuple):
    """A request that is ready to be computed.

    Attributes:
        operation: The name of the operation.
        request: Its options, without data.
        data: The data of the model; codes for decode, None for sample.
    """

    operation: str
    request: Request
    data: Any

    @property
    def rows(self) -> int:
        """How many rows are computed."""
        return self.request.count if self.data is None else len(self.data)

    @property
    def key(self) -> Any:
        """What requests that are computed together have in common; None if this one is computed alone."""
        if self.operation not in TOGETHER or (isinstance(self.data, Dataset) and self.data.context is not None):
            return None
        dtype = self.data.values.dtype.name if isinstance(self.data, Dataset) else ""
        return self.operation, self.request.samples, self.request.seed, self.request.std, dtype


TOGETHER = frozenset({"encode", "score", "reconstruct", "decode"})
OPERATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "encode": ("The posterior means of z, and with std the standard deviations.", ("rows", "values", "std")),
    "decode": ("E[x | z] at latent vectors.", ("codes",)),
    "score": ("A bound on log p(x) and the anomaly score, for tables with the share of each column.",
              ("rows", "values", "samples", "seed")),
    "impute": ("A table with its missing cells filled.", ("rows", "samples", "seed", "impossible")),
    "reconstruct": ("E[x | z] at the codes of examples.", ("rows", "values")),
    "sample": ("Drawn examples.", ("count", "seed", "where", "means")),
}  # fmt: skip
"""The operations: what each gives, and the fields of a request that it takes."""
SAMPLES_OF = {"score": 100, "impute": 400}


def work_of(
    fitted: FittedModel, limits: Limits, operation: str, body: bytes, options: Mapping[str, str], *, is_arrow: bool
) -> Work:
    """A request, checked by the schema of the model.

    Raises:
        DataError: The body cannot be read, or the data do not match the model.
        RecipeError: An option is unknown or out of range.
    """
    request = _from_arrow(options) if is_arrow else _from_json(body)
    if options and not is_arrow:
        raise RecipeError(
            expected="options in the JSON object", got=f"{', '.join(options)} in the address",
            cure="write them beside rows or values",
        )  # fmt: skip
    allowed = OPERATIONS[operation][1]
    given = [name for name in request.__struct_fields__ if getattr(request, name) != getattr(Request(), name)]
    if idle := [name for name in given if name not in allowed]:
        raise RecipeError(
            expected=f"the fields of {operation}: {', '.join(allowed)}", got=", ".join(idle), cure="leave these out"
        )
    request = _checked(request, limits, operation)
    if operation == "sample":
        return Work(operation, request, None)
    if operation == "decode":
        return Work(operation, msgspec.structs.replace(request, codes=None), _codes(fitted, request, limits))
    source = _arrow_frame(body) if is_arrow else _source(fitted, request)
    if len(source) > limits.rows:
        raise TooMany(len(source), limits.rows)
    data = applications.dataset_of(fitted, source)
    return Work(operation, msgspec.structs.replace(request, rows=None, values=None), data)


class TooMany(Exception):
    """A request with more rows than are allowed."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"expected at most {most:,} rows in a request; got {count:,}; send them in several requests")


def _from_json(body: bytes) -> Request:
    try:
        return msgspec.json.decode(body or b"{}", type=Request)
    except (msgspec.DecodeError, RecursionError) as error:  # also for what is not valid by the types
        raise DataError(
            expected="a JSON object with the fields of the operation", got=str(error), cure="see /openapi.json"
        ) from None


def _from_arrow(options: Mapping[str, str]) -> Request:
    try:
        return msgspec.convert(dict(options), Request, strict=False)
    except msgspec.ValidationError as error:
        raise DataError(expected="options of the operation", got=str(error), cure="see /openapi.json") from None


def _checked(request: Request, limits: Limits, operation: str) -> Request:
    """The request with the number of samples that it does not name."""
    samples = SAMPLES_OF.get(operation, 1) if request.samples is None else request.samples
    if not 1 <= samples <= limits.samples:
        raise RecipeError(
            expected=f"from 1 to {limits.samples} samples", got=f"{samples}", cure="ask for a number in this range"
        )
    if request.count > limits.rows:
        raise TooMany(request.count, limits.rows)
    if request.count < 1:
        raise RecipeError(expected="a count from 1 up", got=f"{request.count}", cure="ask for at least one")
    if not 0 <= request.seed < 2**63:
        raise RecipeError(expected="a seed from 0 up", got=f"{request.seed}", cure="choose another one")
    return msgspec.structs.replace(request, samples=samples)


def _codes(fitted: FittedModel, request: Request, limits: Limits) -> np.ndarray:
    size = math.prod(fitted.model.posterior.latent_shape)
    codes = request.codes or []
    if len(codes) > limits.rows:
        raise TooMany(len(codes), limits.rows)
    if not codes or any(len(row) != size for row in codes):
        got = f"{len(codes)} rows" + (
            f", one of {next(len(row) for row in codes if len(row) != size)}" if codes else ""
        )
        raise DataError(
            expected=f"codes: rows of {size} latent numbers", got=got, cure="pass codes as encode gives them"
        )
    return applications.finite_codes(codes)  # here, as an error while they are computed would be that of all in a batch


def _source(fitted: FittedModel, request: Request) -> Any:
    """The user's data in a form that `reparax.data.read` reads."""
    is_named = fitted.schema.columns is not None and (
        fitted.schema.names is not None or fitted.schema.value_kind == "mixed"
    )
    if request.rows is not None and request.values is None and fitted.schema.kind == "table":
        if not request.rows:
            raise DataError(expected="at least one row", got="none", cure="send some")
        return _frame(request.rows)
    if request.values is not None and request.rows is None and not is_named:
        if not request.values:
            raise DataError(expected="at least one example", got="none", cure="send some")
        return _array(request.values)
    wanted = "rows: a list of objects with the columns of the table" if is_named else "values: nested lists of numbers"
    raise DataError(expected=wanted, got="another form, or both or neither", cure="see /schema and /openapi.json")


def _frame(rows: list[dict[str, Cell]]) -> Any:
    with extras():
        import polars as pl
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    for name, cells in columns.items():
        if any(isinstance(cell, int) and abs(cell) > LARGEST for cell in cells):
            raise DataError(
                expected=f"numbers of size up to 1e300 in column {name!r}", got="a larger one", cure="rescale them"
            )
    return pl.DataFrame([_series(name, cells) for name, cells in columns.items()])


def _series(name: str, cells: list[Cell]) -> Any:
    """A column; numbers beside text become text, so that the schema says what is wrong with it."""
    import polars as pl

    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float} and int in kinds and float in kinds:
        return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)
    if len(kinds) > 1:
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)
    try:
        return pl.Series(name, cells)
    except (OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)


def _array(values: list[Any]) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray("")
    if array.dtype.kind not in "bif":
        raise DataError(expected="values: nested lists of numbers, all of one shape", got="others", cure="see /schema")
    return array


def _arrow_frame(body: bytes) -> Any:
    with extras():
        import polars as pl
    try:
        return pl.read_ipc_stream(io.BytesIO(body))
    except Exception as error:  # the reader has errors of many kinds
        raise DataError(
            expected="a table as an Arrow stream", got=" ".join(str(error).split())[:200], cure="write it again"
        ) from None


def compute(fitted: FittedModel, jobs: Sequence[Work]) -> list[Any]:
    """The results of requests of one key, each as columns by name; a row's numbers do not depend on the other rows."""
    first = jobs[0]
    if len(jobs) == 1:
        return [_COMPUTE[first.operation](fitted, first)]
    ends = np.cumsum([job.rows for job in jobs])[:-1]
    if isinstance(first.data, Dataset):
        together = Dataset(np.concatenate([job.data.values for job in jobs]), first.data.schema)
    else:
        together = np.concatenate([job.data for job in jobs])
    whole = _COMPUTE[first.operation](fitted, first._replace(data=together))
    pieces = {name: np.split(column, ends) for name, column in whole.items()}
    return [{name: column[place] for name, column in pieces.items()} for place in range(len(jobs))]


def _encode(fitted: FittedModel, work: Work) -> dict[str, np.ndarray]:
    result = {"z": applications.encode(fitted, work.data)}
    return result | ({"z_std": applications.encode_std(fitted, work.data)} if work.request.std else {})


def _decode(fitted: FittedModel, work: Work) -> dict[str, np.ndarray]:
    return {"values": applications.decode(fitted, work.data)}


def _reconstruct(fitted: FittedModel, work: Work) -> dict[str, np.ndarray]:
    return {"values": applications.reconstruct(fitted, work.data)}


def _score(fitted: FittedModel, work: Work) -> dict[str, np.ndarray]:
    request = work.request
    assert request.samples is not None
    scores = applications.score(fitted, work.data, num_samples=request.samples, seed=request.seed, at_once=AT_ONCE)
    found = {"log_density": scores.log_density, "anomaly_score": scores.anomaly_score, "shares": scores.shares}
    return {name: column for name, column in found.items() if column is not None}


def _impute(fitted: FittedModel, work: Work) -> dict[str, Any]:
    assert work.request.samples is not None
    left: list[applications.RowsLeft] = []
    filled = applications.impute(
        fitted, work.data, num_samples=work.request.samples, seed=work.request.seed, duplicates="ignore",
        neighbors="ignore", impossible="refuse" if work.request.impossible == "refuse" else left.append,
        at_once=AT_ONCE,
    )  # fmt: skip
    notes = {"notes": [str(each.warning) for each in left]}
    return notes | ({"frame": filled} if hasattr(filled, "columns") else {"values": np.asarray(filled)})


def _sample(fitted: FittedModel, work: Work) -> dict[str, Any]:
    request = work.request
    draw = applications.means_dataset if request.means else applications.sample_dataset
    drawn = draw(fitted, request.count, key=jax.random.key(request.seed), where=request.where)
    if drawn.schema.kind == "table":
        frame = to_frame(joint_values(drawn), drawn.schema.joint, like="polars")
        return {"frame": frame, "notes": list(drawn.notes)}
    return {"values": drawn.values, "notes": list(drawn.notes)}


_COMPUTE: Mapping[str, Callable[[FittedModel, Work], dict[str, Any]]] = {
    "encode": _encode, "decode": _decode, "score": _score, "impute": _impute, "reconstruct": _reconstruct,
    "sample": _sample,
}  # fmt: skip


def written(fitted: FittedModel, result: Mapping[str, Any], notes: Sequence[str], *, as_arrow: bool) -> bytes:
    """The body of an answer: JSON, or an Arrow stream with the columns of the command line's tables."""
    result = dict(result)
    notes = [*notes, *result.pop("notes", ())]
    if "values" in result and fitted.schema.kind == "table":
        modeled = msgspec.structs.replace(fitted.schema, given=None, order=())
        result = {"frame": to_frame(result["values"], modeled, like="polars")}
    if as_arrow:
        return _as_arrow(fitted, result)
    answer: dict[str, Any] = {}
    if "frame" in result:
        answer["rows"] = result.pop("frame").to_dicts()
    answer |= {name: _plain(column) for name, column in result.items()}
    if "shares" in answer:
        answer["columns"] = [column.name for column in fitted.schema.columns or ()]
    if notes:
        answer["notes"] = notes
    return msgspec.json.encode(answer)


def _plain(array: np.ndarray) -> list[Any]:
    """Nested lists; msgspec writes NaN and infinities as null."""
    return np.asarray(array).tolist()


def _as_arrow(fitted: FittedModel, result: Mapping[str, Any]) -> bytes:
    import polars as pl

    if "frame" in result:
        frame = result["frame"]
    else:
        columns: dict[str, np.ndarray] = {}
        names = [column.name for column in fitted.schema.columns or ()]
        for name, array in result.items():
            if array.ndim == 1:
                columns[name] = array
            elif name == "shares":
                columns |= {f"share_{each}": part for each, part in zip(names, array.T, strict=True)}
            else:
                flat = array.reshape(len(array), -1)
                stem, tail = ("z", name.removeprefix("z")) if name in {"z", "z_std"} else ("value", "")
                columns |= {f"{stem}{index}{tail}": part for index, part in enumerate(flat.T)}
        frame = pl.DataFrame(columns)
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer)
    return buffer.getvalue()


def examples_of(fitted: FittedModel) -> list[Work]:
    """A request for each operation, to compile its programs; where data need what is given too, only for some."""
    codes = np.zeros((1, math.prod(fitted.model.posterior.latent_shape)), np.float32)
    works = [Work("sample", Request(), None)]
    if context_size(fitted.model):
        return works
    values = applications.decode(fitted.members[0], codes).astype(fitted.schema.dtype)
    single = () if fitted.others else ("encode",)  # the codes of several models have no common meaning
    works += [] if fitted.others else [Work("decode", Request(), codes)]
    gappy = np.full(values.shape, np.nan, np.float32)
    for name in (*single, "score", "reconstruct", "impute"):
        data = Dataset(gappy if name == "impute" else values, fitted.schema)
        works.append(Work(name, Request(samples=SAMPLES_OF.get(name, 1)), data))
    return works
