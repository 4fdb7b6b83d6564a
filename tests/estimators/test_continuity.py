"""Which functions of a sample jump, and what the front door does about it."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import GumbelSoftmax, Pathwise, Vouched
from reparax.estimators._continuity import find_jump

from .statistics import many, z_score

X = jnp.ones(3)
CONTINUOUS = {
    "relu": jax.nn.relu, "elu": jax.nn.elu, "softplus": jax.nn.softplus, "logsumexp": jax.nn.logsumexp,
    "abs": jnp.abs, "max": lambda x: jnp.maximum(x, 0.3), "clip": lambda x: jnp.clip(x, -1, 1),
    "logaddexp": lambda x: jnp.logaddexp(x, 0.0), "xlogy": lambda x: jax.scipy.special.xlogy(jnp.abs(x), jnp.abs(x)),
    "leaky relu": jax.nn.leaky_relu, "selu": jax.nn.selu, "gelu": jax.nn.gelu, "silu": jax.nn.silu,
    "huber": lambda x: jnp.where(jnp.abs(x) < 1, 0.5 * x**2, jnp.abs(x) - 0.5), "softmax": jax.nn.softmax,
    "hinge": lambda x: jnp.where(x > 2.0, x - 2.0, 0.0), "sort": jnp.sort, "median": jnp.median,
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + jax.nn.elu(y), c), 0.0, x),
    "guarded": lambda x: jnp.where(x == 0, 1.0, x), "straight-through": lambda x: x + jax.lax.stop_gradient(x > 0),
    "log ndtr": jax.scipy.special.log_ndtr, "student": lambda x: jax.scipy.stats.t.logpdf(x, 3.0),
    "under jit": jax.jit(lambda x: jnp.where(x > 0, x, 0.1 * x)), "remat": jax.checkpoint(jax.nn.elu),
    "absolute value by sign": lambda x: x * jnp.sign(x), "minimum by argmin": lambda x: x[jnp.argmin(x)],
    "double where": lambda x: jnp.where(x > 1.0, jnp.log(jnp.where(x > 1.0, x, 1.0)), 0.0),
    "bounds": lambda x: jnp.where((jnp.exp(x) > 0) & (jnp.exp(x) < 9.0), x, -jnp.inf),
    "periodic": lambda x: jnp.cos(jnp.remainder(x, 2 * jnp.pi)),
    "numpyro": lambda x: dist.Beta(2.0, 3.0).log_prob(jax.nn.sigmoid(x)),
    "Bernoulli decoder": lambda x: dist.Bernoulli(logits=2 * x).log_prob(jnp.ones(3)),
}  # fmt: skip
DISCONTINUOUS = {
    "step": lambda x: jnp.where(x > 0, 1.0, 0.0), "comparison": lambda x: (x > 0).astype(float), "sign": jnp.sign,
    "floor": jnp.floor, "round": jnp.round, "argmax": lambda x: jnp.arange(3.0)[jnp.argmax(x)],
    "hard threshold": lambda x: jnp.where(x > 0.3, x, 0.0), "cast": lambda x: x.astype(int),
    "branch": lambda x: jax.lax.cond(x[0] > 0, lambda: 1.0, lambda: 0.0),
    "guarded but stepping": lambda x: jnp.where(x > 1.0, jnp.log(jnp.where(x > 1.0, x, 1.0)), 0.5),
    "sawtooth": lambda x: jnp.remainder(x, 1.0), "shifted": lambda x: jnp.where(x > 0, x, x**2 + 1),
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + jnp.where(y > 0, 1.0, 0.0), c), 0.0, x),
    "while": lambda x: jax.lax.while_loop(lambda c: c < x[0], lambda c: c + 1, 0.0),
    "under jit": jax.jit(lambda x: jnp.where(jnp.sin(x) > 0.2, 1.0, 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_functions_pass(name):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert find_jump(lambda x, _: CONTINUOUS[name](x), X) is None


@pytest.mark.parametrize("name", DISCONTINUOUS)
def test_functions_that_jump_are_found(name):
    assert find_jump(lambda x, _: DISCONTINUOUS[name](x), X) is not None


def test_a_switch_between_traced_parameters_is_judged_too():
    def verdict(good):
        def inside(w):
            jump = find_jump(lambda z, _: jnp.where(z * w > w, z * w, w if good else 0.0 * w), X)
            return jnp.float32(jump is None)

        return jax.jit(inside)(X)

    assert verdict(True) == 1
    assert verdict(False) == 0


def step(z):
    return jnp.where(z > 0.5, 1.0, 0.0)


def test_pathwise_through_a_step_is_refused_and_auto_turns_to_the_score():
    q, key = dist.Normal(0.3, 1.0), jax.random.key(0)
    with pytest.raises(InvalidEstimator, match="Vouched"):
        rx.expectation(step, q, key=key, estimator="pathwise")
    with pytest.raises(InvalidEstimator, match="comparison"):
        Pathwise().check(q, step)
    with pytest.raises(InvalidEstimator, match="continuous"):
        GumbelSoftmax().check(dist.Bernoulli(logits=0.3), lambda z: jnp.round(z))
    with pytest.warns(UserWarning, match="leave-one-out"):
        rx.expectation(step, q, key=key)

    def loss(loc, key):
        return rx.expectation(step, dist.Normal(loc, 1.0), key=key, estimator="leave-one-out")

    draws = many(lambda k: jax.grad(loss)(jnp.float32(0.3), k), 20000)
    assert z_score(draws, jax.scipy.stats.norm.pdf(0.2)) < 5


def test_a_vouched_function_is_not_inspected():
    def f(z, *, key):
        loop = jax.lax.fori_loop(0, 3, lambda i, total: total + z**2, 0.0 * jax.random.normal(key))
        return jax.lax.while_loop(lambda total: total > 1e9, jnp.sqrt, loop)

    q = dist.Normal(0.3, 1.0)
    with pytest.raises(InvalidEstimator):
        rx.expectation(f, q, key=jax.random.key(0), estimator="pathwise")
    value = rx.expectation(Vouched(f), q, key=jax.random.key(0), estimator="pathwise")
    assert value > 0
    np.testing.assert_allclose(Vouched(jnp.abs)(-2.0), 2.0)


def test_an_angle_needs_a_periodic_function():
    q, key = dist.VonMises(0.3, 2.0), jax.random.key(0)
    with pytest.raises(InvalidEstimator, match="angle"):
        rx.expectation(lambda z: z, q, key=key, estimator="pathwise")

    def loss(theta, key, estimator, f):
        return rx.expectation(f, dist.VonMises(theta[0], theta[1]), key=key, num_samples=4, estimator=estimator)

    theta = jnp.array([0.3, 2.0])
    grid = jnp.linspace(-jnp.pi, jnp.pi, 4001)

    def exact(theta, f):
        density = jnp.exp(theta[1] * jnp.cos(grid - theta[0]))
        return jnp.trapezoid(density * f(grid)) / jnp.trapezoid(density)

    for estimator, f in (("auto", jnp.cos), ("leave-one-out", lambda z: z)):
        draws = many(lambda k, e=estimator, f=f: jax.grad(loss)(theta, k, e, f), 10000)
        assert z_score(draws, jax.grad(exact)(theta, f)) < 5


def test_auto_raises_where_neither_the_path_nor_the_score_is_right():
    with pytest.raises(InvalidEstimator, match="continuous"):
        rx.expectation(step, dist.Uniform(0.0, 1.0), key=jax.random.key(0))
