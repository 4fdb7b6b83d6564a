"""Files that are read in blocks are described as in memory, and every row is visited once in an epoch."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax.data import Reader, Stream, described, opened, read, related, related_stream, split
from reparax.data.sources import describe, doors, npy, parquet, source, stream
from reparax.data.sources import memory as sizes
from reparax.data.sources.memory import bytes_of
from reparax.errors import DataError, RecipeError
from reparax.summary import QUANTILE_LEVELS

EXACT = ("name", "kind", "dtype", "missing", "missing_with", "low", "high", "step", "categories", "category_fractions")
ROUNDED = ("mean", "std")
OF_SPIKES = ("spikes", "spike_fractions")


def table(seed: int, n: int = 4000) -> pl.DataFrame:
    """A table with columns of all kinds, drawn at random."""
    rng = np.random.default_rng(seed)
    words = np.array(["north", "south", "none", "12", " padded ", "true"])
    gone = rng.random(n) < rng.uniform(0.02, 0.5)
    number = rng.normal(rng.uniform(-5, 5), 1 + rng.random(), n)
    return pl.DataFrame(
        {
            "number": number,
            "price": np.round(rng.gamma(2, 20, n), 2),
            "amount": np.where(rng.random(n) < 0.4, 0.0, rng.gamma(2, 3, n)),
            "count": rng.poisson(3, n),
            "large": rng.integers(10**6, 10**9, n) * 25,
            "bit": rng.integers(0, 2, n),
            "flag": rng.random(n) < 0.3,
            "word": words[rng.choice(len(words), n, p=rng.dirichlet(np.ones(len(words))))],
            "day": pl.Series(rng.integers(0, 5000, n)).cast(pl.Date),
            "when": pl.Series(rng.integers(0, 10**6, n) * 60_000_000).cast(pl.Datetime("us")),
            "gap": [None if g else x for g, x in zip(gone, number, strict=True)],
            "digits": [None if g else str(x) for g, x in zip(gone, rng.integers(0, 99, n), strict=True)],
            "single": rng.normal(0, 1, n).astype(np.float32),
            "id": np.arange(n),
            "note": [f"text {i} of {x:.9f}" for i, x in enumerate(number)],
        }
    ).with_columns(kind=pl.col("word").cast(pl.Categorical))


@pytest.fixture
def small(monkeypatch):
    """Small samples, pieces and buffers, so that small files take every path of large ones."""
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 1500)
    monkeypatch.setattr(stream, "FEWEST_SAMPLED", 1000)
    monkeypatch.setattr(source, "PIECE_ROWS", 170)
    monkeypatch.setattr(describe, "MOST_LEVELS", 500)
    monkeypatch.setattr(describe, "FEWEST_LEVELS", 100)


def written(path: Path, frame: pl.DataFrame, rows: int = 300) -> str:
    frame.write_parquet(path, row_group_size=rows)
    return str(path)


def rows_out(data: Stream) -> np.ndarray:
    return np.isin(np.arange(data.source.num_examples), data.held_out)


def assert_same_columns(found, expected, values, sample_size):
    """Equal where the pass is exact; quantiles within the stated error of those of all rows."""
    error = np.sqrt(np.log(2 / 1e-7) / (2 * sample_size))
    for mine, other, cells in zip(found.columns, expected.columns, values.T, strict=True):
        for field in EXACT:
            assert getattr(mine, field) == getattr(other, field), (mine.name, field)
        for field in ROUNDED:
            assert getattr(mine, field) == pytest.approx(getattr(other, field), rel=1e-6, abs=1e-7), (mine.name, field)
        rest = np.sort(cells[~np.isnan(cells) & ~np.isin(cells, np.asarray(other.spikes))])
        assert len(mine.quantiles) == len(other.quantiles)
        for level, quantile in zip(QUANTILE_LEVELS, mine.quantiles, strict=bool(mine.quantiles)):
            ranks = (
                np.searchsorted(rest, np.float32(quantile), "left"),
                np.searchsorted(rest, np.float32(quantile), "right"),
            )
            assert ranks[0] / len(rest) - error <= level <= ranks[1] / len(rest) + error, (mine.name, level)


def test_memory_without_any_limit_is_that_of_the_system(monkeypatch):
    monkeypatch.setattr(sizes, "_LIMITS", ())  # a desktop, or macOS
    monkeypatch.setattr(sizes, "_of_process", list)
    assert sizes.available() == pytest.approx(sizes._of_system(), rel=0.5)
    monkeypatch.setattr(sizes, "_of_process", lambda: [5.0])
    assert sizes.available() == 5.0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full)])
def test_one_pass_describes_a_table_as_in_memory(seed, tmp_path, small):
    path = written(tmp_path / "t.parquet", table(seed))
    memory, data = read(path), opened(path, memory=1)
    assert isinstance(data, Stream)
    assert data.account is not None
    assert data.schema.names == memory.schema.names
    assert (data.schema.value_kind, data.schema.dtype) == (memory.schema.value_kind, memory.schema.dtype)
    assert dict(data.schema.excluded) == dict(memory.schema.excluded)
    assert "id" in dict(data.schema.excluded)
    assert "note" in dict(data.schema.excluded)
    assert_same_columns(data.schema, memory.schema, memory.values.astype(np.float64), len(data.rows))
    tracked = [column for column in memory.schema.columns if len(set(memory.values[:, 0])) <= 500]
    for column in tracked:
        mine = next(each for each in data.schema.columns if each.name == column.name)
        assert all(getattr(mine, field) == getattr(column, field) for field in OF_SPIKES)
    everything = np.concatenate([piece.values for piece in data.pieces()])
    np.testing.assert_array_equal(everything, memory.values)


def test_what_fits_into_the_sample_is_described_to_the_last_bit(tmp_path):
    path = written(tmp_path / "t.parquet", table(3, 900), rows=100)
    memory, data = read(path), opened(path, memory=1)
    assert data.schema == memory.schema
    assert data.notes == memory.notes
    part, held_out = split(memory, 0.1, 5)
    streamed, rows = data.split(0.1, 5)
    assert streamed.schema == part.schema
    np.testing.assert_array_equal(rows.values, held_out.values)


@pytest.mark.parametrize(
    ("dtype", "shape", "scale"),
    [
        ("float64", (5,), 1.0), ("float32", (3,), 1.0), ("int64", (4,), 40.0), ("uint8", (2,), 1.9),
        ("int64", (2,), 1e9), ("uint8", (6, 5), 255.0), ("float32", (4, 4, 3), 1.0), ("float64", (4, 4, 1), 1.0),
        ("int16", (2, 3, 4, 2), 9.0), ("uint16", (3, 3), 4000.0),
    ],
)  # fmt: skip
def test_one_pass_describes_arrays_as_in_memory(dtype, shape, scale, tmp_path, small, monkeypatch):
    monkeypatch.setattr(npy, "BLOCK_BYTES", 4096)
    rng = np.random.default_rng(0)
    values = (rng.random((3000, *shape)) * scale).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    memory, data = read(tmp_path / "x.npy"), opened(tmp_path / "x.npy", memory="1kB")
    assert isinstance(data, Stream)
    for field in ("kind", "event_shape", "value_kind", "dtype", "low", "high", "num_examples"):
        assert getattr(data.schema, field) == getattr(memory.schema, field), field
    part, _ = data.split(0.1, 2)
    train = described(memory.take(np.flatnonzero(~rows_out(part))))
    for mine, other in ((data.schema, memory.schema), (part.schema, train)):
        assert mine.num_examples == other.num_examples
        np.testing.assert_allclose(mine.mean, other.mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(mine.std, other.std, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([piece.values for piece in data.pieces()]), memory.values)


def test_tables_of_numbers_with_gaps_in_arrays(tmp_path, small):
    values = np.random.default_rng(0).normal(size=(3000, 3))
    values[::7, 1] = np.nan
    np.save(tmp_path / "x.npy", values)
    memory, data = read(tmp_path / "x.npy"), opened(tmp_path / "x.npy", memory=1)
    assert data.schema.value_kind == "mixed"
    assert_same_columns(data.schema, memory.schema, memory.values.astype(np.float64), len(data.rows))


def test_the_schema_of_a_fit_does_not_see_held_out_rows(tmp_path, small):
    path = written(tmp_path / "t.parquet", table(4))
    memory, data = read(path), opened(path, memory=1)
    part, held_out = data.split(0.1, 7)
    assert len(part) == 3600
    assert len(held_out) == 400
    out = rows_out(part)
    train = memory.take(np.flatnonzero(~out))
    np.testing.assert_array_equal(held_out.values, memory.values[out])
    expected = described(train)
    for mine, other in zip(part.schema.columns, expected.columns, strict=True):
        # The mean in memory is that of numbers rounded to the dtype of the matrix.
        for field in ("missing", "mean", "std"):
            assert getattr(mine, field) == pytest.approx(getattr(other, field), rel=1e-5, abs=1e-6), (mine.name, field)
        assert mine.category_fractions == pytest.approx(other.category_fractions)
    assert not np.isin(part.rows[~np.isin(part.rows, part.held_out)], part.held_out).any()
    assert len(part.sample) == len(part.rows) - 400


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20), held_out=st.floats(0, 0.5), buffer=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 800), max_size=6), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_row_is_visited_once_in_an_epoch_wherever_it_is_read_from(
    tmp_path_factory, sizes, held_out, buffer, cuts, seed
):
    path = tmp_path_factory.mktemp("order") / "x.npy"
    total = sum(sizes)
    np.save(path, np.arange(total, dtype=np.float32)[:, None])
    blocks = npy.NpySource(path, block_bytes=4 * max(1, total // len(sizes)))
    out = np.flatnonzero(np.random.default_rng(seed).random(total) < held_out)[: total - 1]
    data = stream.streamed(blocks, doors.overrides(None)) if total > 1 else None
    if data is None:
        return
    data = stream.replace(data, held_out=out)
    whole = [Reader(data, (seed,), buffer).read(epoch, 0, total - len(out))[:, 0] for epoch in range(3)]
    for order in whole:
        np.testing.assert_array_equal(np.sort(order), np.setdiff1d(np.arange(total), out))
    reader = Reader(data, (seed,), buffer)
    for first, last in itertools.pairwise(cuts):
        start, stop = sorted((min(first, total - len(out)), min(last, total - len(out))))
        if start < stop:
            np.testing.assert_array_equal(reader.read(first % 3, start, stop)[:, 0], whole[first % 3][start:stop])


def test_epochs_and_seeds_have_other_orders(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(5000.0)[:, None])
    data = opened(tmp_path / "x.npy", memory=1)
    orders = {Reader(data, (s,)).read(e, 0, 5000).tobytes() for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_relations_are_found_in_the_sample_and_verified_in_all_rows(tmp_path, small):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=6000), "b": rng.normal(size=6000), "c": rng.integers(0, 3, 6000)})
    frame = frame.with_columns(
        total=pl.col("a") + pl.col("b"), code=pl.col("c").replace_strict({0: "x", 1: "y", 2: "z"})
    )
    data = opened(written(tmp_path / "t.parquet", frame), memory=1)
    part, _ = data.split(0.1, 0)
    memory = read(tmp_path / "t.parquet")
    train = memory.take(np.flatnonzero(~rows_out(part)))
    found, expected = related_stream(part), related(described(train), train.values, find=True)
    names = [{(each.child, *sorted(each.parents)) for each in one.relations} for one in (found, expected)]
    assert names[0] == names[1]
    assert found.relations


def test_a_relation_that_rows_outside_of_the_sample_break_is_dropped(tmp_path, small):
    rng = np.random.default_rng(0)
    early, late = rng.integers(0, 500, 6000), rng.integers(1, 100, 6000)
    sampled = np.sort(np.random.default_rng(0).choice(6000, 1500, replace=False))
    outside = np.setdiff1d(np.arange(6000), sampled)
    end = early + late
    end[outside[:400]] = early[outside[:400]] - 30
    frame = pl.DataFrame({"x": rng.normal(size=6000), "begin": early, "end": end})
    data = opened(written(tmp_path / "t.parquet", frame), memory=1)
    np.testing.assert_array_equal(data.rows, sampled)
    assert not any({"begin", "end"} == {each.child, *each.parents} for each in related_stream(data).relations)


def test_what_fits_into_memory_is_read_into_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 2)))
    assert not isinstance(opened(tmp_path / "x.npy"), Stream)
    assert not isinstance(opened(tmp_path / "x.npy", memory="1MB"), Stream)
    assert isinstance(opened(tmp_path / "x.npy", memory="500B"), Stream)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2e9), ("2 gb", 2e9), ("500MiB", 500 * 2**20), ("1.5k", 1500), (7, 7), ("1TiB", 2**40), ("3", 3)],
)
def test_amounts_of_memory(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-2GB", "0", "two", "2 GBs", "nan"])
def test_other_amounts_are_refused(text):
    with pytest.raises(RecipeError, match="an amount of memory"):
        bytes_of(text)


def test_folders_are_one_table(tmp_path, small):
    frame = table(5, 3000)
    (tmp_path / "parts").mkdir()
    for part in range(3):
        frame[part * 1000 : (part + 1) * 1000].write_parquet(tmp_path / "parts" / f"{part}.parquet", row_group_size=400)
    (tmp_path / "parts" / "_SUCCESS").touch()  # as Spark and Hadoop leave it
    data = opened(tmp_path / "parts", memory=1)
    whole = opened(written(tmp_path / "whole.parquet", frame), memory=1)
    assert data.schema.names == whole.schema.names
    assert data.schema.low == whole.schema.low
    assert np.allclose(data.schema.mean, whole.schema.mean)
    values = [np.concatenate([piece.values for piece in each.pieces()]) for each in (data, whole)]
    np.testing.assert_array_equal(*values)
    frame[:10].with_columns(pl.col("count").cast(pl.Float64)).write_parquet(tmp_path / "parts" / "4.parquet")
    with pytest.raises(DataError, match=r"others in 4\.parquet: 'count'"):
        opened(tmp_path / "parts", memory=1)


@pytest.mark.parametrize("sampled", ["some", "all"])
def test_the_fingerprint_tells_any_change_of_cells(sampled, tmp_path, request):
    """Of the same size and description, whether all rows are in the sample or not."""
    if sampled == "some":
        request.getfixturevalue("small")
    rows = pl.DataFrame({"a": [1.0, 2.0] * 1000, "word": ["x", "y"] * 1000, "gap": [1.5, None] * 1000})

    def found(frame):
        path = tmp_path / "t.parquet"
        pq.write_table(frame.to_arrow(), path, compression="none", use_dictionary=False, write_statistics=False)
        data = opened(path, memory=1)
        return data.fingerprint, data.schema, path.stat().st_size

    (first, schema, size), again = found(rows), found(rows)
    assert again[0] == first
    for name in rows.columns:
        other, described, other_size = found(rows.with_columns(pl.col(name).reverse()))
        assert (described, other_size) == (schema, size)
        assert other != first


def test_views_of_text_are_text(tmp_path, small):
    words = pa.array(["x", "yy", None, "x"] * 500)
    for kind in (pa.string_view(), pa.string()):
        pq.write_table(pa.table({"a": range(2000), "w": words.cast(kind)}), tmp_path / "t.parquet", row_group_size=300)
        data = opened(tmp_path / "t.parquet", memory=1)
        assert data.schema.columns[-1].categories == ("x", "yy")
        assert len(data.sample) == 1500


def test_labels_are_not_among_the_values(tmp_path, small):
    data = opened(written(tmp_path / "t.parquet", table(6)), memory=1, label="word", exclude=["price"])
    names = [column.name for column in data.schema.columns]
    assert "word" not in names
    assert "price" not in names
    assert data.schema.label == "word"
    assert len(data.sample.labels) == len(data.sample)
    assert Reader(data, (0,)).read(0, 0, 5).shape == (5, len(names))


def test_what_needs_all_rows_is_refused_by_name(tmp_path):
    path = written(tmp_path / "t.parquet", table(7, 500))
    for options, named in (
        ({"given": ["word"]}, "--given"),
        ({"context": np.zeros((500, 1))}, "a context"),
        ({"schema": {"when": {"after": "day"}}}, "statements"),
        ({"label": path}, "the file"),
    ):
        with pytest.raises(DataError, match=named) as error:
            opened(path, memory=1, **options)
        assert "memory" in str(error.value)


def test_files_that_cannot_be_read_in_blocks_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "f.npy", np.asfortranarray(np.zeros((100, 3))))
    with pytest.raises(DataError, match="Fortran"):
        opened(tmp_path / "f.npy", memory=1)
    np.save(tmp_path / "c.npy", np.random.default_rng(0).normal(size=(100, 3)))
    content = (tmp_path / "c.npy").read_bytes()
    (tmp_path / "c.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match="damaged or cut short"):
        opened(tmp_path / "c.npy", memory=1)
    path = written(tmp_path / "t.parquet", table(8, 500))
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 1000)
    with pytest.raises(DataError, match="row groups of at most"):
        opened(path, memory=1)


@pytest.mark.parametrize("wrong", [np.inf, 1e300])
def test_the_row_of_an_infinity_is_that_of_the_file(wrong, tmp_path, small, monkeypatch):
    monkeypatch.setattr(npy, "BLOCK_BYTES", 4096)
    values = np.random.default_rng(0).normal(size=(3000, 2))
    values[2345, 1] = wrong
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match="row 2346"):
        opened(tmp_path / "x.npy", memory=1)
    np.save(tmp_path / "i.npy", values.reshape(-1, 2, 1, 1))
    with pytest.raises(DataError, match="example 2346"):
        opened(tmp_path / "i.npy", memory=1)


def test_texts_beyond_counting_are_refused(tmp_path, small, monkeypatch):
    monkeypatch.setattr("reparax.data.sources.tally.MOST_TEXTS", 1000)
    path = written(tmp_path / "t.parquet", table(9))
    with pytest.raises(DataError, match="different texts in column 'note'"):
        opened(path, memory=1)
    assert isinstance(opened(path, memory=1, exclude=["note"]), Stream)


def test_too_many_held_out_rows_are_fewer(tmp_path, small):
    data = opened(written(tmp_path / "t.parquet", table(10)), memory=1)
    assert data.held_out_share(0.9) == pytest.approx(750 / 4000)
    with pytest.raises(DataError, match="at most 750 of 4,000 rows"):
        data.split(0.9, 0)


def test_numbers_with_marks_stop_the_description_and_are_no_identifiers(tmp_path, small):
    frame = pl.DataFrame({"a": [f"{x:,.2f}" for x in 1234.5 + 7 * np.arange(3000)], "b": np.arange(3000) / 7})
    path = written(tmp_path / "table.parquet", frame)
    with pytest.raises(DataError, match="with thousands separators"):
        opened(path, memory=1)
    assert isinstance(opened(path, memory=1, exclude=["a"]), Stream)
