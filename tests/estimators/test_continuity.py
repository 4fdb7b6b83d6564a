"""Which functions of a sample jump, and what the front door does about it."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import AssumedContinuous

from ..monte_carlo import many, z_score


def step(z):
    return jnp.where(z > 0.5, 1.0, 0.0)


def test_pathwise_through_a_step_is_refused_and_auto_turns_to_the_score():
    q, key = dist.Normal(0.3, 1.0), jax.random.key(0)
    with pytest.raises(InvalidEstimator, match="AssumedContinuous"):
        rx.expectation(step, q, key=key, estimator="pathwise")
    with pytest.raises(InvalidEstimator, match="continuous"):
        rx.expectation(jnp.round, dist.Bernoulli(logits=0.3), key=key, estimator="gumbel-softmax")
    with pytest.warns(UserWarning, match="leave-one-out"):
        rx.expectation(step, q, key=key)

    def loss(loc, key):
        return rx.expectation(step, dist.Normal(loc, 1.0), key=key, estimator="leave-one-out")

    draws = many(lambda k: jax.grad(loss)(jnp.float32(0.3), k), 20000)
    assert z_score(draws, jax.scipy.stats.norm.pdf(0.2)) < 5


def test_a_function_assumed_continuous_is_not_inspected():
    def f(z, *, key):
        noisy = z**2 + 0.0 * jax.random.normal(key)
        return jax.lax.while_loop(lambda total: total > 1e9, jnp.sqrt, noisy)

    q = dist.Normal(0.3, 1.0)
    with pytest.raises(InvalidEstimator):
        rx.expectation(f, q, key=jax.random.key(0), estimator="pathwise")
    value = rx.expectation(AssumedContinuous(f), q, key=jax.random.key(0), estimator="pathwise")
    assert value > 0
    np.testing.assert_allclose(AssumedContinuous(jnp.abs)(-2.0), 2.0)


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


def test_a_jump_in_one_variable_moves_the_estimator_of_that_variable_alone():
    def loss(theta, key, estimator):
        q = {"a": dist.Normal(theta[0], 1.0), "b": dist.Normal(theta[1], 1.0)}

        def f(z):
            return jnp.where(z["a"] > 0, 1.0, 0.0) + z["b"] ** 2

        return rx.expectation(f, q, key=key, num_samples=4, estimator=estimator)

    def exact(theta):
        return jax.scipy.stats.norm.cdf(theta[0]) + theta[1] ** 2 + 1

    theta = jnp.array([0.3, 2.0])
    with pytest.warns(UserWarning, match=r"z\['a'\]"):
        mixed = many(lambda k: jax.grad(loss)(theta, k, "auto"), 20000)
    with pytest.warns(UserWarning, match="leave-one-out"):
        named = many(lambda k: jax.grad(loss)(theta, k, {"a": "auto", "b": "pathwise"}), 100)
    scores = many(lambda k: jax.grad(loss)(theta, k, "leave-one-out"), 20000)
    assert z_score(mixed, jax.grad(exact)(theta)) < 5
    np.testing.assert_allclose(named[:, 1], mixed[:100, 1], atol=10)
    assert np.var(mixed[:, 1]) < np.var(scores[:, 1]) / 5
    with pytest.raises(InvalidEstimator, match=r"z\['a'\]"):
        loss(theta, jax.random.key(0), {"a": "pathwise", "b": "auto"})


def test_a_jump_whose_place_moves_with_a_value_inside_f_is_refused_where_that_is_differentiated():
    q, key = dist.Normal(0.0, 1.0), jax.random.key(0)

    def above(c, estimator="leave-one-out"):
        return rx.expectation(lambda z: (z > c).astype(float), q, key=key, num_samples=50, estimator=estimator)

    assert 0 < above(0.2) < 1
    assert 0 < jax.jit(above)(0.2) < 1
    for gradient in (jax.jit(jax.grad(above)), jax.grad(jax.jit(above))):
        with pytest.raises(InvalidEstimator, match=r"move the parameter into q.*boundary"):
            gradient(jnp.float32(0.2))
    with pytest.raises(InvalidEstimator, match="move the parameter"):
        jax.grad(lambda c: rx.expectation(lambda z: jnp.where(z > c, 1.0, 0.0), dist.Normal(c, 1.0), key=key,
                                          estimator="leave-one-out"))(0.3)  # fmt: skip
    # A value that scales the jump, or chooses between others, does not move it.
    scaled = jax.grad(
        lambda c: rx.expectation(
            lambda z: c * (z > 0.2).astype(float), q, key=key, num_samples=50, estimator="leave-one-out"
        )
    )
    np.testing.assert_allclose(scaled(jnp.float32(3.0)), above(0.2), rtol=1e-5)
    # Neither does one in the place of a jump of a variable that is discrete.
    counted = jax.grad(
        lambda c: rx.expectation(
            lambda n: jnp.where(n.astype(float) > c, c, 0.0), dist.Poisson(2.0), key=key, num_samples=9
        )
    )
    assert 0 <= counted(jnp.float32(1.5)) <= 1


def test_a_derivative_that_is_held_back_is_said():
    q, key = dist.Normal(0.7, 1.0), jax.random.key(0)

    def f(z):
        return z * jax.lax.stop_gradient(z)

    def loss(loc, key, estimator):
        return rx.expectation(f, dist.Normal(loc, 1.0), key=key, num_samples=4, estimator=estimator)

    with pytest.warns(UserWarning, match="leave-one-out"):
        draws = many(lambda k: jax.grad(loss)(0.7, k, "auto"), 20000)
    assert z_score(draws, 1.4) < 5
    with pytest.warns(UserWarning, match=r"not E\[f\]"):
        rx.expectation(f, q, key=key, estimator="pathwise")
    surrogate = many(
        lambda k: jax.grad(lambda loc: rx.expectation(AssumedContinuous(f), dist.Normal(loc, 1.0), key=k))(0.7), 5000
    )
    assert z_score(surrogate, 0.7) < 5


def test_expectations_inside_f_are_trusted_unless_they_jump():
    key = jax.random.key(0)

    def smooth(z, *, key):
        return rx.expectation(lambda n: n.astype(float) * z, dist.Poisson(jnp.exp(z)), key=key, num_samples=2)

    def loss(loc, key):
        return rx.expectation(smooth, dist.Normal(loc, 0.5), key=key)

    draws = many(lambda k: jax.grad(loss)(0.3, k), 20000)
    assert z_score(draws, jax.grad(lambda m: (m + 0.25) * jnp.exp(m + 0.125))(0.3)) < 5

    def jumping(z, *, key):
        return rx.expectation(
            lambda y: (y > z).astype(float), dist.Normal(0.0, 1.0), key=key, estimator="leave-one-out"
        )

    with pytest.raises(InvalidEstimator, match="expectation inside f"):
        rx.expectation(jumping, dist.Normal(0.0, 1.0), key=key, estimator="pathwise")
    with pytest.warns(UserWarning, match="leave-one-out"):
        slopes = many(lambda k: jax.grad(lambda m: rx.expectation(jumping, dist.Normal(m, 1.0), key=k))(0.3), 20000)
    assert z_score(slopes, -jax.scipy.stats.norm.pdf(0.3, scale=jnp.sqrt(2.0))) < 5
