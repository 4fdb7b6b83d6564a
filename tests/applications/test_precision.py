"""With how many bits products are computed: float32 in all that is reported, fewer in training where asked for."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.errors import RecipeError
from reparax.networks import with_bfloat16
from reparax.networks.convolutional import Convolutional
from reparax.networks.mlp import MLP
from reparax.networks.residual import Residual
from reparax.pytrees import partition

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|dot|convolution)\b.*")
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(203, 5)).astype(np.float32) @ RNG.normal(size=(5, 5)).astype(np.float32)
IMAGES = RNG.integers(0, 256, size=(67, 8, 8, 1)).astype(np.uint8)


@pytest.fixture
def programs(tmp_path):
    """The products in each program that is compiled, by the name of its file."""
    jax.config.update("jax_dump_ir_to", str(tmp_path))
    jax.clear_caches()

    def products() -> dict[str, list[str]]:
        found = {path.name: PRODUCT.findall(path.read_text()) for path in tmp_path.glob("*.mlir")}
        return {name: lines for name, lines in found.items() if lines}

    yield products
    jax.config.update("jax_dump_ir_to", "")


def use(model, data):
    """All that is computed with a fitted model."""
    rx.score(model, data, num_samples=3)
    codes = rx.encode(model, data)
    rx.decode(model, codes)
    rx.reconstruct(model, data)
    rx.sample(model, 3, key=jax.random.key(0))
    rx.evaluate(model, data, num_samples=3)


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        (TABLE, {"width": 8, "depth": 1}),
        pytest.param(TABLE, {"prior": "coupling-flow", "posterior": "low-rank-normal"}, marks=pytest.mark.full),
        pytest.param(TABLE, {"posterior": "fsq", "prior": "autoregressive-codes"}, marks=pytest.mark.full),
        (IMAGES, {"network": "convolutional", "width": 4, "depth": 1, "prior": "vamp"}),
    ],
    ids=["table", "flow", "codes", "images"],
)
def test_every_product_is_one_of_float32_numbers(programs, data, chosen):
    model = rx.fit(data, epochs=1, **chosen)
    use(model, data[:9])
    found = programs()
    assert len(found) >= 5
    for name, lines in found.items():
        for line in lines:
            assert "HIGHEST" in line, (name, line)


@pytest.mark.parametrize("precision", [pytest.param("tensorfloat32", marks=pytest.mark.full), "bfloat16"])
def test_training_alone_has_fewer_bits(programs, precision):
    model = rx.fit(TABLE, epochs=1, precision=precision, prior="coupling-flow")
    use(model, TABLE[:9])
    found = programs()
    training = [line for name, lines in found.items() if "chunk_steps" in name for line in lines]
    others = [line for name, lines in found.items() if "chunk_steps" not in name for line in lines]
    assert training
    assert others
    assert all("HIGHEST" in line and "bf16" not in line for line in others)
    assert any("bf16" in line for line in training) == (precision == "bfloat16")
    weights = jax.tree.leaves(partition(model.model)[0])
    weights = jax.tree.leaves(partition(model.model)[0])
    assert sum("HIGHEST" in line for line in training) <= len(weights)  # the norms of gradients
    assert all(leaf.dtype == jnp.float32 for leaf in weights)


@pytest.mark.parametrize(
    "chosen",
    [
        {"given": ("y",), "hide": 0.5},
        *(
            pytest.param(chosen, marks=pytest.mark.full)
            for chosen in (
                {}, {"ensemble": 2},  {"objective": "factor-vae"},
                {"posterior": "top-down-residual", "prior": "top-down"},
                {"posterior": "inverse-autoregressive-flow", "objective": "iwae"},
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_training_in_bfloat16_learns_as_much(chosen):
    line = RNG.normal(size=(400, 1))
    cells = line + 0.3 * RNG.normal(size=(400, 3))
    frame = pl.DataFrame(cells.astype(np.float32), schema=["x", "y", "z"])
    settings = {"epochs": 20, "batch_size": 32, "learning_rate": 3e-3, "width": 32, "depth": 1} | chosen
    plain, low = (rx.fit(frame, precision=precision, **settings) for precision in ("float32", "bfloat16"))
    codes = [rx.encode(model.members[0], frame).tolist() for model in (plain, low)]
    assert codes[0] != codes[1]
    bounds = [rx.evaluate(model, frame, num_samples=20).iwae for model in (plain, low)]
    assert abs(bounds[0] - bounds[1]) < 0.3, bounds


@pytest.mark.parametrize("architecture", [MLP(16, 2), Convolutional(4, 2), Residual(4, 2)], ids=str)
def test_what_a_network_gives_is_not_rounded(architecture):
    one, two = jax.random.split(jax.random.key(0))
    for network, x in (
        (architecture.encoder((9, 9, 1), 5, key=one), jax.random.normal(two, (9, 9, 1))),
        (architecture.decoder(3, (2, 9, 9, 1), key=one), jax.random.normal(two, (3,))),
    ):
        low = with_bfloat16(network)
        exact, rounded = network(x), low(x)
        assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)}
        assert rounded.dtype == jnp.float32
        assert jnp.any(rounded != rounded.astype(jnp.bfloat16).astype(jnp.float32))
        spread = float(jnp.std(exact))
        assert 0 < float(jnp.max(jnp.abs(exact - rounded))) < 0.05 * spread + 0.02
        gradient = jax.grad(lambda made, x=x: jnp.sum(with_bfloat16(made)(x) ** 2))(network)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))


def test_layers_that_there_are_not_are_refused():
    with pytest.raises(RecipeError, match="hidden layers"):
        rx.fit(TABLE, network="linear", likelihood="normal", precision="bfloat16", epochs=1)
    with pytest.raises(RecipeError, match="precision to be"):
        rx.fit(TABLE, precision="float16", epochs=1)
