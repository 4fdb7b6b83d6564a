"""Columns of text: numbers, booleans, dates, words and missing cells, with hints on text that may be misread."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reparax.data.values import Cells
from reparax.errors import DataError

if TYPE_CHECKING:
    import polars as pl


DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y",
    "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%y",
)  # fmt: skip
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%H:%M:%SZ", "%H:%M:%S%.fZ", "%H:%M%z", "%H:%M:%S%z", "%H:%M:%S%.f%z")
SWAPPED = {"%m/%d/%Y": "%d/%m/%Y", "%m-%d-%Y": "%d-%m-%Y", "%m/%d/%y": "%d/%m/%y"}
MICROSECONDS = 86_400_000_000
UNITS = (MICROSECONDS, 3_600_000_000, 60_000_000, 1_000_000)
FIRST_YEAR, LAST_YEAR = 1000, 9999
_LIKE_A_DATE = re.compile(r"\d{1,4}[-/. ]\w{1,9}[-/. ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}")


class Dates(NamedTuple):
    """Dates of one format.

    Attributes:
        days: Days since 1970-01-01, with fractions.
        format: Their format.
        step: The largest unit of which all are multiples, in days; 0 if it is below a second.
        notes: Notes on reading them.
    """

    days: np.ndarray
    format: str
    step: float
    notes: tuple[str, ...] = ()


def dates_of(texts: "pl.Series", preferred: str | None = None) -> Dates | None:
    """The dates in a column of text; None unless all of it has one format.

    Args:
        texts: Distinct texts without surrounding spaces, none missing.
        preferred: The format to try first.
    """
    if not len(texts) or not _LIKE_A_DATE.match(texts[0]):
        return None
    tried = [preferred] if preferred else []
    formats = [form for form in (*tried, *_formats()) if _parsed(texts.head(20), form) is not None]
    matching = [(form, times) for form in formats if (times := _parsed(texts, form)) is not None]
    if not matching:
        return None
    form, times = matching[0]
    others = {other for other, _ in matching}
    notes: tuple[str, ...] = ()
    swapped = next((SWAPPED[date] + form.removeprefix(date) for date in SWAPPED if form.startswith(date)), None)
    if swapped in others and form != preferred:
        notes = ("dates were read as month before day, but could also be day before month",)
    micros = times.dt.timestamp("us").to_numpy()
    return Dates(micros / MICROSECONDS, _exact_format(texts, times, form), step_of_micros(micros), notes)


def any_date(text: str) -> bool:
    """Whether a text is a date in any format."""
    import polars as pl

    return dates_of(pl.Series([text])) is not None


def _formats() -> list[str]:
    timed = [date + between + time for time in TIMES for date in DATES for between in (" ", "T")]
    return [*DATES, *timed]


def _parsed(texts: "pl.Series", form: str) -> "pl.Series | None":
    import polars as pl

    try:
        times = _datetimes(texts, form)
    except pl.exceptions.PolarsError:
        return None
    if times.null_count() or not times.dt.year().is_between(FIRST_YEAR, LAST_YEAR).all():
        return None
    return times


def _datetimes(texts: "pl.Series", form: str) -> "pl.Series":
    """The times of texts in one format, null for texts in others."""
    import polars as pl

    form = form.replace("%-", "%")
    if "%H" in form:
        return texts.str.to_datetime(form, strict=False, time_unit="us")
    return texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))


def _exact_format(texts: "pl.Series", times: "pl.Series", form: str) -> str:
    """The format with or without leading zeros, whichever reproduces the texts."""
    padded = form.replace("%-", "%")
    bare = padded.replace("%m", "%-m").replace("%d", "%-d")
    for candidate in (form, padded, bare):
        if (times.dt.strftime(candidate) == texts).all():
            return candidate
    return _with_zeros(form, texts)


def _with_zeros(form: str, texts: "pl.Series") -> str:
    """The format with as many digits of fractions of a second, and such offsets from UTC, as all texts have."""
    digits = texts.str.extract(r"\.(\d+)(?:Z|[+-][\d:]+)?$").str.len_chars()
    if "%.f" in form and not digits.null_count() and digits.n_unique() == 1 and digits[0] in {3, 6, 9}:
        form = form.replace("%.f", f"%.{digits[0]}f")
    if form.endswith("%z") and texts.str.contains(r"[+-]\d\d:\d\d$").all():
        form = form.removesuffix("%z") + "%:z"
    return form


def step_of_micros(micros: np.ndarray) -> float:
    """The largest of day, hour, minute and second of which all times are multiples, in days; 0 if there is none."""
    return next((unit / MICROSECONDS for unit in UNITS if not (micros % unit).any()), 0.0)


def days_of(texts: Sequence[str], form: str) -> np.ndarray:
    """The days of texts in one format; NaN for texts in others."""
    import polars as pl

    times = _datetimes(pl.Series(texts, dtype=pl.String), form if "%" in form else "%Y-%m-%d")
    return times.dt.timestamp("us").cast(pl.Float64).fill_null(float("nan")).to_numpy() / MICROSECONDS


def datetime_cells_days(series: "pl.Series") -> tuple[np.ndarray, float]:
    """The days of a column of dates or times, NaN for missing cells, and their step."""
    import polars as pl

    micros = series.cast(pl.Datetime("us")).dt.timestamp("us")
    present = micros.drop_nulls().to_numpy()
    return micros.cast(pl.Float64).fill_null(float("nan")).to_numpy() / MICROSECONDS, step_of_micros(present)


def texts_of(times: "pl.Series", form: str) -> "pl.Series":
    """Times as text in a format."""
    zoned = times.dt.replace_time_zone("UTC") if form.endswith(("%z", "%:z")) else times
    return zoned.dt.strftime(form)


MISSING_NUMBERS = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "?"})
"""Texts, in lower case, that stand for a missing cell among numbers."""

MISSING_TEXT = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "?"})
"""Texts that stand for a missing cell among words."""

LEADING_ZERO = r"^[+-]?0\d"
EXAMINED = 1000
MOST = 0.9
FEWEST_NUMBERS = 10
MOST_TYPOS = 0.01
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SPACES = " \u00a0\u202f"
_GROUPED = re.compile(
    rf"[+-]?(?!0\d)\d{{1,3}}((,\d{{3}})+(\.\d+)?|(\.\d{{3}})+(,\d+)?|([{_SPACES}'’]\d{{3}})+([.,]\d+)?)"
)
_COMMA = re.compile(r"[+-]?(?!0\d)\d+,\d+")
_AMOUNT = rf"(\d[\d.,'’{_SPACES}]*|\.\d+)"
_SIGNS = "$€£¥%"
_SIGNED = re.compile(rf"[+-]?\s*[$€£¥]\s*[+-]?{_AMOUNT}|[+-]?{_AMOUNT}\s*[{_SIGNS}]")


class Distinct(NamedTuple):
    """The distinct texts of a column, most frequent first, and the index of each row's text (-1 if missing)."""

    texts: "pl.Series"
    codes: np.ndarray
    counts: np.ndarray


def distinct(series: "pl.Series") -> Distinct:
    """The distinct texts of a column; equally frequent ones in alphabetical order."""
    import polars as pl

    counted = series.rename("text").drop_nulls().value_counts(name="count")
    table = counted.sort(["count", "text"], descending=[True, False])
    texts = table["text"]
    codes = series.cast(pl.Enum(texts), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return Distinct(texts, codes.to_numpy(), table["count"].to_numpy())


def text_cells(series: "pl.Series", date_format: str | None = None) -> Cells:
    """The cells of a column of text, as numbers, booleans or dates if all of it is.

    Numbers that begin with a zero (zip codes) remain text.

    Args:
        series: The text.
        date_format: The format of dates in the fit, which is tried first.
    """
    return cells_of_texts(distinct(series), date_format)


def word_cells(series: "pl.Series") -> Cells:
    """The cells of a column of text that is known to be words."""
    unique = distinct(series)
    stripped = unique.texts.str.strip_chars()
    return _words(unique, stripped, stripped.is_in(sorted(MISSING_TEXT)).to_numpy())


def cells_of_texts(unique: Distinct, date_format: str | None = None) -> Cells:
    """The same from the distinct texts of the column.

    Args:
        unique: The distinct texts; one cell is made for each of their codes.
        date_format: As of `text_cells`.
    """
    stripped = unique.texts.str.strip_chars()
    lower = stripped.str.to_lowercase()
    missing = lower.is_in(sorted(MISSING_NUMBERS)).to_numpy()
    numbers = _numbers(stripped, missing)
    if numbers is not None:
        return Cells("number", _spread(numbers, unique.codes), _number_format(stripped.filter(~missing)))
    missing = stripped.is_in(sorted(MISSING_TEXT)).to_numpy()
    words = lower.filter(~missing)
    if words.is_in(["true", "false"]).all():
        truth = (lower == "true").cast(int).cast(float).to_numpy().copy()
        truth[missing] = np.nan
        return Cells("boolean", _spread(truth, unique.codes), "string", spelled_like(stripped.filter(~missing)[0]))
    dates = dates_of(stripped.filter(~missing), date_format)
    if dates is not None:
        days = np.full(len(stripped), np.nan)
        days[~missing] = dates.days
        return Cells(
            "datetime", _spread(days, unique.codes), f"string:{dates.format}", step=dates.step, notes=dates.notes
        )
    return _words(unique, stripped, missing)


def spelled_like(word: str) -> tuple[str, str]:
    """False and true in the capitalization of one of them."""
    if word.isupper():
        return "FALSE", "TRUE"
    return ("False", "True") if word[0].isupper() else ("false", "true")


def _numbers(stripped: "pl.Series", missing: np.ndarray) -> np.ndarray | None:
    import polars as pl

    numbers = stripped.cast(pl.Float64, strict=False)
    values = numbers.fill_null(float("nan")).to_numpy().copy()
    values[missing] = np.nan
    if (numbers.is_null().to_numpy() & ~missing).any() or stripped.str.contains(LEADING_ZERO).any():
        return None
    return values


def _number_format(texts: "pl.Series") -> str:
    """The data type of texts that are numbers: with their decimals, if all have the same number of these."""
    decimals = texts.str.extract(r"^[+-]?\d*\.(\d+)$").str.len_chars()
    if not len(texts) or decimals.null_count() or decimals.n_unique() > 1:
        return "string"
    return f"string:.{decimals[0]}f"


def _spread(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The value of each row, from the values of the distinct texts."""
    return np.append(values, np.nan)[codes]


def _words(unique: Distinct, stripped: "pl.Series", missing: np.ndarray) -> Cells:
    """Categories, spelled as in the data; without surrounding spaces, if some differ only in these."""
    import polars as pl

    texts, codes = unique.texts, unique.codes
    if stripped.n_unique() < len(texts):
        merged = stripped.to_frame("text").with_columns(count=pl.Series(unique.counts))
        table = merged.group_by("text").agg(pl.col("count").sum()).sort(["count", "text"], descending=[True, False])
        place = stripped.cast(pl.Enum(table["text"])).to_physical().to_numpy().astype(np.int64)
        codes = np.append(place, -1)[codes]
        texts, stripped = table["text"], table["text"]
        missing = stripped.is_in(sorted(MISSING_TEXT)).to_numpy()
    rank = np.where(missing, np.nan, np.cumsum(~missing) - 1.0)
    kept = tuple(texts.filter(~missing).to_list())
    tokens = [token for token in stripped.filter(missing).to_list() if token]
    notes = (f"cells of {', '.join(map(repr, tokens))} are missing",) if tokens else ()
    return Cells("category", _spread(rank, codes), "string", kept, is_text=True, notes=notes)


def refuse_misread(name: str, cells: Cells) -> None:
    """Refuses columns of text that were meant as numbers.

    Raises:
        DataError: A few cells are not numbers, or numbers have thousands separators, decimal commas or signs.
    """
    _refuse_typos(name, cells)
    _refuse_marks(name, cells)


def _refuse_marks(name: str, cells: Cells) -> None:
    """Refuses columns of numbers with thousands separators, decimal commas, or percent or currency signs.

    All texts are numbers, of which some have such marks; or most are numbers with marks, beside a few words. Numbers
    with signs of which there are few may well be categories.

    Raises:
        DataError: The column is such.
    """
    texts = _examined(cells)
    grouped = {code for code, text in enumerate(texts) if _GROUPED.fullmatch(text) or _COMMA.fullmatch(text)}
    signed = {code for code, text in enumerate(texts) if _SIGNED.fullmatch(text)}
    marked = grouped | signed if len(signed) >= FEWEST_NUMBERS else grouped
    plain = sum(bool(_PLAIN.fullmatch(text)) for text in texts)
    if not marked or _are_codes([texts[code] for code in marked]):
        return
    if len(marked) + plain < len(texts) and len(marked) < max(FEWEST_NUMBERS, MOST * len(texts)):
        return
    row = int(np.argmax(np.isin(cells.values, sorted(marked))))
    text = texts[int(cells.values[row])]
    signs = any(sign in text for sign in _SIGNS)
    marks = "a percent or currency sign" if signs else "thousands separators or a decimal comma"
    raise DataError(
        expected=f"numbers in column {name!r}, such as 1234.5",
        got=f"{text!r} in row {row + 1}, with {marks}",
        cure="write them without (tables with decimal commas need ; between cells), leave the column out "
        f"(--exclude {name}, exclude=[{name!r}]), or state that it is categorical",
    )


def _are_codes(texts: list[str]) -> bool:
    """Whether digits in groups are codes, such as telephone numbers: all of one length, with spaces alone."""
    groups = all(re.fullmatch(rf"\d+([{_SPACES}]\d+)+", text) for text in texts)
    return groups and len(texts) >= FEWEST_NUMBERS and len({len(text) for text in texts}) == 1


def _refuse_typos(name: str, cells: Cells) -> None:
    """Refuses columns of numbers in which a few cells are not numbers.

    Raises:
        DataError: The column is such; the message names the first such cell.
    """
    texts = _examined(cells)
    wrong = [code for code, text in enumerate(texts) if not _PLAIN.fullmatch(text)]
    if not wrong or len(texts) - len(wrong) < max(FEWEST_NUMBERS, MOST * len(texts)):
        return
    rows = np.flatnonzero(np.isin(cells.values, wrong))
    if len(rows) > max(1, MOST_TYPOS * len(cells.values)):
        return
    raise DataError(
        expected=f"numbers in column {name!r}, as in most of its rows",
        got=f"{texts[int(cells.values[rows[0]])]!r} in row {rows[0] + 1}"
        + (f", and {len(rows) - 1} more such cells" if len(rows) > 1 else ""),
        cure="correct these cells or leave them empty; or state that the column is categorical",
    )


def hint_on(cells: Cells) -> str | None:
    """A hint on text that was probably meant as numbers or dates."""
    texts = _examined(cells)
    if not texts:
        return None
    if sum(bool(_SIGNED.fullmatch(text)) for text in texts) >= MOST * len(texts):
        return f"text such as {texts[0]!r}; without the sign it would be a number"
    plain = [bool(_PLAIN.fullmatch(text)) for text in texts]
    if all(plain):
        return "text, as its numbers begin with zeros, as codes do"
    if sum(plain) >= max(FEWEST_NUMBERS, MOST * len(texts)):
        other = next(text for text, number in zip(texts, plain, strict=True) if not number)
        return f"text, as it has {other!r} among numbers; leave such cells empty to get numbers"
    if len(texts) > 1 and all(any_date(text) for text in texts[:20]):
        other = next((text for text in texts if _shape(text) != _shape(texts[0])), texts[-1])
        return f"text, as its dates have several formats ({texts[0]}, {other}); write all of them like 2024-01-31"
    return None


def _shape(text: str) -> str:
    return re.sub(r"\d", "0", text)


def _examined(cells: Cells) -> list[str]:
    return [str(category).strip() for category in cells.categories[:EXAMINED]]
