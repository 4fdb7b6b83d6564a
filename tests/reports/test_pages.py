"""Pages: whole, closed, escaped, the same every time; what they say of tables, images and unusual models."""

import html
import re
from dataclasses import replace

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import reparax as rx
from reparax import registry
from reparax.errors import DataError, OutputError, RecipeError
from reparax.model import Model
from reparax.reports import Origin, study_of
from reparax.reports.latent import _of_labels
from reparax.reports.page import _with_options

LADDER = "ladder"
SHARED = ["summary", "data", "training", "map", "dimensions"]
LAST = ["privacy", "likelihood", "reproduce"]


@pytest.mark.parametrize("which", ["table_page", "picture_page"])
def test_a_page_is_one_file_that_refers_to_no_other(which, request, page_of):
    path = request.getfixturevalue(which)
    page, text = page_of(path), path.read_text(encoding="utf-8")
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(address.startswith("#") and address[1:] in page.ids for address in page.values("href"))
    assert {"link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert page.tags.count("script") == 1
    assert not re.search(r"@import|url\(", text)
    assert set(re.findall(r"https?://[^\s\"'<]*", text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("which", ["table_page", "picture_page"])
def test_a_page_is_valid_and_says_its_pictures_in_words(which, request, page_of):
    page = page_of(request.getfixturevalue(which))  # balanced tags: asserted while it is read
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert page.tags.count("h2") == page.tags.count("section")
    assert ("html", {"lang": "en"}) in page.attributes
    assert all(attributes.get("alt") for tag, attributes in page.attributes if tag == "img")
    drawings = [attributes for tag, attributes in page.attributes if tag == "svg" and "viewbox" in attributes]
    assert drawings
    assert all(attributes["role"] == "img" for attributes in drawings)
    assert page.tags.count("title") > len(drawings)
    assert not re.search(r"\bnan\b|\binf\b", page.text)


def test_a_page_of_a_table_has_every_section(table_page, page_of):
    middle = ["marginals", "associations", "gaps", "reconstruction", "anomalies"]
    page = page_of(table_page)
    assert page.ids == [*SHARED, *middle, *LAST]
    assert page.tags.count("article") == 10
    assert "81 " in page.text
    assert "9 rows that were held out of the fit" in page.text
    assert "free text" in page.text  # what was left out, and why
    assert "K = 4" in page.text
    assert "± " in page.text


def test_a_page_of_images_has_every_section(picture_page, page_of):
    middle = ["reconstruction", "samples", "traversals", "anomalies"]
    page = page_of(picture_page)
    assert page.ids == [*SHARED, *middle, *LAST]
    assert "6 × 5 × 1" in page.text
    assert page.tags.count("img") == 2 + 2 + 1 + 16


def test_names_and_categories_are_text(table_page, page_of):
    page = page_of(table_page)
    assert "<script>alert" not in table_page.read_text(encoding="utf-8")
    assert "<script>alert('x')</script>" in page.text
    assert '"></svg></style><b' in page.text
    assert not any(name.startswith("on") for _, attributes in page.attributes for name in attributes)
    assert "b" not in {tag for tag, attributes in page.attributes if attributes.get("onmouseover")}


def test_the_same_model_data_and_seed_give_the_same_bytes(table, table_model, table_page, tmp_path):
    again, other = tmp_path / "again.html", tmp_path / "other.html"
    rx.report(table_model, table, again, num_samples=4)
    rx.report(table_model, table, other, num_samples=4, seed=1)
    assert again.read_bytes() == table_page.read_bytes()
    assert other.read_bytes() != table_page.read_bytes()


def test_collapse_is_said_in_plain_words(table, table_model, table_page, tmp_path, page_of):
    silent = jax.tree.map(jnp.zeros_like, table_model.model.posterior.network)
    posterior = eqx.tree_at(lambda part: part.network, table_model.model.posterior, silent)
    model = Model(posterior, table_model.model.prior, table_model.model.likelihood)
    path = tmp_path / "collapsed.html"
    rx.report(replace(table_model, model=model), table, path, num_samples=4)
    page = page_of(path)
    assert "0 of 4" in page.text
    assert "Posterior collapse: no latent dimension carries information" in page.text
    assert "Posterior collapse" not in page_of(table_page).text


def test_labels_color_the_map_and_are_not_needed(table, table_model, table_page, page_of, tmp_path):
    def options(page):
        return [attributes["data-codes"] for tag, attributes in page.attributes if tag == "option"]

    assert len(options(page_of(table_page))) == 5
    study = study_of(table_model, table, label="kind", origin=None, num_samples=1, seed=0)
    from reparax.reports.latent import latent_map

    colorings = latent_map(study).blocks[1].colorings
    assert colorings[0].name == "kind"
    assert set(colorings[0].codes) == {"a", "b", "c"}
    with_labels = rx.read(table.with_columns(group=np.arange(90) % 12), label="group")
    colorings = latent_map(study_of(table_model, with_labels, label=None, origin=None, num_samples=1, seed=0)).blocks[1]
    assert colorings.colorings[0].legend[-1] == ("", "0 to 11, by rank")
    both = latent_map(study_of(table_model, with_labels, label="kind", origin=None, num_samples=1, seed=0)).blocks[1]
    assert [coloring.name for coloring in both.colorings[:2]] == ["kind", "label"]
    with pytest.raises(DataError, match="nose"):
        study_of(table_model, table, label="nose", origin=None, num_samples=1, seed=0)
    with pytest.raises(DataError, match="a label that is a column"):
        study_of(table_model, rx.read(table), label="nose", origin=None, num_samples=1, seed=0)


def test_the_origin_is_in_the_commands(table, table_model, tmp_path, page_of):
    path = tmp_path / "report.html"
    origin = Origin("my model", "people.csv", {"jax": "0.0.1"}, "2020-02-02")
    rx.report(table_model, table, path, num_samples=4, origin=origin, label="kind")
    text = page_of(path).text
    assert "reparax fit people.csv --out 'my model' --latent-dim 4 --width 4" in text
    assert "reparax report 'my model' people.csv --label kind --samples 4" in text
    assert "0.0.1 for the model" in text
    assert "2020-02-02" in text
    assert "Model of people.csv" in text


def test_a_model_without_a_density_says_so(tmp_path, make_model, page_of):
    rows = np.random.default_rng(0).normal(size=(30, 2)).round(2)
    fitted = make_model(rows, objective="reconstruction", latent_dim=1)
    path = tmp_path / "report.html"
    rx.report(fitted, rows, path, num_samples=1)
    page = page_of(path)
    assert "no density" in page.text
    assert "ELBO, nats" not in page.text


@pytest.mark.parametrize("posterior", [
    LADDER, *(pytest.param(each, marks=pytest.mark.full) for each in registry.names("posteriors") if each != LADDER),
])  # fmt: skip
def test_every_posterior_of_images_has_a_page(posterior, pictures, tmp_path, make_model, page_of):
    objective = "elbo" if registry.load("posteriors", posterior).has_density else "reconstruction"
    fitted = make_model(pictures, posterior=posterior, objective=objective)
    rx.report(fitted, pictures, tmp_path / "report.html", num_samples=2)
    text = page_of(tmp_path / "report.html").text
    layers = fitted.model.posterior.layer_slices
    assert ("KL of each layer" in text) == (len(layers) > 1 and posterior != "bottom-up")
    if posterior == "ladder":
        kl, exact = study_of(fitted, pictures, label=None, origin=None, num_samples=1, seed=0).information
        assert exact
        assert layers[-1][1] == len(kl)
        draws = [rx.evaluate(fitted, pictures, num_samples=50, seed=seed).kl for seed in range(3)]
        assert abs(kl.sum() - np.mean(draws)) < 0.1 * np.mean(draws)


def test_wrong_input_is_refused_before_anything_is_written(table, table_model, tmp_path):
    with pytest.raises(OutputError, match="html"):
        rx.report(table_model, table, tmp_path / "report.pdf")
    with pytest.raises(OutputError, match="no folder"):
        rx.report(table_model, table, tmp_path / "nowhere" / "report.html")
    with pytest.raises(DataError, match="kind"):
        rx.report(table_model, table.drop("kind"), tmp_path / "report.html")
    with pytest.raises(RecipeError, match="samples"):
        rx.report(table_model, table, tmp_path / "report.html", num_samples=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["W" * 30, "MAXIMUM AMOUNT OF MONEY", "日本語のカテゴリーの名前です", "illicit trifling", "i" * 60]
)
def test_labels_of_bars_are_cut_to_the_room_that_they_have(name):
    from reparax.reports.charts import ems, narrowed

    short = narrowed(name, 90.0)
    assert 11 * ems(short) <= 90
    assert short == name or (short.endswith("…") and name.startswith(short[:-1].rstrip()) and len(short) > 3)


@given(st.text(alphabet="<>&-'\" abE.", max_size=30))
def test_texts_with_options_of_the_command_line_are_shown_as_they_are(text):
    shown = _with_options(text)
    parts = re.split(r'<span class="option">(--[a-z][a-z0-9.-]*)</span>', shown)
    assert not any("<" in part or ">" in part for part in parts)
    assert html.unescape("".join(parts)) == text


@pytest.mark.parametrize("gap", ["", " ", None])
def test_labels_that_are_absent_are_said_to_be_missing(gap):
    labels = np.array(["a", gap, "b", gap, gap], object)
    coloring = _of_labels("kind", labels)
    assert coloring.legend == (("a", "a"), ("b", "b"), ("x", "missing"))
    assert coloring.codes == "axbxx"
    many = np.array([*map(str, range(12)), gap], object)
    assert _of_labels("kind", many).legend[-1] == ("x", "3 others, missing")
