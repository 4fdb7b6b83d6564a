"""The page for the browser: its numbers are those of the model, computed by node."""

import base64
import json
import math
import re
import shutil
import subprocess
from datetime import date
from importlib.resources import files

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import reparax as rx
from reparax import registry
from reparax.applications import dataset_of
from reparax.errors import RecipeError
from reparax.exports._convert import graph_of
from reparax.exports._onnx import onnx_model
from reparax.exports._page import page_of
from reparax.exports._page_functions import NUM_DRAWS
from reparax.exports._page_parts import SPACES
from reparax.networks import AbstractArchitecture, Affine, Linear
from reparax.recipe import given_numbers

from .conftest import ARRAY, IMAGES, RNG, ROWS, TABLE, any_relations, made, made_with

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node, to run the page's decoder")


def about_of(page):
    return json.loads(re.search(r'<script type="application/json" id="about">(.*?)</script>', page, re.DOTALL)[1])


def in_node(page, z, given=(), graph="graph"):
    """What a graph of the page makes of latent vectors and what is given with each, computed by node."""
    engine = re.search(r'"use strict";(.*?)// What is shown', page, re.DOTALL)[1]
    code = f"{engine}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    code += "const compute = functionOf(given.graph);"
    code += "const list = (out) => Object.fromEntries(Object.entries(out).map(([key, x]) => [key, Array.from(x)]));"
    code += "console.log(JSON.stringify(given.all.map((inputs) => list(compute(inputs)))));"
    rows = np.broadcast_to(np.asarray(given, np.float64), (len(z), len(given))) if np.ndim(given) == 1 else given
    inputs = [{"z": one.tolist(), "given": row.tolist()} for one, row in zip(z, np.asarray(rows), strict=True)]
    text = json.dumps({"graph": about_of(page)[graph], "all": inputs})
    done = subprocess.run([NODE, "-e", code], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PARTS = [
    ("likelihoods", "columns"), ("networks", "convolutional"),
    *(pytest.param(room, name, marks=pytest.mark.full)
      for room in ("likelihoods", "networks", "posteriors", "priors") for name in registry.names(room)
      if (room, name) not in {("likelihoods", "columns"), ("likelihoods", "by-view"), ("networks", "convolutional")}),
]  # fmt: skip


@needs_node
@pytest.mark.parametrize(("room", "name"), PARTS)
def test_the_decoder_of_the_page_gives_the_numbers_of_the_model(room, name):
    """For every part; those whose latent space the page cannot show are refused by its name."""
    model = made_with(room, name).fitted.model
    fitted = made_with(room, name).fitted
    size = math.prod(model.posterior.latent_shape)
    if model.posterior.latent_space not in SPACES:
        with pytest.raises(RecipeError, match=f"got {model.posterior.latent_space}"):
            page_of(fitted)
        return
    page = page_of(fitted)
    z = np.random.default_rng(0).uniform(0.1, 0.9, (4, size)).astype(np.float32)
    wanted = jax.vmap(lambda one: model.expected(one.reshape(model.posterior.latent_shape)))(jnp.asarray(z))
    for row, one in enumerate(in_node(page, z)):
        np.testing.assert_allclose(one["mean"], np.ravel(wanted[row]), rtol=1e-5, atol=1e-5)
    drawn = np.frombuffer(base64.b64decode(about_of(page)["draws"]), np.float32).reshape(-1, size)
    prior = model.prior(model.posterior)
    assert np.isfinite(jax.vmap(lambda one: prior.log_prob(one.reshape(model.posterior.latent_shape)))(drawn)).all()


@needs_node
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


GIVEN = {"kind": ["x", "z", "y"], "count": [0, 5, 2], "day": TABLE["day"][:3].to_list()}


@needs_node
@pytest.mark.parametrize(
    "prior",
    [
        "conditional-flow",
        *(
            pytest.param(name, marks=pytest.mark.full)
            for name in ("conditional-normal", "normal-mixture", "spline-flow")
        ),
    ],
)
def test_the_page_of_a_conditional_model_takes_what_is_given(prior):
    """Means and draws from the prior are those of rx.decode and of the model, for cells as a user writes them."""
    fitted = made(TABLE, given=["kind", "count", "day"], prior=prior).fitted
    page = page_of(fitted, TABLE)
    about = about_of(page)
    controls = {each["name"]: each for each in about["given"]}
    assert [controls[name]["what"] for name in ("kind", "count", "day")] == ["category", "number", "date"]
    assert controls["count"]["low"] == TABLE["count"].min()
    assert controls["count"]["high"] == TABLE["count"].max()
    cells = np.column_stack([
        [controls["kind"]["categories"].index(kind) for kind in GIVEN["kind"]], GIVEN["count"],
        [(day - date(1970, 1, 1)).days for day in GIVEN["day"]],
    ])  # fmt: skip
    given = cells - [controls[name]["offset"] for name in GIVEN]
    z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    wanted = rx.decode(fitted, z, context=GIVEN)
    found = in_node(page, z, given)
    offsets = [column["offset"] for column in about["view"]["columns"]]
    restored = fitted.units.restored(np.asarray([one["mean"] for one in found]))
    np.testing.assert_allclose(restored, wanted, rtol=1e-5, atol=1e-4)
    assert len(offsets) == len(fitted.schema.columns)
    numbers = given_numbers(fitted.schema.given, cells.astype(np.float64))
    for one, context in zip(in_node(page, z, given, "draws"), numbers, strict=True):
        plain = fitted.model.given(jnp.asarray(context))
        drawn = plain.prior(plain.posterior).sample(jax.random.key(0), (NUM_DRAWS,))
        np.testing.assert_allclose(one["draws"], np.ravel(drawn), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(about["map"]["given"], dataset_of(fitted, TABLE).conditions.values)


@needs_node
@pytest.mark.full
def test_draws_of_a_prior_of_pseudo_inputs_depend_on_what_is_given():
    sizes = RNG.normal(size=len(ARRAY))
    fitted = made(ARRAY, context={"size": sizes}, likelihood="normal", prior="vamp").fitted
    cells = np.asarray([[0.1], [0.9]])
    drawn = in_node(page_of(fitted), np.zeros((2, 2)), cells - about_of(page_of(fitted))["given"][0]["offset"], "draws")
    for one, context in zip(drawn, given_numbers(fitted.schema.given, cells), strict=True):
        plain = fitted.model.given(jnp.asarray(context))
        wanted = plain.prior(plain.posterior).sample(jax.random.key(0), (NUM_DRAWS,))
        np.testing.assert_allclose(one["draws"], np.ravel(wanted), rtol=1e-4, atol=1e-4)
    assert np.abs(np.subtract(drawn[0]["draws"], drawn[1]["draws"])).max() > 1e-3


ON_SPACE = {
    "real": lambda z: True,
    "positive": lambda z: True,
    "unit interval": lambda z: True,
    "class and real": lambda z: sorted(z[:2]) == [0, 1],
    "binary": lambda z: set(z) <= {0, 1},
    "count": lambda z: min(z) >= 0 and (z == np.rint(z)).all(),
    "simplex": lambda z: min(z) >= 0 and abs(z.sum() - 1) < 1e-9,
    "sphere": lambda z: abs(z @ z - 1) < 1e-9,
    "ball": lambda z: z @ z < 1,
    "one-hot": lambda z: sorted(z[:2]) == sorted(z[2:]) == [0, 1],
}


@needs_node
@pytest.mark.parametrize("space", SPACES)
def test_latent_vectors_stay_in_their_space(space):
    """After any move, and after a start anywhere; the number that was moved stays where that is possible."""
    script = (files("reparax.exports") / "controls.js").read_text("utf-8")
    code = "let about, z; const input = JSON.parse(require('fs').readFileSync(0, 'utf-8')); about = input.about;"
    code += script[script.index("const EDGE") : script.index("function choice")]
    code += "const after = ([start, moved]) => { z = start; settle(moved ?? undefined); return z; };"
    code += "console.log(JSON.stringify(input.all.map(after)));"
    rng = np.random.default_rng(0)
    low, high = np.clip(SPACES[space], -5, 5)
    starts = [rng.uniform(low, high, 4) for _ in range(60)] + [np.zeros(4), np.full(4, high), np.eye(4)[2]]
    starts = [np.rint(z) if space in {"binary", "count"} else z for z in starts]
    choices = {"one-hot": [0, 2], "class and real": [0]}.get(space, [])
    about = {"space": space, "choices": [{"start": start, "count": 2} for start in choices]}
    every = [(z.tolist(), moved) for z in starts for moved in (None, 0, 3)]
    done = subprocess.run(
        [NODE, "-e", code], input=json.dumps({"about": about, "all": every}), capture_output=True, text=True, check=True
    )
    for (start, moved), found in zip(every, json.loads(done.stdout), strict=True):
        assert np.isfinite(found).all()
        assert ON_SPACE[space](np.asarray(found)), (start, moved, found)
        if moved is not None and not (choices and moved in (0, 3)):
            assert abs(found[moved] - min(max(start[moved], 1e-6 if space == "simplex" else low), high)) < 2e-5


class Mixed(AbstractArchitecture):
    """A network that a user might write: convolutions with strides, dilation and groups, norms, attention, pooling."""

    width: int = 4
    depth: int = 1

    def encoder(self, event_shape, out_size, *, key):
        return Linear(self.width, self.depth).encoder(event_shape, out_size, key=key)

    def decoder(self, in_size, out_shape, *, key):
        keys = iter(jax.random.split(key, 9))
        return MixedDecoder(
            Affine(3 * in_size, 64, key=next(keys)), eqx.nn.ConvTranspose2d(4, 8, 4, 2, padding=1, key=next(keys)),
            eqx.nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, key=next(keys)), eqx.nn.GroupNorm(4, 8),
            eqx.nn.MultiheadAttention(2, 8, key=next(keys)), eqx.nn.LayerNorm(8),
            Affine(512, math.prod(out_shape), key=next(keys)), out_shape,
        )  # fmt: skip


class MixedDecoder(eqx.Module):
    stem: Affine
    up: eqx.nn.ConvTranspose2d
    wide: eqx.nn.Conv2d
    norm: eqx.nn.GroupNorm
    attention: eqx.nn.MultiheadAttention
    layer: eqx.nn.LayerNorm
    head: Affine
    out_shape: tuple = eqx.field(static=True)

    def __call__(self, z):
        x = jax.nn.relu(self.stem(jnp.tile(z, 3))).reshape(4, 4, 4)
        x = jax.nn.silu(self.norm(self.wide(self.up(x))))
        tokens = x.reshape(8, -1).T
        tokens = jax.vmap(self.layer)(tokens + self.attention(tokens, tokens, tokens))
        return self.head(jax.nn.softplus(jnp.ravel(tokens)) + jnp.round(z[0])).reshape(self.out_shape)


@needs_node
def test_networks_of_a_user_are_computed_in_the_page_and_in_onnxruntime():
    model = made(IMAGES, network=f"{__name__}:Mixed", likelihood="normal")
    page = page_of(model.fitted)
    assert {"Conv", "MatMul", "Round"} <= {node["op"] for node in about_of(page)["graph"]["nodes"]}
    z = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
    wanted = np.asarray(jax.vmap(model.fitted.model.expected)(jnp.asarray(z)))
    for row, one in enumerate(in_node(page, z)):
        np.testing.assert_allclose(one["mean"], np.ravel(wanted[row]), rtol=1e-5, atol=1e-4)
    session = onnxruntime.InferenceSession(
        onnx_model(graph_of(model.functions["decode"]), "decode", {}).SerializeToString()
    )
    np.testing.assert_allclose(session.run(["mean"], {"z": z})[0], wanted, rtol=1e-5, atol=1e-4)


@needs_node
@pytest.mark.parametrize("step", [0.0, 1 / 86400, 0.01, 0.25, 1 / 3, 1.0, 3.0])
def test_the_page_puts_columns_that_follow_from_others_together(step):
    about, extension, rows = any_relations(step)
    whole = extension.extended(rows)
    whole = whole[~np.isnan(whole).any(axis=1)]
    script = (files("reparax.exports") / "shown.js").read_text("utf-8")
    code = "const about = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    engine = (files("reparax.exports") / "engine.js").read_text("utf-8")
    code += next(line for line in engine.splitlines() if line.startswith("const even"))
    code += script[script.index("const stepped") : script.index("function numberText")]
    code += "console.log(JSON.stringify(about.rows.map((row) => rowOf(row))));"
    text = json.dumps({"view": about, "rows": whole.tolist()})
    done = subprocess.run([NODE, "-e", code], input=text, capture_output=True, text=True, check=True, timeout=60)
    assert len(whole) > 50
    np.testing.assert_allclose(json.loads(done.stdout), extension.collapsed(whole), rtol=1e-12)


def test_the_same_model_gives_the_same_page_and_images_and_curves_have_views():
    images = made(IMAGES, likelihood="normal")
    assert page_of(images.fitted) == page_of(images.fitted)
    assert about_of(page_of(images.fitted, IMAGES))["view"]["kind"] == "image"
    assert about_of(page_of(images.fitted, IMAGES))["map"]["count"] == len(IMAGES)
    curve = made(RNG.normal(size=(40, 80)), likelihood="normal", posterior="gamma")
    about = about_of(page_of(curve.fitted))
    assert np.frombuffer(base64.b64decode(about["draws"]), np.float32).min() > 0
    assert about["view"] == about["view"] | {"kind": "curve", "length": 80, "lines": 1}
    assert all(each["low"] >= 0 for each in about["latents"])


@pytest.mark.parametrize(
    ("data", "chosen", "words"),
    [
        (ARRAY, {"posterior": "vq", "likelihood": "normal"}, "a latent space that the page can show"),
        (ARRAY, {"likelihood": "normal", "context": RNG.normal(size=(40, 2))}, "a context of numbers without names"),
    ],
)
def test_models_that_the_page_cannot_show_are_refused_by_name(data, chosen, words):
    with pytest.raises(RecipeError, match=words):
        page_of(made(data, **chosen).fitted)
