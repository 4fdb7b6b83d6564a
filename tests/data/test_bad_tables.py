"""Tables that are not what they should be: each gets a sentence that a person understands; nothing is lost silently."""

import re
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reparax.data import read, read_as, require_fit, split
from reparax.errors import DataError

MANY = 30


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


LATIN = "name,b\n" + "José,2\nMüller,3\n" * MANY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file; check how the file was made"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n" + "inf,x\n1,y\n" * MANY, "30 infinite values, the first in column 'a', row 1"),
        ("a,b\n" + "1e300,x\n1,y\n" * MANY, "1e+300 in column 'a', row 1; rescale these values"),
        ("a,a\n" + "1,x\n" * MANY, "'a' more than once"),
        ("a,b\nx,2\ny,4,5\nz,6\n", "2 cells in every row; got 3 cells in row 3: 'y,4,5'; fix that row"),
        ("a,b\nx,2\ny\nz,6\n", "2 cells in every row; got 1 cell in row 3: 'y'"),
        ('a,b\n"x",2\ny\nz,6\n', "2 cells in every row; got 1 cell in line 3: 'y'"),
        ('a,b\n"x",2\ny,4,5\n', "2 cells in every row"),
        ("a b\n" + "1.5 2\n2.5 3\n" * MANY, "commas, semicolons, tabs or bars between the cells"),
        (
            LATIN.encode("latin-1"),
            "probably Latin-1 (Windows-1252): 'José,2' in line 2; save it as UTF-8: iconv",
        ),
        (("a,b\n" + "x,2\n" * 100_000 + "é,1\n").encode("latin-1"), "'é,1' in line 100002"),
        (LATIN.encode("utf-16"), "text in UTF-16; save it as UTF-8: iconv -f UTF-16"),
        ("a,b\n" + '"1,234",2\n999,3\n' * MANY, "'1,234' in row 1, with thousands separators"),
        ("a,b\n" + "\"1'234'567.8\",2\n999,3\n" * MANY, "\"1'234'567.8\" in row 1, with thousands separators"),
        ("a,b\n" + '2,5\n"1,5",2\n' * MANY, "'1,5' in row 2, with thousands separators"),
        ("a;b\n" + "1.234,5;2\n1,5;3\n" * MANY, "'1.234,5' in row 1, with thousands separators"),
        ("a,b\n" + ",\n" * MANY, "column 'a' was left out: every cell is missing; column 'b'"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_refused(table, text, message):
    with pytest.raises(DataError, match=r"^expected (?s:.*); got (?s:.*); .") as caught:
        read(table(text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kinds", "note"),
    [
        ("\ufeff" + LATIN, "binary ordinal", None),
        ("a|b\n" + "1.5|x\n2.5|y\n" * MANY, "ordinal binary", None),
        ("a;b\n" + "1,5;x\n2,5;y\n" * MANY, "ordinal binary", None),
        ("a,b\n" + "7,x\n7,y\n" * MANY, "ordinal binary", "constant columns carry no information; .*: 'a'"),
        ("a,b\n" + "7,x\n7,x\n" * MANY, "ordinal categorical", "'a', 'b'"),
        ("a,b\n" + ",x\n,y\n" * MANY, "binary", "column 'a' was left out: every cell is missing"),
        ("a,b\n" + "$1.50,x\n$2.70,y\n" * MANY, "binary binary", "column 'a' was read as text .* without the sign"),
        ("a,b\n" + "2020-01-02,1\n05/13/2021,2\n" * MANY, "binary ordinal", "dates have several formats .*2024-01-31"),
        (
            "a,b\n" + "2020-01-02,1\n05/13/2021,2\n2020-01-03,2\n" * MANY,
            "categorical ordinal",
            r"\(.*-.*, .*/.*\)|\(.*/.*, .*-.*\)",
        ),
        ("a,b\n" + "03/04/2020,1\n05/03/2021,2\n" * MANY, "datetime ordinal", "'a': dates were read as month before"),
        (
            "a,b\n" + "".join(f"{i % 25},1\n" for i in range(97)) + "n.k.,2\n" * 3,
            "categorical ordinal",
            "'n.k.' among",
        ),
        ("a,b\n" + "".join(f"{2**60 + i},{i % 3}\n" for i in range(99)), "ordinal", "'a' was left out: .* too large"),
        ("a,b\n" + "".join(f"{2**60 + i % 9},{i % 3}\n" for i in range(99)), "categorical ordinal", "beyond 2\\*\\*53"),
        ("p,e,x\nx,f,x\np,e,y\n" * MANY, "binary binary binary", None),
    ],
    ids=lambda value: str(value)[:25],
)
def test_read_with_a_note(table, text, kinds, note):
    dataset = read(table(text))
    assert " ".join(column.kind for column in dataset.schema.columns) == kinds
    if note is None:
        assert dataset.notes == ()
    else:
        assert pl.Series(dataset.notes).str.contains(note).any(), dataset.notes


def test_numbers_that_are_too_large_are_told_apart_as_names(table):
    dataset = read(table("a,b\n" + "".join(f"{2**60 + i % 9},{i % 3}\n" for i in range(99))))
    assert sorted(dataset.schema.columns[0].categories) == [2**60 + i for i in range(9)]
    assert read_as(table(f"a,b\n{2**60 + 1},1\n"), dataset.schema).values[0, 0] == 1


def test_a_header_of_words_above_words(table):
    assert read(table("kind,size,color\nx,big,red\ny,small,red\n")).schema.names == ("kind", "size", "color")
    assert read(table("x,big,red\nx,small,red\nx,big,blue\n")).schema.names is None


def test_one_row_is_read_but_nothing_is_fitted_to_it(table):
    dataset = read(table("a,b\n1,x\n"))
    assert dataset.values.tolist() == [[1, 0]]
    with pytest.raises(DataError, match="at least 2 examples to fit a model; got 1"):
        require_fit(dataset)
    with pytest.raises(DataError, match="60 equal rows of 2 columns"):
        require_fit(read(table("a,b\n" + "1,x\n" * 60)))


def test_renamed_missing_and_other_columns_at_scoring(table):
    schema = read(table("a,b,c\n1.5,x,2020-01-02\n2.5,y,2020-01-03\n")).schema
    for text, message in (
        ("a,B,c\n1.5,x,2020-01-02\n", "no 'b' and also 'B'"),
        ("a,c\n1.5,2020-01-02\n", "no 'b'"),
        ("a,b,c,d\n1.5,x,2020-01-02,1\n", "also 'd'"),
        ("a,b,c\nfour,x,2020-01-02\n", "numbers in column 'a', as in training; got 'four' in row 1"),
        ("a,b,c\n1.5,x,20 years\n", "dates in column 'c', as in training; got '20 years' in row 1"),
    ):
        with pytest.raises(DataError) as caught:
            read_as(table(text), schema)
        assert message in str(caught.value)
    found = read_as(table("c,b,a\n,z,?\n"), schema)
    np.testing.assert_array_equal(found.values, [[np.nan, 2, np.nan]])
    assert found.notes == ("column 'b': 1 value that did not occur in training: 'z' (1 row)",)


def test_many_columns(table):
    rng = np.random.default_rng(0)
    wide = pl.DataFrame({f"c{i}": rng.integers(0, 9, 40) * 0.5 for i in range(4_900)})
    wide = wide.with_columns(pl.Series(f"t{i}", rng.choice(["x", "y", "z"], 40)) for i in range(100))
    start = time.perf_counter()
    dataset = read(table(wide.write_csv()))
    assert dataset.values.shape == (40, 5_000)
    np.testing.assert_array_equal(read_as(wide, dataset.schema).values, dataset.values)
    assert time.perf_counter() - start < 60


def test_many_categories():
    rng = np.random.default_rng(0)
    towns = np.char.add("town ", rng.integers(0, 50_000, 300_000).astype(str))
    dataset = read(pl.DataFrame({"town": towns, "x": rng.random(300_000)}))
    (column, _) = dataset.schema.columns
    assert len(column.categories) == len(np.unique(towns))
    counts = np.bincount(dataset.values[:, 0].astype(int))
    assert (np.diff(counts) <= 0).all()
    assert column.category_fractions[0] == counts[0] / 300_000
    train, _ = split(dataset, 0.1, seed=0)
    assert len(train.schema.columns[0].category_fractions) == len(column.categories)


SEPARATED, SIGNED = "thousands separators or a decimal comma", "a percent or currency sign"
MARKS = {
    "comma": (SEPARATED, lambda x: f"{x:,.2f}"),
    "space": (SEPARATED, lambda x: f"{x:,.1f}".replace(",", " ")),
    "no-break space": (SEPARATED, lambda x: f"{x:,.1f}".replace(",", "\u202f")),
    "apostrophe": (SEPARATED, lambda x: f"{x:,.0f}".replace(",", "’")),
    "decimal comma": (SEPARATED, lambda x: f"{x:.2f}".replace(".", ",")),
    "percent": (SIGNED, lambda x: f"{x / 1000:.2f}%"),
    "percent and space": (SIGNED, lambda x: f"{x / 1000:.1f} %"),
    "dollar": (SIGNED, lambda x: f"${x:,.2f}"),
    "minus": (SIGNED, lambda x: f"-${x:.0f}"),
    "euro": (SIGNED, lambda x: f"{x:.2f} €".replace(".", ",")),
}
BESIDE = {"nothing": (1, None), "gaps": (2, ""), "plain numbers": (2, "512.3"), "a few words": (20, "on request")}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("mark", MARKS)
def test_distinct_numbers_with_marks_stop_the_fit_and_are_no_identifiers(mark, beside):
    values = np.random.default_rng(0).uniform(1000, 99_999, 300)
    every, other = BESIDE[beside]
    first = next(row for row in range(300) if other is None or row % every)
    kind, written = MARKS[mark]
    cells = [other if other is not None and row % every == 0 else written(x) for row, x in enumerate(values)]
    frame = pl.DataFrame({"a": cells, "b": values})
    with pytest.raises(
        DataError, match=rf"{re.escape(repr(cells[first]))} in row {first + 1}, with {kind}.*--exclude a"
    ):
        read(frame)
    assert dict(read(frame, exclude=["a"]).schema.excluded) == {"a": "as asked"}
    assert read(frame, schema={"a": "categorical"}).schema.columns[0].kind == "categorical"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("seed", range(6))
def test_no_number_of_a_text_file_is_read_a_thousandfold_too_small(seed, delimiter, tmp_path):
    """Marks that may separate thousands are decimal ones only if other cells of the table show that they are."""
    rng = np.random.default_rng(seed)
    decimals, thousands = rng.permutation([",", "."])

    def written(x: float, digits: int, mark: str, between: str) -> str:
        return f"{x:,.{digits}f}".replace(",", "_").replace(".", mark).replace("_", between)

    amounts, prices = rng.integers(100, 99_999, 40), rng.uniform(1, 99, 40)
    file = tmp_path / "table.csv"

    def table(**columns) -> Path:
        rows = [columns, *zip(*columns.values(), strict=True)]
        file.write_text("\n".join(delimiter.join(row) for row in rows))
        return file

    grouped = [written(x, 0, "?", thousands) for x in amounts]
    plain = [written(x, 2, decimals, "") for x in prices]
    with pytest.raises(DataError, match=r"thousand"):
        read(table(amount=grouped, price=plain))
    with pytest.raises(DataError, match=r"thousand"):
        read(table(amount=[written(x, 0, "?", ",") for x in amounts], number=[str(x) for x in amounts]))
    # The same marks, where they are decimal ones without a doubt: the second column has two digits after them.
    fractions = [written(x, 3, decimals, "") for x in prices]
    values = read(table(weight=fractions, price=plain)).values
    np.testing.assert_allclose(values, np.stack([prices.round(3), prices.round(2)], axis=1), rtol=1e-6)
    with pytest.raises(DataError, match=r"thousand"):
        read(table(weight=fractions, price=[text.replace(decimals, thousands) for text in plain]))


CODES = {
    "telephone numbers": lambda rng: f"{rng.integers(200, 999)} {rng.integers(200, 999)} {rng.integers(200, 999)}",
    "with leading zeros": lambda rng: f"0{rng.integers(20, 99)} {rng.integers(200, 999)} {rng.integers(2000, 9999)}",
    "addresses": lambda rng: ".".join(map(str, rng.integers(0, 256, 4))),
    "places": lambda rng: f"{rng.normal():.4f},{rng.normal():.4f}",
    "names": lambda rng: f"Mx {rng.integers(10**6)}",
    "cells of a grid": lambda rng: f"R{rng.integers(1000)}, {rng.integers(10)}%",
}


@pytest.mark.parametrize("code", CODES)
def test_identifiers_with_digits_are_left_out_as_before(code):
    rng = np.random.default_rng(0)
    dataset = read(pl.DataFrame({"a": [CODES[code](rng) for _ in range(300)], "b": rng.normal(size=300)}))
    assert "identifier" in dict(dataset.schema.excluded)["a"]
