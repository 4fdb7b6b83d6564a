"""Learned dials: less noise than the ones they started at, and no bias."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import REBAR, RELAX, LeaveOneOut, StraightThrough, adapt

from ..monte_carlo import many, z_score
from .problems import PROBLEMS

KEY = jax.random.key(0)
MAKE, F, EXACT, THETA = PROBLEMS["bernoulli"]


class Network(eqx.Module):
    """A control variate with weights: a small network of the noisy logits."""

    layers: list[eqx.nn.Linear]

    def __init__(self, size, key):
        first, second = jax.random.split(key)
        self.layers = [eqx.nn.Linear(size, 8, key=first), eqx.nn.Linear(8, "scalar", key=second)]

    def __call__(self, noisy):
        return self.layers[1](jnp.tanh(self.layers[0](jax.nn.sigmoid(2.0 * noisy))))


def toy(b):
    """The Bernoulli toy of Tucker et al. (2017): nearly flat in b, and steeply curved between its values."""
    return jnp.mean((b.astype(float) - 0.45) ** 2)


def gradients(f, make, theta, estimator, num_samples, repeats):
    def loss(t, key):
        return rx.expectation(f, make(t), key=key, num_samples=num_samples, estimator=estimator)

    return np.asarray(many(lambda key: jax.grad(loss)(theta, key), repeats), np.float64)


def bits(logits):
    return dist.Bernoulli(logits=logits).to_event(1)


def total(draws):
    return draws.var(axis=0).sum()


def test_rebar_adapts_without_bias():
    start = REBAR(scale=1.0)
    found = adapt(start, F, MAKE(THETA), key=KEY, num_samples=4, steps=100)
    before, after = (gradients(F, MAKE, THETA, part, 4, 20000) for part in (start, found))
    assert z_score(after, jax.grad(EXACT)(THETA)) < 5
    assert total(after) < 0.95 * total(before)
    assert found.temperature > 0


@pytest.mark.full
def test_the_weights_of_a_control_variate_are_learned_without_bias():
    start = RELAX(Network(3, jax.random.key(1)), scale=1.0)
    found = adapt(start, F, MAKE(THETA), key=KEY, num_samples=2, steps=200)
    before, after = (gradients(F, MAKE, THETA, part, 2, 20000) for part in (start, found))
    assert z_score(after, jax.grad(EXACT)(THETA)) < 5
    assert total(after) < 0.6 * total(before)


def nothing(*noisy):
    return jnp.zeros(())


def test_relax_with_the_relaxed_f_and_no_surrogate_is_rebar_to_the_bit():
    for options in ({"temperature": 0.4}, {"temperature": 0.4, "scale": 0.7}):
        two = (gradients(F, MAKE, THETA, part, 4, 200) for part in (REBAR(**options), RELAX(nothing, **options)))
        np.testing.assert_array_equal(*two)


def test_relax_with_the_relaxed_f_needs_a_continuous_f():
    def jumps(b):
        return jnp.sum(jnp.where(b > 0.5, 2.0, -1.0))

    for temperature, refused in ((None, False), (0.5, True)):
        estimator = RELAX(lambda noisy: jnp.sum(jnp.tanh(noisy)), temperature=temperature)
        with pytest.raises(InvalidEstimator, match=r"continuous|jump") if refused else contextlib.nullcontext():
            rx.expectation(jumps, MAKE(THETA), key=KEY, num_samples=4, estimator=estimator)


@pytest.mark.full
def test_a_surrogate_beside_the_relaxed_f_lowers_the_variance_of_rebar():
    """Both at the temperature and the weight that are best for REBAR."""
    rebar = adapt(REBAR(), F, MAKE(THETA), key=KEY, num_samples=4)
    network = Network(3, jax.random.key(1))
    last = network.layers[1]
    silent = eqx.tree_at(lambda made: made.layers[1], network, jax.tree.map(jnp.zeros_like, last))
    start = RELAX(silent, scale=rebar.scale, temperature=rebar.temperature)
    relax = adapt(start, F, MAKE(THETA), key=jax.random.key(1), num_samples=4)
    of_rebar, of_relax = (gradients(F, MAKE, THETA, part, 4, 20000) for part in (rebar, relax))
    assert z_score(of_relax, jax.grad(EXACT)(THETA)) < 5
    assert total(of_relax) < 0.98 * total(of_rebar)


def test_untuned_rebar_is_near_leave_one_out_on_the_toy():
    """840 times DisARM's variance per evaluation before; fitting eta to the other draws leaves leave-one-out's."""
    logits = jnp.zeros(20)
    draws = {name: total(gradients(toy, bits, logits, name, 16, 2000)) for name in ("rebar", "leave-one-out")}
    assert draws["rebar"] < 1.1 * draws["leave-one-out"]


def test_one_fitted_weight_serves_several_outputs():
    """A pytree of outputs of several shapes: each gradient is unbiased for its own."""

    def f(b):
        b = b.astype(float)
        return {"whole": F(b), "parts": jnp.stack([b[0] * b[1], b[2]])}

    p = jax.nn.sigmoid(THETA)
    slopes = jnp.stack([p[0] * p[1] * (1 - p[0]), p[0] * p[1] * (1 - p[1]), jnp.float32(0)])

    def loss(t, key):
        return rx.expectation(f, MAKE(t), key=key, num_samples=5, estimator="rebar")

    draws = many(lambda key: jax.jacrev(loss)(THETA, key), 10000)
    assert z_score(draws["whole"], jax.grad(EXACT)(THETA)) < 5
    assert z_score(draws["parts"][:, 0], slopes) < 5
    assert z_score(draws["parts"][:, 1], jnp.array([0.0, 0.0, p[2] * (1 - p[2])])) < 5


@pytest.mark.parametrize("logit", [-12.0, 9.0, 40.0])
def test_relaxations_of_improbable_bits_are_finite(logit):
    logits = jnp.full(4, logit)
    draws = gradients(toy, bits, logits, "rebar", 4, 500)
    assert np.isfinite(draws).all()
    p = jax.nn.sigmoid(jnp.float32(logit))
    assert z_score(draws, jnp.full(4, p * (1 - p) * 0.1 / 4)) < 5


def test_parameters_and_an_optimizer_of_ones_own():
    found = adapt(
        REBAR(), lambda b, w: F(b) * w["weight"], lambda w: MAKE(w["logits"]), key=KEY, num_samples=4, steps=5,
        parameters={"weight": jnp.float32(2.0), "logits": THETA}, optimizer=optax.sgd(1e-3),
    )  # fmt: skip
    assert isinstance(found, REBAR)


def test_what_cannot_be_adapted():
    q = MAKE(THETA)
    with pytest.raises(InvalidEstimator, match="has none"):
        adapt(LeaveOneOut(), F, q, key=KEY)
    with pytest.raises(InvalidEstimator, match="price of bias"):
        adapt(StraightThrough(), F, q, key=KEY)
    with pytest.raises(InvalidEstimator, match="infinite one at step"):
        adapt(REBAR(), F, q, key=KEY, num_samples=4, steps=20, optimizer=optax.sgd(1e6))
