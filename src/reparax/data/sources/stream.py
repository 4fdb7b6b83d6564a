"""Data larger than memory: the schema from one pass, a sample in memory, and all rows in blocks."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from reparax.data.arrays import Arrays
from reparax.data.counts import as_counts
from reparax.data.dataset import Dataset
from reparax.data.frames import Frame
from reparax.data.overrides import Overrides
from reparax.data.schema import Schema
from reparax.data.sources.describe import TableAccount
from reparax.data.sources.images import ArrayAccount
from reparax.data.sources.order import Group, Order
from reparax.data.sources.source import Raw, Source, joined, taken
from reparax.data.split import described, num_held_out
from reparax.errors import DataError

SAMPLE_ROWS = 1 << 17
SAMPLE_VALUES = 1 << 24
FEWEST_SAMPLED = 10_000
"""The size of the sample: rows, or fewer of many values, but at least so many."""
BUFFER_VALUES = 1 << 24
"""Values that are shuffled at once."""
MOST_HELD_OUT = 0.5
"""The largest fraction of the sample that can be held out."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows in files that are read in blocks, with their description.

    Counts, ranges, moments, steps, categories and missing cells are those of all rows, up to rounding. Of a column with
    more than 65,536 different numbers (fewer in tables of more than 64 columns), quantiles, spikes and the kind that
    follows from them are those of a uniform sample. The rank of a quantile of n sampled rows is off by more than e with
    a probability below 2 exp(-2 n e^2), Hoeffding (1963), theorem 2 and section 6: for 131,072 rows by at most 0.8 % of
    the rows with a probability of 1 - 2e-7.

    Attributes:
        source: The files.
        schema: The description of the rows; without those that are held out, once some are.
        account: What a pass over all rows counted; None where all rows are in the sample.
        rows: The numbers of the rows of a uniform sample, in order.
        raw: These rows.
        held_out: The numbers of the rows that are held out, which are among them.
        notes: Sentences for the user.
        context: As of a `Dataset`: nothing.
        conditions: As of a `Dataset`: nothing.
    """

    source: Source
    schema: Schema
    account: TableAccount | ArrayAccount | None
    rows: np.ndarray
    raw: Raw
    held_out: np.ndarray
    notes: tuple[str, ...] = ()
    context: None = None
    conditions: None = None

    def __len__(self) -> int:
        return self.source.num_examples - len(self.held_out)

    def __repr__(self) -> str:
        """The number of rows."""
        return f"Stream({len(self)} examples in blocks of files; {', '.join(self.notes)})"

    @property
    def is_sparse(self) -> bool:
        """Whether the values are a sparse matrix: never."""
        return False

    @property
    def buffer_bytes(self) -> int:
        """The memory of the rows that a reader shuffles at once, about, and of as many while they are put in order."""
        return 2 * BUFFER_VALUES * np.dtype(self.schema.dtype).itemsize

    @property
    def fingerprint(self) -> str:
        """What tells these data from others: their number, the files and a checksum of all cells."""
        if self.account is None:
            values = np.ascontiguousarray(self.matched(self.raw).values)
            checksum = hashlib.sha256(values.data).hexdigest()[:16]
        else:
            checksum = self.account.checksum
        return f"of {len(self)} examples, {self.source.fingerprint} {checksum}".strip()

    @cached_property
    def sample(self) -> Dataset:
        """A uniform sample of the rows, without those that are held out."""
        return self.matched(taken(self.raw, np.flatnonzero(~np.isin(self.rows, self.held_out))))

    def matched(self, raw: Raw) -> Dataset:
        """Rows of the files as the schema has them."""
        return self.source.loaded(raw).matched(self.schema)

    def pieces(self) -> Iterator[Dataset]:
        """All rows in the order of the files, held out or not, a few at a time."""
        for index in range(len(self.source.sizes)):
            for _, raw in self.source.pieces(index):
                yield self.matched(raw)

    def held_out_share(self, fraction: float) -> float:
        """The fraction of all rows that is held out if a fraction is wanted: less of very many rows."""
        return fraction if self.account is None else min(fraction, self._most_held_out / len(self))

    @property
    def _most_held_out(self) -> int:
        return int(MOST_HELD_OUT * len(self.rows))

    def split(self, fraction: float, seed: int) -> tuple["Stream", Dataset]:
        """The rows to fit to, and those that are held out, which are in memory and of the sample.

        Where all rows are in the sample these are the rows that `reparax.data.split` holds out.

        Args:
            fraction: The fraction of all rows to hold out; at most half of the sample.
            seed: The random seed.

        Raises:
            DataError: The fraction is outside (0, 1), or more than half of the sample.
        """
        total, known = self.source.num_examples, len(self.rows)
        count = num_held_out(total, fraction)
        if not 0 < fraction < 1 or (known < total and count > self._most_held_out):
            raise DataError(
                expected=f"to hold out at most {self._most_held_out:,} of {total:,} rows, which stay in memory",
                got=f"{count:,} with the fraction {fraction:g}",
                cure=f"--valid {self.held_out_share(1.0):.2g} (valid=) or less",
            )
        chosen = places_held_out(known, count, seed)
        rest = np.setdiff1d(np.arange(known), chosen)
        held_out = taken(self.raw, chosen)
        schema = self._without(held_out, taken(self.raw, rest))
        stream = replace(self, schema=schema, held_out=self.rows[chosen])
        return stream, stream.matched(held_out)

    def _without(self, held_out: Raw, rest: Raw) -> Schema:
        """The schema of the rows that are not held out."""
        if self.account is None:
            return described(self.matched(rest))
        loaded = self.source.loaded(held_out)
        account = _account_of(loaded, self.schema)
        account.add(loaded, 0)  # ty: ignore[invalid-argument-type]
        return self.account.without(account, self.source.loaded(rest), self.schema)  # ty: ignore[invalid-argument-type]

    def with_schema(self, schema: Schema) -> "Stream":
        """The same rows with another schema of the same columns."""
        return replace(self, schema=schema)


class Reader:
    """The rows of a stream that are not held out, in the order of an epoch; it keeps those of one group in memory.

    Args:
        stream: The stream.
        seed: The seed of the order.
        buffer: The values that are shuffled at once, about.
    """

    def __init__(self, stream: Stream, seed: tuple[int, ...], buffer: int = BUFFER_VALUES) -> None:
        source = stream.source.without(stream.schema)
        self._stream, self._kept = replace(stream, source=source), (-1, -1, np.zeros(0))
        blocks = np.searchsorted(source.starts, stream.held_out, side="right") - 1
        sizes = np.asarray(source.sizes) - np.bincount(blocks, minlength=len(source.sizes))
        self._order = Order(tuple(sizes.tolist()), seed, max(1, buffer // source.row_size))

    def read(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The values from one place of an epoch to another, as the schema has them."""
        parts = self._order.parts(epoch, start, stop)
        return np.concatenate([self._group(epoch, group)[first:last] for group, first, last in parts])

    def _group(self, epoch: int, group: Group) -> np.ndarray:
        if self._kept[:2] != (epoch, group.number):
            self._kept = (-1, -1, np.zeros(0))  # before the next is read
            self._kept = (epoch, group.number, self._read(group)[self._order.within(epoch, group)])
        return self._kept[2]

    def _read(self, group: Group) -> np.ndarray:
        """The rows of the blocks of a group, in their order."""
        stream = self._stream
        rows = np.empty((group.rows, *stream.schema.event_shape), stream.schema.dtype)
        first = 0
        for block in group.blocks:
            for before, raw in stream.source.pieces(block):
                places = np.arange(before, before + len(raw))
                values = stream.matched(raw).values[~np.isin(places, stream.held_out)]
                rows[first : first + len(values)] = values
                first += len(values)
        return rows


def sampled_rows(source: Source) -> np.ndarray:
    """The numbers of the rows of the sample, in order; the same for any files with as many rows and columns."""
    total = source.num_examples
    size = min(total, max(FEWEST_SAMPLED, min(SAMPLE_ROWS, SAMPLE_VALUES // source.row_size)))
    return np.arange(total) if size == total else np.sort(np.random.default_rng(0).choice(total, size, replace=False))


def places_held_out(known: int, count: int, seed: int) -> np.ndarray:
    """The places of the held-out rows among those of the sample, in order."""
    return np.sort(np.random.default_rng(seed).permutation(known)[:count])


def streamed(source: Source, overrides: Overrides) -> Stream:
    """The stream of files, described by one pass over them.

    Args:
        source: The files.
        overrides: What the user said of columns.

    Raises:
        DataError: There are no rows, or they cannot be modeled.
    """
    total = source.num_examples
    if not total:
        raise DataError(expected="at least one example", got="none", cure="check that this is the right file")
    rows = sampled_rows(source)
    if len(rows) == total:
        raw = joined([source.block(index) for index in range(len(source.sizes))])
        dataset = source.loaded(raw).dataset(overrides)
        dataset = dataset if overrides.kinds else as_counts(dataset)
        return Stream(source, dataset.schema, None, rows, raw, np.zeros(0, np.int64), dataset.notes)
    account, sampled = _passed(source, rows, overrides)
    raw = joined(sampled)
    sample = source.loaded(raw)
    if isinstance(account, TableAccount):
        schema, notes = account.described(sample, overrides)
    else:
        assert isinstance(sample, Arrays)
        schema, notes = account.described(sample)
    return Stream(source, schema, account, rows, raw, np.zeros(0, np.int64), notes)


def _passed(source: Source, rows: np.ndarray, overrides: Overrides) -> tuple[TableAccount | ArrayAccount, list[Raw]]:
    """What a pass over all rows counts, and the rows of the sample."""
    account: TableAccount | ArrayAccount | None = None
    sampled = []
    for index in range(len(source.sizes)):
        for before, raw in source.pieces(index):
            loaded = source.loaded(raw)
            account = account or _first_account(loaded, overrides)
            account.add(loaded, before)  # ty: ignore[invalid-argument-type]
            first, last = np.searchsorted(rows, [before, before + len(raw)])
            sampled.append(taken(raw, rows[first:last] - before))
    assert account is not None
    return account, sampled


def _first_account(loaded: Arrays | Frame, overrides: Overrides) -> TableAccount | ArrayAccount:
    if isinstance(loaded, Arrays):
        if loaded.array.ndim > 2:
            return ArrayAccount()
        names = loaded.columns
    else:
        names = tuple(loaded.names[place] for place in loaded.kept)
    overrides = overrides.checked(names, loaded.label)
    return TableAccount(tuple(name for name in names if name not in overrides.excluded))


def _account_of(loaded: Arrays | Frame, schema: Schema) -> TableAccount | ArrayAccount:
    """An empty account of the columns of a schema."""
    if isinstance(loaded, Arrays) and loaded.array.ndim > 2:
        return ArrayAccount()
    return TableAccount(tuple(column.name for column in schema.columns or ()))
