"""The model card: what a Markdown parser and a YAML reader make of it, and that it holds no more than the schema."""

import re

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import reparax as rx
from reparax.artifact import CARD, check_folder
from reparax.card import LONGEST_NAME, escaped, model_card
from reparax.data import split
from reparax.errors import OutputError
from reparax.recipe import FittedModel, build
from reparax.training import Record

HOSTILE = (
    "<script>alert(1)</script>", "a | b", "**bold** `code`", "[link](javascript:alert(1))", "![i](http://x/y.png)",
    "# head\n---\nx", "&lt;b&gt;", "\u202egnp.exe", "$x^2$", "http://example.com", "1. item",
    "\\|", "a\x00b", "@user #1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def untrained(data, **chosen):
    dataset = rx.read(data)
    recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 2} | chosen))
    part, _ = split(dataset, recipe.valid, recipe.seed)
    model = build(recipe, part.schema, key=jax.random.key(0))
    terms = {"bound": -1.5, "reconstruction": -1.25, "kl": 0.25}
    looks = [Record(1.0, 2, terms, terms | {"bound": -9.0, "bound_standard_error": 0.5}, 0.25)]
    looks += [Record(2.0, 4, terms, terms | {"bound_standard_error": 0.125}, 0.5)]
    return FittedModel(model, part.schema, recipe, looks, "stopped early")


@pytest.fixture(scope="module")
def hostile():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rng = np.random.default_rng(0)
        columns = {name: rng.normal(size=60) for name in HOSTILE}
        return untrained(pl.DataFrame(columns | {"kind": rng.choice(HOSTILE[:4], 60)}))


def tokens(card):
    """The parts of the Markdown after the header, those inside of lines included."""
    body = card.split("---\n", 2)[2]
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(body):
        yield token
        yield from token.children or ()


def test_names_and_categories_are_text_to_a_parser_of_markdown(hostile):
    card = model_card(hostile, {"reparax": "0"}, 1)
    found = list(tokens(card))
    assert not {token.type for token in found} & {"html_inline", "html_block", "image", "link_open", "strong_open"}
    cells = [token.content for token in found if token.type == "inline"]
    shown = [
        "".join(child.content for child in token.children) for token in found if token.type == "inline"
    ]  # as a reader sees it
    for name in HOSTILE:
        plain = " ".join(re.sub("[\x00\u202e]", "\ufffd", name).split())
        assert plain in shown, name
    assert len(cells) == len(shown)
    # No URL that a renderer could make a link of by itself, and no mention.
    assert "http://" not in card
    assert "@user" not in card


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_escaped_to_one_line_that_reads_as_itself(text):
    line = escaped(text)
    assert len(line.splitlines()) <= 1
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(f"| a |\n| --- |\n| x{line}x |\n")
    inline = [token for token in parsed if token.type == "inline"]
    assert len(inline) == 2
    read = "".join(child.content for child in inline[1].children)
    assert {child.type for child in inline[1].children} <= {"text", "text_special"}
    if text.isprintable() and len(text) <= LONGEST_NAME and not re.search(r"[\u200b-\u206f\ufeff]", text):
        assert read == f"x{' '.join(text.split())}x"


def test_the_header_is_what_hubs_read(hostile):
    card = model_card(hostile, {"reparax": "0"}, 1)
    _, header, _ = card.split("---\n", 2)
    assert header.splitlines()[0] == "library_name: reparax"
    assert "- tabular" in header.splitlines()
    assert header.isascii()


def test_figures_are_those_of_the_kept_look_with_its_standard_error(hostile):
    card = model_card(hostile, {"reparax": "0"}, 1)
    assert "| -1.50 | \u00b1 0.12 |" in card
    assert "-9.00" not in card
    assert "also chose the epoch" in card


def test_nothing_of_the_data_is_in_it_that_the_schema_does_not_hold(tmp_path):
    rng = np.random.default_rng(1)
    secrets = [f"person-{number:05}" for number in rng.permutation(99_999)[:300]]
    frame = pl.DataFrame({"name": secrets, "height": np.round(rng.normal(1.7, 0.1, 300), 6)})
    fitted = untrained(frame)
    rx.save(fitted, tmp_path / "model")
    card = (tmp_path / "model" / CARD).read_text("utf-8")
    stored = (tmp_path / "model" / "model.json").read_text("utf-8")
    assert not [name for name in secrets if name in card and name not in stored]
    column = fitted.schema.columns[0]
    shown = {float(cell.replace("&#46;", ".")) for cell in re.findall(r"\d&#46;\d{4,}", card)}
    assert shown == {float(f"{end:.6g}") for end in (column.low, column.high)}


def test_the_same_model_gives_the_same_bytes_and_an_old_folder_still_loads(tmp_path, hostile):
    for name in ("one", "two"):
        rx.save(hostile, tmp_path / name)
    assert (tmp_path / "one" / CARD).read_bytes() == (tmp_path / "two" / CARD).read_bytes()
    (tmp_path / "one" / CARD).unlink()
    assert rx.load(tmp_path / "one").recipe == hostile.recipe
    (tmp_path / "two" / CARD).write_text("edited, which loading ignores")
    assert rx.load(tmp_path / "two").recipe == hostile.recipe
    rx.save(hostile, tmp_path / "two")
    assert "edited" not in (tmp_path / "two" / CARD).read_text("utf-8")


def test_a_readme_of_others_is_not_replaced(tmp_path):
    (tmp_path / CARD).write_text("of a project")
    with pytest.raises(OutputError, match=r"README\.md"):
        check_folder(tmp_path)


def test_cards_of_images_arrays_and_models_without_a_density_or_recipe(tmp_path):
    rng = np.random.default_rng(0)
    images = untrained(rng.integers(0, 256, (40, 4, 4)).astype(np.uint8))
    assert "unconditional-image-generation" in model_card(images, {}, 3)
    array = untrained(
        rng.normal(size=(40, 3)).astype(np.float32), posterior="deterministic", objective="reconstruction"
    )
    assert "no density" in model_card(array, {}, 3)
    custom = FittedModel(array.model, array.schema)
    assert "model=your_model" in model_card(custom, {}, 3)
    assert "the record of training is empty" in model_card(custom, {}, 3)


def test_the_lines_of_python_in_the_card_run(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=40), "b": rng.choice(["x", "y"], 40)})
    rx.save(untrained(frame), tmp_path / "MODEL")
    frame.write_csv(tmp_path / "new.csv")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "MODEL" / CARD).read_text("utf-8"), re.DOTALL)[1]
    names = {}
    exec(compile(code, "card", "exec"), names)
    assert names["codes"].shape == (40, 2)
    assert len(names["drawn"]) == 100
