"""Zones of times: which a column has, and times without one, which are read in that of the column."""

import numpy as np
from jaxtyping import Float

from reparax.errors import DataError
from reparax.summary import Column

OFFSETS = "offsets"
"""In place of a zone: text in which each time has its offset from UTC."""
UTC = frozenset({None, "UTC", "Etc/UTC"})
"""Zones in which times without a zone are what they are."""
MICROSECONDS = 86_400_000_000


def zone_of(dtype: str) -> str | None:
    """The zone of times with a data type, as in `Column.dtype`; None if they have none."""
    if dtype.startswith("datetime["):
        return dtype.removeprefix("datetime[").removesuffix("]").partition(", ")[2] or None
    if not dtype.startswith("string:"):
        return None
    return OFFSETS if dtype.endswith(("%z", "%:z")) else "UTC" if dtype.endswith(("%SZ", "fZ")) else None


def as_in_fit(days: Float[np.ndarray, " n"], dtype: str, column: Column) -> Float[np.ndarray, " n"]:
    """Days in UTC, from days of which those without a zone are in that of the column.

    Args:
        days: The days; in UTC if the times have a zone, else as the clock shows them.
        dtype: The data type of the times.
        column: The column of the fit that they belong to.

    Raises:
        DataError: The times have a zone and those of the fit have none, or the other way round if these have their
            offsets; or the clock of the zone shows a time never or twice.
    """
    came, wanted = zone_of(dtype), zone_of(column.dtype)
    if came is not None:
        if wanted is None and came not in UTC:
            raise DataError(
                expected=f"times without a zone in column {column.name!r}, as in training",
                got="times with offsets from UTC" if came == OFFSETS else f"times in the zone {came}",
                cure="write them without (pandas: .dt.tz_localize(None), polars: .dt.replace_time_zone(None)), or fit "
                "on times with a zone",
            )
        return days
    if wanted == OFFSETS:
        raise DataError(
            expected=f"times with their offset from UTC in column {column.name!r}, as in training",
            got="times without",
            cure="write them like 2024-01-31 12:00:00+00:00",
        )
    return days if wanted is None or wanted in UTC else _in_utc(days, wanted, column)


def _in_utc(days: Float[np.ndarray, " n"], zone: str, column: Column) -> Float[np.ndarray, " n"]:
    """Days in UTC of the times that the clocks of a zone show."""
    import polars as pl

    missing = np.isnan(days)
    clock = pl.Series(np.rint(np.where(missing, 0, days) * MICROSECONDS).astype(np.int64)).cast(pl.Datetime("us"))
    times = clock.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    lost = times.is_null().to_numpy() & ~missing
    if lost.any():
        row = int(np.argmax(lost))
        raise DataError(
            expected=f"times that the clocks of {zone} show once, in column {column.name!r}",
            got=f"{clock[row]}{f' in row {row + 1}' if len(days) > 1 else ''}, when these are set forward or back",
            cure="write times with their offset from UTC, such as 2024-01-31 12:00:00+01:00",
        )
    return np.where(missing, np.nan, times.dt.timestamp("us").fill_null(0).to_numpy() / MICROSECONDS)


def as_clocks_show(days: Float[np.ndarray, " n"], zone: str) -> Float[np.ndarray, " n"]:
    """The days that the clocks of a zone show, of days in UTC."""
    import polars as pl

    missing = np.isnan(days)
    micros = np.rint(np.where(missing, 0, days) * MICROSECONDS).astype(np.int64)
    times = pl.Series(micros).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    shown = times.dt.replace_time_zone(None).dt.timestamp("us").to_numpy() / MICROSECONDS
    return np.where(missing, np.nan, shown)
