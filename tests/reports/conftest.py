"""Small models that were hardly trained, and their pages, made once."""

from contextlib import contextmanager
from html.parser import HTMLParser

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import known_by
from reparax.data import split
from reparax.recipe import build
from reparax.training import Record

VOID = {"meta", "img", "input", "br", "link", "hr"}
SCRIPT = "<script>alert('x')</script>"
MARKUP = '"></svg></style><b onmouseover="1">'


@contextmanager
def relaxed():
    """A user's process runs with jax's own settings, and numpyro needs them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with relaxed():
        yield


class Page(HTMLParser):
    """A page taken apart: its tags, ids, headings, addresses and text; fails where tags are not balanced."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.attributes if "id" in attributes]

    def values(self, name):
        return [attributes[name] for _, attributes in self.attributes if name in attributes]


@pytest.fixture(scope="session")
def page_of():
    """The function that takes a page apart."""
    return lambda path: Page(path.read_text(encoding="utf-8"))


def untrained(source, **chosen):
    """A model without the time that training takes, with a history made up."""
    dataset = rx.read(source)
    with relaxed():
        recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 4} | chosen))
        part, rest = split(dataset, recipe.valid, recipe.seed)
        model = build(recipe, part.schema, key=jax.random.key(0))
    history = [
        Record(float(k), 10 * k, *(dict.fromkeys(("bound", "reconstruction", "kl"), -100.0 / k),) * 2, 0.1 * k)
        for k in range(1, 6)
    ]
    return known_by(rx.FittedModel(model, part.schema, recipe, history), rest)


@pytest.fixture(scope="session")
def make_model():
    """The function that makes an untrained model."""
    return untrained


@pytest.fixture(scope="session")
def table():
    """Rows of several kinds, with gaps, and names and categories that would be markup."""
    rng = np.random.default_rng(0)
    count = 90
    size = rng.normal(170, 10, count).round(1)
    return pl.DataFrame(
        {
            SCRIPT: pl.Series(size).set(pl.Series(rng.random(count) < 0.1), None),
            "weight": (size * 0.6 + rng.normal(size=count)).round(2),
            "kind": rng.choice(["plain", MARKUP, "a & b"], count),
            "day": pl.Series(np.datetime64("2024-01-01") + rng.integers(0, 300, count)),
            "count": rng.poisson(3, count),
            "name": [f"person number {index} of the list" for index in range(count)],
        }
    )


@pytest.fixture(scope="session")
def pictures():
    """Tiny images."""
    return np.random.default_rng(0).integers(0, 17, (40, 6, 5)).astype(np.float64)


@pytest.fixture(scope="session")
def table_model(table):
    return untrained(table)


@pytest.fixture(scope="session")
def table_page(table, table_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "table.html"
    with relaxed():
        rx.report(table_model, table, path, num_samples=4)
    return path


@pytest.fixture(scope="session")
def picture_page(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "pictures.html"
    with relaxed():
        rx.report(untrained(pictures), pictures, path, num_samples=4)
    return path
