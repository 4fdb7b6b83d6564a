"""The page for the browser: its numbers are those of the model, it runs without errors, data in it are text."""

import html
import json
import re
import shutil
import subprocess
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.errors import RecipeError
from reparax.exports._page import page_of

from .conftest import ARRAY, DATA_OF, IMAGES, RNG, TABLE, any_relations, made

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium")
LIKELIHOODS = (
    "columns",
    *(pytest.param(name, marks=pytest.mark.full)
      for name in ("categorical", "continuous-bernoulli", "discretized-logistic", "negative-binomial")),
)  # fmt: skip
HOSTILE = "</script><script>document.title='attacked'</script>"
COMMAND = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)  # fmt: skip


def about_of(page):
    return json.loads(re.search(r'<script type="application/json" id="about">(.*?)</script>', page, re.DOTALL)[1])


def in_node(page, z):
    """What the page's decoder makes of latent vectors, computed by node."""
    engine = re.search(r'"use strict";(.*?)// The page', page, re.DOTALL)[1]
    code = f"{engine}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    code += "const decode = decoderOf(given.graph), list = (out) => Object.fromEntries(Object.entries(out).map("
    code += "([key, x]) => [key, Array.from(x)])); console.log(JSON.stringify(given.z.map((z) => list(decode(z)))));"
    text = json.dumps({"graph": about_of(page)["graph"], "z": z.tolist()})
    done = subprocess.run([NODE, "-e", code], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's decoder")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_decoder_of_the_page_gives_the_numbers_of_the_model(likelihood):
    model = made(DATA_OF[likelihood], likelihood=likelihood)
    z = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    wanted = jax.vmap(model.fitted.model.expected)(jnp.asarray(z))
    found = in_node(page_of(model.fitted), z)
    for row, one in enumerate(found):
        np.testing.assert_allclose(one["mean"], np.ravel(wanted[row]), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's decoder")
def test_probabilities_are_those_of_the_columns():
    model = made(TABLE)
    z = np.asarray([[0.5, -1.0]], np.float32)
    page = page_of(model.fitted)
    found = in_node(page, z)[0]["probabilities"]
    column = next(each for each in about_of(page)["view"]["columns"] if each["name"] == "kind")
    assert column["categories"] == list(model.fitted.schema.columns[1].categories)
    # P(category | z) from the density of a row whose other cells are missing, without categories that never occurred.
    row = model.fitted.model.likelihood(jnp.asarray(z[0]))
    cells = [jnp.full(len(model.fitted.schema.columns), jnp.nan).at[1].set(code) for code in range(3)]
    wanted = np.exp([float(row.log_prob_of_cells(one)) for one in cells])
    start = column["start"]
    np.testing.assert_allclose(found[start : start + 3], wanted / wanted.sum(), atol=1e-5)


@pytest.mark.skipif(NODE is None, reason="needs node, to run the page's decoder")
@pytest.mark.parametrize("step", [0.0, 1 / 86400, 0.01, 0.25, 1 / 3, 1.0, 3.0])
def test_the_page_puts_columns_that_follow_from_others_together(step):
    about, extension, rows = any_relations(step)
    whole = extension.extended(rows)
    whole = whole[~np.isnan(whole).any(axis=1)]
    script = (files("reparax.exports") / "page.js").read_text("utf-8")
    code = "const about = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    code += script[script.index("const rint") : script.index("function numberText")]
    code += "console.log(JSON.stringify(about.rows.map((row) => rowOf(row))));"
    text = json.dumps({"view": about, "rows": whole.tolist()})
    done = subprocess.run([NODE, "-e", code], input=text, capture_output=True, text=True, check=True, timeout=60)
    assert len(whole) > 50
    np.testing.assert_allclose(json.loads(done.stdout), extension.collapsed(whole), rtol=1e-12)


def chromium(path, tmp_path, fragment=""):
    """The page after its scripts ran, and what it said on the console."""
    done = subprocess.run(
        [CHROMIUM, *COMMAND, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{path.as_uri()}{fragment}"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_runs_in_a_browser_and_hostile_names_are_text(tmp_path):
    table = pl.DataFrame({HOSTILE: RNG.normal(size=60), "kind": RNG.choice([HOSTILE, "b"], 60)})
    model = made(table)
    path = tmp_path / "page.html"
    rx.export(model.fitted, path, format="html", data=table)
    text = path.read_text("utf-8")
    assert text.count("<script") == 2
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", text.split('id="about"')[0])
    dom, said = chromium(path, tmp_path, "#z=0.5,-1&numbers")
    assert not said
    assert "<title>A model of a table</title>" in dom
    assert html.escape(HOSTILE, quote=False) in dom
    numbers = json.loads(html.unescape(re.search(r'<pre id="numbers"[^>]*>(.*?)</pre>', dom, re.DOTALL)[1]))
    wanted = np.asarray(model.fitted.model.expected(jnp.asarray([0.5, -1.0])))
    np.testing.assert_allclose(numbers["mean"], wanted, rtol=1e-4, atol=1e-4)


def test_the_same_model_gives_the_same_page_and_images_and_curves_have_views():
    images = made(IMAGES, likelihood="normal")
    assert page_of(images.fitted) == page_of(images.fitted)
    assert about_of(page_of(images.fitted, IMAGES))["view"]["kind"] == "image"
    assert about_of(page_of(images.fitted, IMAGES))["map"]["count"] == len(IMAGES)
    curve = made(RNG.normal(size=(40, 80)), likelihood="normal", posterior="gamma")
    about = about_of(page_of(curve.fitted))
    assert about["view"] == about["view"] | {"kind": "curve", "length": 80, "lines": 1}
    assert all(each["low"] >= 0 for each in about["latents"])


@pytest.mark.parametrize(
    ("data", "chosen", "words"),
    [
        (ARRAY, {"posterior": "bernoulli"}, "a latent space that sliders can show"),
        (IMAGES, {"network": "convolutional", "likelihood": "normal"}, "one with Conv"),
        (TABLE, {"given": ["kind"]}, "a conditional model"),
    ],
)
def test_models_that_the_page_cannot_show_are_refused_by_name(data, chosen, words):
    with pytest.raises(RecipeError, match=words):
        page_of(made(data, **chosen).fitted)
