"""Dates and times: days since 1970, from text of one format or from a data frame's own types."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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
        format: How they are written.
        step: The largest unit that all are whole multiples of, in days; 0 where it is below a second.
        notes: Sentences on what was noticed.
    """

    days: np.ndarray
    format: str
    step: float
    notes: tuple[str, ...] = ()


def dates_of(texts: "pl.Series", preferred: str | None = None) -> Dates | None:
    """The dates in a column of text, where all of it is of one format; None where not.

    Args:
        texts: Distinct texts without blanks around, none missing.
        preferred: The format to try first.
    """
    if not len(texts) or not _LIKE_A_DATE.match(texts[0]):
        return None
    tried = [preferred] if preferred else []
    formats = [form for form in (*tried, *_formats()) if _parsed(texts.head(20), form) is not None]
    whole = [(form, found) for form in formats if (found := _parsed(texts, form)) is not None]
    if not whole:
        return None
    form, found = whole[0]
    others = {other for other, _ in whole}
    notes: tuple[str, ...] = ()
    swapped = next((SWAPPED[date] + form.removeprefix(date) for date in SWAPPED if form.startswith(date)), None)
    if swapped in others and form != preferred:
        notes = ("dates were read as month before day; they could be day before month as well",)
    micros = found.dt.timestamp("us").to_numpy()
    return Dates(micros / MICROSECONDS, _exact_format(texts, found, form), step_of_micros(micros), notes)


def any_date(text: str) -> bool:
    """Whether a text is a date of any format."""
    import polars as pl

    return dates_of(pl.Series([text])) is not None


def _formats() -> list[str]:
    timed = [date + between + time for time in TIMES for date in DATES for between in (" ", "T")]
    return [*DATES, *timed]


def _parsed(texts: "pl.Series", form: str) -> "pl.Series | None":
    import polars as pl

    try:
        found = _datetimes(texts, form)
    except pl.exceptions.PolarsError:
        return None
    if found.null_count() or not found.dt.year().is_between(FIRST_YEAR, LAST_YEAR).all():
        return None
    return found


def _datetimes(texts: "pl.Series", form: str) -> "pl.Series":
    """The times of texts of one format, null for those that are not."""
    import polars as pl

    form = form.replace("%-", "%")
    if "%H" in form:
        return texts.str.to_datetime(form, strict=False, time_unit="us")
    return texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))


def _exact_format(texts: "pl.Series", found: "pl.Series", form: str) -> str:
    """The format with or without leading zeros, whichever gives the texts back."""
    bare = form.replace("%m", "%-m").replace("%d", "%-d")
    for candidate in (form, bare):
        if (found.dt.strftime(candidate) == texts).all():
            return candidate
    return form


def step_of_micros(micros: np.ndarray) -> float:
    """The largest of day, hour, minute and second that all times are whole multiples of, in days; 0 for none."""
    return next((unit / MICROSECONDS for unit in UNITS if not (micros % unit).any()), 0.0)


def days_of(texts: Sequence[str], form: str) -> np.ndarray:
    """The days of texts of one format; NaN for those that are not."""
    import polars as pl

    found = _datetimes(pl.Series(texts, dtype=pl.String), form if "%" in form else "%Y-%m-%d")
    return found.dt.timestamp("us").cast(pl.Float64).fill_null(float("nan")).to_numpy() / MICROSECONDS


def datetime_cells_days(series: "pl.Series") -> tuple[np.ndarray, float]:
    """The days of a data frame's dates or times, NaN where missing, and their step."""
    import polars as pl

    micros = series.cast(pl.Datetime("us")).dt.timestamp("us")
    present = micros.drop_nulls().to_numpy()
    return micros.cast(pl.Float64).fill_null(float("nan")).to_numpy() / MICROSECONDS, step_of_micros(present)


def texts_of(times: "pl.Series", form: str) -> "pl.Series":
    """Times as text of a format."""
    zoned = times.dt.replace_time_zone("UTC") if "%z" in form else times
    return zoned.dt.strftime(form)
