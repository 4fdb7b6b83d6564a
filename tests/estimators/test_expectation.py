"""The front door: values, derivatives of every order, and every place it can stand in."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator, RecipeError
from reparax.estimators import Enumeration, LeaveOneOut, ScoreFunction

from ..monte_carlo import many, z_score


def check(loss, exact, parameters, repeats=10000):
    """Value and gradient in standard errors."""
    values, gradients = many(lambda key: jax.value_and_grad(loss)(parameters, key), repeats)
    assert z_score(values, exact(parameters)) < 5
    assert z_score(gradients, jax.grad(exact)(parameters)) < 5


def normal(theta):
    return dist.Normal(theta[0], jnp.exp(theta[1]))


THETA = jnp.array([0.7, -0.3])


def second_moment(theta):
    return theta[0] ** 2 + jnp.exp(2 * theta[1])


@pytest.mark.parametrize("estimator", ["auto", ScoreFunction(), LeaveOneOut()])
def test_value_gradient_and_hessian_of_a_normal_second_moment(estimator):
    def loss(theta, key):
        return rx.expectation(lambda z: z**2, normal(theta), key=key, num_samples=4, estimator=estimator)

    check(loss, second_moment, THETA)
    hessians = many(lambda k: jax.hessian(loss)(THETA, k), 50000)
    assert z_score(hessians, jax.hessian(second_moment)(THETA)) < 5


def test_enumeration_is_exact_in_value_and_hessian():
    def loss(logits):
        q = dist.Categorical(logits=logits)
        return rx.expectation(lambda z: jnp.sin(2.0 * z.astype(float)), q, key=jax.random.key(0))

    def exact(logits):
        return jnp.sum(jax.nn.softmax(logits) * jnp.sin(2.0 * jnp.arange(3.0)))

    logits = jnp.array([0.1, -0.4, 0.9])
    np.testing.assert_allclose(loss(logits), exact(logits), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(logits), jax.grad(exact)(logits), atol=1e-6)
    np.testing.assert_allclose(jax.hessian(loss)(logits), jax.hessian(exact)(logits), atol=1e-6)


def test_enumeration_of_a_batch_takes_all_joint_states():
    logits = jnp.array([0.3, -0.2, 1.0])

    def loss(logits):
        q = dist.Bernoulli(logits=logits).to_event(1)
        return rx.expectation(
            lambda z: jnp.prod(z.astype(float) + 0.5), q, key=jax.random.key(0), estimator="enumeration"
        )

    def exact(logits):
        return jnp.prod(jax.nn.sigmoid(logits) + 0.5)

    np.testing.assert_allclose(loss(logits), exact(logits), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(logits), jax.grad(exact)(logits), rtol=1e-5)


def test_parameters_inside_f_and_pytree_outputs():
    def loss(phi, key):
        q = dist.Poisson(jnp.exp(phi))
        out = rx.expectation(
            lambda n: {"a": phi * n.astype(float), "b": jnp.stack([n.astype(float), phi])}, q, key=key, num_samples=3
        )
        return out["a"] + 2 * out["b"][0]

    def exact(phi):
        return (phi + 2) * jnp.exp(phi)

    phi = jnp.float32(0.4)
    check(loss, exact, phi)
    assert z_score(many(lambda k: jax.grad(jax.grad(loss))(phi, k), 20000), jax.grad(jax.grad(exact))(phi)) < 5


def test_pytree_of_distributions_with_an_estimator_each():
    def loss(theta, key):
        q = {
            "x": dist.Normal(theta[0], 1.0),
            "k": dist.Categorical(logits=theta[1:]),
            "n": dist.Poisson(jnp.exp(theta[0])),
        }
        estimators = {"x": "pathwise", "k": "enumeration", "n": "leave-one-out"}

        def f(z):
            return z["x"] ** 2 * (1.0 + z["k"].astype(float)) + z["n"].astype(float) * z["x"]

        return rx.expectation(f, q, key=key, num_samples=2, estimator=estimators)

    def exact(theta):
        p = jax.nn.softmax(theta[1:])
        return (theta[0] ** 2 + 1) * (1 + p[1]) + jnp.exp(theta[0]) * theta[0]

    theta = jnp.array([0.5, 0.2, -0.3])
    check(loss, exact, theta)


@pytest.mark.parametrize("inner_key", ["fresh", "closed over"])
@pytest.mark.parametrize(
    "kinds", [("leave-one-out",) * 3, ("pathwise", "leave-one-out", "pathwise"), ("pathwise",) * 3]
)
def test_nested_three_deep(kinds, inner_key):
    """A random walk x1 -> x2 -> x3, each step an expectation inside the other's integrand."""

    def loss(theta, key):
        shared = jax.random.split(jax.random.fold_in(key, 7), 2)

        def outermost(x1, *, key):
            k2 = key if inner_key == "fresh" else shared[0]

            def middle(x2, *, key):
                k3 = key if inner_key == "fresh" else shared[1]
                q3 = dist.Normal(x2 + theta, 0.5)
                return rx.expectation(lambda x3: x3**2, q3, key=k3, num_samples=2, estimator=kinds[2])

            q2 = dist.Normal(theta * x1, 0.7)
            return rx.expectation(middle, q2, key=k2, num_samples=2, estimator=kinds[1])

        return rx.expectation(outermost, dist.Normal(theta, 1.0), key=key, num_samples=2, estimator=kinds[0])

    def exact(theta):
        return (theta**2 + theta) ** 2 + theta**2 + 0.49 + 0.25

    theta = jnp.float32(0.6)
    check(loss, exact, theta)


def test_inside_scan_and_checkpoint():
    def loss(theta, key):
        @jax.checkpoint
        def step(total, key):
            q = dist.Bernoulli(logits=theta * jnp.ones(8)).to_event(1)
            return total + rx.expectation(
                lambda z: jnp.sum(z.astype(float)) ** 2 + theta * z[0].astype(float),
                q,
                key=key,
                estimator="leave-one-out",
            ), None

        return jax.lax.scan(step, jnp.float32(0), jax.random.split(key, 5))[0]

    def exact(theta):
        p = jax.nn.sigmoid(theta)
        return 5 * (8 * p * (1 - p) + 64 * p**2 + theta * p)

    theta = jnp.float32(0.3)
    check(loss, exact, theta)
    assert z_score(many(lambda k: jax.jacfwd(loss)(theta, k), 10000), jax.grad(exact)(theta)) < 5


def test_float64(enable_x64):
    theta = jnp.asarray(THETA, jnp.float64)

    def loss(key):
        return jax.grad(
            lambda t: rx.expectation(lambda z: z**2, normal(t), key=key, num_samples=4, estimator="leave-one-out")
        )(theta)

    draws = many(loss, 10000)
    assert draws.dtype == jnp.float64
    assert z_score(draws, jax.grad(second_moment)(theta)) < 5


def test_refusals():
    key = jax.random.key(0)
    with pytest.raises(InvalidEstimator, match="step function"):
        rx.expectation(lambda z: z, dist.Poisson(1.0), key=key, estimator="pathwise")
    with pytest.raises(InvalidEstimator, match="edge"):
        rx.expectation(lambda z: z, dist.Uniform(0.0, 1.0), key=key, estimator="leave-one-out")
    with pytest.raises(InvalidEstimator, match="joint states"):
        rx.expectation(lambda z: z, dist.Poisson(1.0), key=key, estimator="enumeration")
    with pytest.raises(RecipeError, match="estimators"):
        rx.expectation(lambda z: z, dist.Poisson(1.0), key=key, estimator="pathwize")
    with pytest.raises(InvalidEstimator, match="numpyro"):
        rx.expectation(lambda z: z, 3.0, key=key)
    with pytest.raises(InvalidEstimator, match="instance"):
        rx.expectation(lambda z: z, dist.Poisson(1.0), key=key, estimator=3)
    with pytest.raises(InvalidEstimator, match="mask"):
        rx.expectation(lambda z: z, dist.Normal(0.0, 1.0).mask(False).expand([2]), key=key)
    assert isinstance(Enumeration(maximum_states=3).refusal(dist.Categorical(logits=jnp.zeros(4))), str)


@pytest.mark.parametrize(
    "family",
    [lambda b: dist.Pareto(b, 3.0), lambda b: dist.TruncatedNormal(0.0, 1.0, low=b), lambda b: dist.LogUniform(b, 9.0)],
)
def test_score_refuses_a_moving_support_only_where_it_is_differentiated(family):
    def loss(bound):
        return rx.expectation(lambda z: z, family(bound), key=jax.random.key(0), estimator="score-function")

    assert jnp.isfinite(loss(jnp.float32(1.5)))
    with pytest.raises(InvalidEstimator, match="edge"):
        jax.grad(loss)(jnp.float32(1.5))


def test_score_of_a_truncated_normal_in_its_location_is_allowed():
    def loss(loc, key):
        q = dist.TruncatedNormal(loc, 1.0, low=0.0)
        return rx.expectation(lambda z: z, q, key=key, num_samples=2, estimator="leave-one-out")

    def exact(loc):
        hazard = jnp.exp(jax.scipy.stats.norm.logpdf(loc) - jax.scipy.stats.norm.logcdf(loc))
        return loc + hazard

    loc = jnp.float32(0.4)
    assert z_score(many(lambda k: jax.grad(loss)(loc, k), 10000), jax.grad(exact)(loc)) < 5
