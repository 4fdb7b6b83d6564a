"""Exported functions give the numbers of the model: ONNX in onnxruntime, StableHLO by jax.export, for every part."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import polars as pl
import pytest
from jax import export as jax_export

import reparax as rx
from reparax import registry
from reparax.applications import dataset_of
from reparax.applications._rows import importance_samples, map_rows
from reparax.exports._convert import graph_of
from reparax.exports._functions import Function, Port
from reparax.exports._onnx import onnx_model
from reparax.exports._stablehlo import stablehlo
from reparax.tables import NUM_PRIOR_DRAWS

from .conftest import ARRAY, ROWS, TABLE, assert_same, inputs_of, made, made_with, outputs_of

PARTS = [
    (room, name) for room in ("likelihoods", "networks", "posteriors", "priors") for name in registry.names(room)
    if name != "by-view"  # of several views, which are not exported
]  # fmt: skip
NEEDED = {
    "likelihoods": ("decode", "score"),
    "networks": ("encode", "decode", "score"),
    "posteriors": ("encode", "score"),
}
QUICK = {
    ("likelihoods", "columns"), ("likelihoods", "negative-binomial"), ("networks", "convolutional"),
    ("posteriors", "logistic-normal"), ("posteriors", "low-rank-normal"),
}  # fmt: skip
"""Parts that are exported to ONNX in the quick tests too: those with other operations than most."""
QUICK_STABLEHLO = {("posteriors", "full-covariance-normal"), ("networks", "mlp")}


def marked(quick):
    return [pytest.param(*part, marks=[] if part in quick else pytest.mark.full) for part in PARTS]


def in_onnxruntime(function, values):
    model = onnx_model(graph_of(function), function.name, {})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, values), strict=True))


def in_stablehlo(function, values):
    program = jax_export.deserialize(bytearray(stablehlo(function)))
    found = program.call(*(values[port.name] for port in function.inputs))
    return {key: np.asarray(value) for key, value in found.items()}, program


@pytest.mark.parametrize(("room", "name"), marked(QUICK))
def test_every_part_is_exported_to_onnx(room, name):
    model = made_with(room, name)
    for function in NEEDED.get(room, ("score",)):
        values = inputs_of(model, function)
        wanted = outputs_of(model, function, values)
        assert_same(in_onnxruntime(model.functions[function], values), wanted)


@pytest.mark.parametrize(("room", "name"), marked(QUICK_STABLEHLO))
def test_every_part_is_exported_to_stablehlo(room, name):
    model = made_with(room, name)
    for function in NEEDED.get(room, ("score",)):
        values = inputs_of(model, function)
        found, program = in_stablehlo(model.functions[function], values)
        assert_same(found, outputs_of(model, function, values))
        assert set(program.platforms) == {"cpu", "cuda", "tpu"}
        one = {key: value[:1] for key, value in values.items()}
        assert_same(
            {key: np.asarray(value) for key, value in program.call(*one.values()).items()},
            {key: value[:1] for key, value in found.items()},
        )


class Noise(eqx.Module):
    """The noise of the draws of z in rx.score, of a diagonal Normal posterior."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model, x, key):
        q = model.posterior(x)
        z, _ = importance_samples(model, q, key, self.num_samples)
        return (z - q.mean) / jnp.sqrt(q.variance)


@pytest.mark.parametrize("data", [ARRAY, pytest.param(TABLE, marks=pytest.mark.full)], ids=["array", "table"])
def test_functions_are_those_of_the_applications(data):
    """Codes, deviations, means, and with its noise the scores, are what rx.encode, rx.decode and rx.score give."""
    model = made(data, num_samples=20, **({"likelihood": "normal"} if data is ARRAY else {}))
    fitted, rows = model.fitted, data[:ROWS]
    values = inputs_of(model, "encode")
    found = outputs_of(model, "encode", values)
    np.testing.assert_allclose(found["z"], rx.encode(fitted, rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["z_std"], rx.encode_std(fitted, rows), rtol=1e-5)
    decoded = outputs_of(model, "decode", {"z": found["z"]})["mean"]
    np.testing.assert_allclose(fitted.units.restored(decoded), rx.decode(fitted, found["z"]), rtol=1e-5, atol=1e-5)
    dataset = dataset_of(fitted, rows)
    work = 20 + NUM_PRIOR_DRAWS if data is TABLE else 20
    noise = map_rows(Noise(20), fitted, dataset, transform=fitted.units.transform, key=jax.random.key(0), work=work)
    scored = outputs_of(model, "score", {"x": model.rows, "noise": np.asarray(noise)})
    wanted = rx.score(fitted, rows, num_samples=20)
    np.testing.assert_allclose(scored["log_density"], wanted.log_density, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scored["anomaly_score"], wanted.anomaly_score, rtol=1e-4, atol=1e-4)
    if data is TABLE:
        np.testing.assert_allclose(scored["shares"], wanted.shares, rtol=1e-3, atol=1e-4)


def test_batches_of_any_size_and_rows_do_not_depend_on_company():
    model = made(ARRAY, likelihood="normal")
    function = model.functions["score"]
    session = onnxruntime.InferenceSession(onnx_model(graph_of(function), "score", {}).SerializeToString())
    values = inputs_of(model, "score")
    together = session.run(None, values)
    for row in range(ROWS):
        alone = session.run(None, {key: value[row : row + 1] for key, value in values.items()})
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[row], rtol=1e-6, atol=1e-6)


def test_no_function_draws_random_numbers():
    """All operations of the graph are deterministic, and the noise changes the score."""
    model = made_with("posteriors", "logistic-normal")  # its code needs fixed draws
    for function in model.functions.values():
        nodes = onnx_model(graph_of(function), function.name, {}).graph.node
        assert not {node.op_type for node in nodes} & {"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"}
    values = inputs_of(model, "score")
    other = values | {"noise": values["noise"][::-1].copy()}
    assert not np.array_equal(
        outputs_of(model, "score", values)["log_density"], outputs_of(model, "score", other)["log_density"]
    )


def test_conditional_models_take_what_is_given():
    model = made(TABLE, given=["kind"], num_samples=2)
    assert [port.name for port in model.functions["encode"].inputs] == ["x", "given"]
    values = inputs_of(model, "encode") | {"given": np.asarray([[0], [1], [2], [0], [1], [2]], np.float32)}
    found = in_onnxruntime(model.functions["encode"], values)
    codes = [model.fitted.schema.given.columns[0].categories[int(code)] for code in values["given"][:, 0]]
    rows = TABLE[:ROWS].with_columns(kind=pl.Series("kind", codes))
    np.testing.assert_allclose(found["z"], rx.encode(model.fitted, rows), rtol=1e-5, atol=1e-5)


def priors_of(posterior):
    """The names of the priors that are exported to ONNX with a posterior for rows of a table."""
    space = registry.load("posteriors", posterior).latent_space
    return [
        name for name in registry.names("priors")
        if name not in {"vamp", "fitted-normal", "flow-matching"}
        and space in registry.load("priors", name).latent_spaces
    ]  # fmt: skip


QUICK_TABLES = {("poisson", "unit-poisson"), ("vq", "autoregressive-codes")}
ONE_OF_EACH_SPACE = ("bernoulli", "class-normal", "diagonal-normal", "poisson", "vq")


@pytest.mark.parametrize(("posterior", "prior"), [
    pytest.param(posterior, prior, marks=[] if (posterior, prior) in QUICK_TABLES else pytest.mark.full)
    for posterior in ONE_OF_EACH_SPACE for prior in priors_of(posterior)
])  # fmt: skip
def test_scores_of_conditional_tables_have_the_draws_of_any_prior(posterior, prior):
    """The score of a row has draws from the prior: of whole numbers too, and drawn one after the other."""
    model = made(TABLE, given=["kind"], num_samples=2, posterior=posterior, prior=prior)
    function, rng = model.functions["score"], np.random.default_rng(0)
    values = {
        port.name: rng.integers(0, 2, (ROWS, *port.shape)).astype(np.float32)
        for port in function.inputs if port.name != "x"
    } | {"x": model.rows}  # fmt: skip
    assert_same(in_onnxruntime(function, values), outputs_of(model, "score", values), tolerance=1e-4)


def test_pieces_of_no_length_are_no_pieces():
    """`jnp.pad` with the mode "edge" makes them where an axis is not padded; ONNX would repeat an edge instead."""
    call = lambda x: {"y": jnp.pad(x, ((0, 0), (1, 2), (2, 0)), mode="edge")}  # noqa: E731
    function = Function("pad", call, (Port("x", (2, 3, 4), ""),), (Port("y", (2, 6, 6), ""),))
    x = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)
    found = in_onnxruntime(function, {"x": x})["y"]
    np.testing.assert_array_equal(found, np.pad(x, ((0, 0), (0, 0), (1, 2), (2, 0)), mode="edge"))
