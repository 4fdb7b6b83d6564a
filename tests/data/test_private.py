"""Descriptions by noisy counts: what one row changes, what is named, and which rows go with them."""

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import reparax as rx
from reparax.data import Noise, num_histograms, privately_described
from reparax.data.private import Noise as OfFile
from reparax.errors import DataError

DELTA = 1e-7


def noise(scale: float, seed: int = 0) -> Noise:
    return Noise(scale, DELTA, np.random.default_rng(seed))


class Recording:
    """Noise of no height, which keeps the counts that it was asked for."""

    def __init__(self) -> None:
        self.scale, self.delta, self.generator, self.counts = 4.0, DELTA, np.random.default_rng(0), []

    def of(self, counts):
        self.counts.append(np.asarray(counts, np.float64))
        return np.asarray(counts, np.float64)


def described(frame: pl.DataFrame, how) -> rx.data.Dataset:
    return privately_described(rx.read(frame), how)


def table(seed: int = 0, rows: int = 2000) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    city = rng.choice(["Rome", "Oslo", "Kyiv"], rows, p=[0.6, 0.3, 0.1])
    age = rng.integers(18, 90, rows).astype(float)
    age[rng.random(rows) < 0.2] = np.nan
    day = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(days)) for days in rng.integers(0, 300, rows)]
    return pl.DataFrame({
        "city": city,
        "age": pl.Series(age).fill_nan(None),
        "income": np.exp(rng.normal(10, 1, rows)),
        "debt": -rng.exponential(100, rows) * (rng.random(rows) < 0.5),
        "day": day,
        "member": rng.random(rows) < 0.3,
    })  # fmt: skip


one_row = st.fixed_dictionaries({
    "city": st.sampled_from(["Rome", "Kyiv", "Ys"]),
    "income": st.one_of(st.floats(1e-3, 1e12), st.sampled_from([1.0, 1e30])),
    "debt": st.one_of(st.just(0.0), st.floats(-1e6, 1e6)),
})  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(row=one_row)
def test_a_row_changes_each_histogram_by_one_at_most(row):
    frame = table(rows=400).select("city", "income", "debt")
    more = pl.concat([frame, pl.DataFrame([row], schema=frame.schema)])
    without, with_row = Recording(), Recording()
    described(frame, without)
    described(more, with_row)
    assume(len(without.counts) == len(with_row.counts))
    for before, after in zip(without.counts, with_row.counts, strict=True):
        length = max(len(before), len(after))
        first, second = (np.sort(np.pad(each, (0, length - len(each)))) for each in (before, after))
        assert np.abs(first - second).sum() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_the_histograms_are_counted(seed):
    frame = table(seed)
    recording = Recording()
    described(frame, recording)
    dataset = rx.read(frame)
    numbers = sum(not column.is_category for column in dataset.schema.columns)
    assert num_histograms(dataset) == 1 + len(dataset.schema.columns) + 3 * numbers
    # A division of a column of numbers asks once for each of its heavy bins, which have no row in common.
    assert len(recording.counts) >= 1 + len(dataset.schema.columns)


def test_what_single_rows_have_is_named_by_nothing():
    frame = table()
    secret = pl.DataFrame(
        [{"city": "Atlantis", "age": 117.0, "income": 4.56e15, "debt": 12345.5, "day": datetime.date(1871, 5, 4),
          "member": True}], schema=frame.schema,
    )  # fmt: skip
    dataset = described(pl.concat([frame, secret]), noise(4.0))
    columns = {column.name: column for column in dataset.schema.columns}
    assert "Atlantis" not in columns["city"].categories
    assert columns["income"].high < 1e7
    assert columns["debt"].high < 1000
    assert columns["day"].low > 10_000
    assert not np.isnan(dataset.values[-1]).any()
    assert dataset.values[-1, 2] <= columns["income"].high


def test_a_name_of_one_row_comes_out_as_rarely_as_delta_says():
    delta = 0.02  # of all histograms together; this table has two
    frame = pl.DataFrame({"kind": ["a"] * 300 + ["b"] * 300 + ["rare"]})
    dataset = rx.read(frame)
    assert num_histograms(dataset) == 2
    rng = np.random.default_rng(5)
    runs = 4000
    named = sum(
        "rare" in privately_described(dataset, OfFile(3.0, delta, rng)).schema.columns[0].categories
        for _ in range(runs)
    )
    share = named / runs
    error = np.sqrt(delta / 2 * (1 - delta / 2) / runs)
    assert abs(share - delta / 2) < 5 * error


def test_hardly_any_noise_gives_the_columns_as_they_are():
    frame = table(rows=20_000)
    plain, private = rx.read(frame), described(frame, noise(0.05))
    assert [c.name for c in private.schema.columns] == [c.name for c in plain.schema.columns]
    for real, found in zip(plain.schema.columns, private.schema.columns, strict=True):
        assert found.dtype == real.dtype
        assert found.missing == pytest.approx(real.missing, abs=1e-3)
        if real.is_category:
            assert dict(zip(found.categories, found.category_fractions, strict=True)) == pytest.approx(
                dict(zip(real.categories, real.category_fractions, strict=True)), abs=1e-3
            )
        else:
            middle = slice(5, -5)
            scale = real.quantiles[-5] - real.quantiles[4] if real.quantiles else 1.0
            np.testing.assert_allclose(found.quantiles[middle], real.quantiles[middle], atol=0.02 * scale)
    np.testing.assert_allclose(private.values[:, 0], plain.values[:, 0])
    assert private.schema.num_examples == pytest.approx(20_000, abs=2)


def test_rows_go_with_their_description():
    dataset = described(table(), noise(6.0))
    schema = dataset.schema
    gaps = np.isnan(dataset.values).mean(axis=0)
    for index, column in enumerate(schema.columns):
        values = dataset.values[~np.isnan(dataset.values[:, index]), index]
        assert values.min() >= column.low - 1e-4
        assert values.max() <= column.high * (1 + 1e-6) + 1e-4
        assert gaps[index] == 0 or column.missing > 0
    schema.check(dataset)


def test_columns_and_tables_of_nothing_that_is_shared_are_left_out_or_refused():
    frame = pl.DataFrame({"name": [f"p{index}" for index in range(200)] * 2, "kind": ["a", "b"] * 200})
    dataset = privately_described(rx.read(frame), noise(3.0))
    assert [column.name for column in dataset.schema.columns] == ["kind"]
    assert "--dp" in dict(dataset.schema.excluded)["name"]
    with pytest.raises(DataError, match="larger --dp"):
        privately_described(rx.read(frame), noise(500.0))


@pytest.mark.parametrize(
    "data", [rx.read(np.zeros((10, 4, 4))), rx.read(np.eye(4)).given(np.zeros((4, 1)))], ids=["images", "context"]
)
def test_what_cannot_be_described_is_refused(data):
    with pytest.raises(DataError, match=r"--dp|--given"):
        num_histograms(data)
