"""Tables of several kinds, with missing cells, through the command line."""

import numpy as np
import polars as pl
import pytest

from reparax.cli import main


def run(*argv):
    assert main([str(word) for word in argv]) == 0


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A complete table."""
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], 150)
    table = pl.DataFrame(
        {
            "name": [f"person {index}" for index in range(150)],
            "sex": sex,
            "height": np.round(rng.normal(np.where(sex == "m", 180.0, 165.0), 6.0), 1),
            "children": rng.poisson(1.2, 150),
        }
    )
    path = tmp_path_factory.mktemp("people") / "people.csv"
    table.write_csv(path)
    return path


@pytest.fixture(scope="module")
def gaps(people):
    """The same rows, of which the first lacks its height and the second its sex."""
    path = people.with_name("gaps.csv")
    lines = people.read_text().splitlines()
    first, second = lines[1].split(","), lines[2].split(",")
    first[2], second[1] = "", "?"
    path.write_text("\n".join([lines[0], ",".join(first), ",".join(second), *lines[3:]]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(people, tmp_path_factory, make_model):
    return make_model(tmp_path_factory.mktemp("models") / "people", people)


def test_impute_fills_the_gaps_alone_also_where_the_fit_had_none(model, people, gaps, tmp_path):
    run("impute", model, gaps, "-o", tmp_path / "filled.csv", "--samples", 5)
    found, whole = pl.read_csv(tmp_path / "filled.csv"), pl.read_csv(people)
    assert found.columns == whole.columns
    assert found[2:].equals(whole[2:])
    assert found.select("name", "children").equals(whole.select("name", "children"))
    assert 100 < found["height"][0] < 250
    assert found["sex"][1] in {"f", "m"}


def test_draws_are_numbered_and_differ(model, gaps, tmp_path):
    run("impute", model, gaps, "-o", tmp_path / "drawn.csv", "--draws", 3, "--samples", 5)
    assert not (tmp_path / "drawn.csv").exists()
    found = [pl.read_csv(tmp_path / f"drawn-{number}.csv")["height"][0] for number in (1, 2, 3)]
    assert len(set(found)) > 1
    assert all(round(height, 1) == pytest.approx(height) for height in found)


def test_scores_come_with_shares_and_the_oddest_first(model, gaps, tmp_path, capsys):
    run("score", model, gaps, "-o", tmp_path / "all.csv", "--samples", 5)
    everything = pl.read_csv(tmp_path / "all.csv")
    shares = [f"share_{name}" for name in ("sex", "height", "children")]
    assert everything.columns == ["log_density", "anomaly_score", *shares]
    np.testing.assert_allclose(
        everything.select(pl.sum_horizontal(shares)).to_series(), everything["anomaly_score"], rtol=1e-5
    )
    assert everything["share_height"][0] == 0
    capsys.readouterr()
    run("score", model, gaps, "-o", tmp_path / "top.csv", "--samples", 5, "--top", 4)
    top = pl.read_csv(tmp_path / "top.csv")
    assert top["anomaly_score"].to_list() == sorted(everything["anomaly_score"], reverse=True)[:4]
    assert everything[(top["row"] - 1).to_list()]["anomaly_score"].to_list() == top["anomaly_score"].to_list()
    assert f"row {top['row'][0]}: anomaly score" in capsys.readouterr().err


def test_conditions_hold_in_every_row(model, tmp_path):
    run("sample", model, "-n", 30, "-o", tmp_path / "some.csv", "--where", "sex=m,children=2")
    found = pl.read_csv(tmp_path / "some.csv")
    assert found.columns == ["sex", "height", "children"]
    assert set(found["sex"]) == {"m"}
    assert set(found["children"]) == {2}
    assert found["height"].n_unique() > 5


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sample", "--where", "sex"], "sex=F,age=30"),
        (["sample", "--where", "shoes=43"], "'shoes'"),
        (["sample", "--where", "sex=x"], "'x'"),
        (["sample", "--where", "height=tall"], "tall"),
        (["score", "--top", "0"], "from 1 up for --top"),
        (["impute", "--draws", "0"], "from 1 up"),
        (["impute", "--samples", "0"], "from 1 up"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(model, gaps, tmp_path, refused, argv, words):
    command, *rest = argv
    data = [] if command == "sample" else [gaps]
    assert words in refused(command, model, *data, "-o", tmp_path / "out.csv", *rest)
    assert not list(tmp_path.iterdir())


def test_what_columns_are_can_be_said(people, tmp_path, capsys):
    size = ["--epochs", 1, "--width", 4, "--latent-dim", 2, "--valid", 0]
    (tmp_path / "kinds.json").write_text('{"children": "categorical"}')
    run("fit", people, "--out", tmp_path / "m", *size, "--schema", tmp_path / "kinds.json", "--exclude", "height")
    said = capsys.readouterr().err
    run("info", tmp_path / "m")
    for text in (said, capsys.readouterr().out):
        assert "categorical" in text
    assert "height" in said
    run("sample", tmp_path / "m", "-n", 5, "-o", tmp_path / "some.csv")
    assert pl.read_csv(tmp_path / "some.csv").columns == ["sex", "children"]
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<h1" in page
    assert "children" in page


def test_kinds_that_do_not_exist_are_named(people, tmp_path, refused):
    (tmp_path / "kinds.json").write_text('{"children": "kids"}')
    sentence = refused("fit", people, "--out", tmp_path / "m", "--schema", tmp_path / "kinds.json")
    assert "kids" in sentence
    assert "categorical" in sentence


def test_impute_needs_columns(data, tmp_path, make_model, refused):
    model = make_model(tmp_path / "m", data / "table.csv", likelihood="normal")
    assert "columns likelihood" in refused("impute", model, data / "table.csv", "-o", tmp_path / "out.csv")
