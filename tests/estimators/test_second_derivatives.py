"""Second derivatives through kinks of f are refused, whatever differentiates twice; smooth ones are right."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator

KEY = jax.random.key(0)
KINKS = {
    "relu": jax.nn.relu,
    "abs": jnp.abs,
    "leaky relu": jax.nn.leaky_relu,
    "clip": lambda z: jnp.clip(z, 0.0, 1.0),
    "maximum and smooth": lambda z: jnp.maximum(2 * z + 1, 0.0) + z**2,
    "network": lambda z: jnp.sum(jax.nn.relu(z * jnp.arange(4.0) - 1.0)),
    "sorted": lambda z: jnp.sort(jnp.stack([z, z**2]))[0],
    "select": lambda z: jnp.where(z > 0, jnp.sin(z), 2 * z),
}
SMOOTH = {
    "square": (lambda z: z**2, 2.0),
    "sine": (jnp.sin, -np.sin(0.3) * np.exp(-0.5)),
    "relu squared": (lambda z: jax.nn.relu(z) ** 2, 2 * 0.6179),
    "huber": (lambda z: jnp.where(jnp.abs(z) < 1, 0.5 * z * z, jnp.abs(z) - 0.5), 0.7580 - 0.0968),
    "cube": (lambda z: jnp.abs(z) ** 3, 4.9994),
    "log of a sum": (lambda z: jnp.logaddexp(0.0, z) + jax.nn.logsumexp(jnp.stack([-z, z])), None),
    "density": (lambda z: dist.Normal(0.0, 1.0).log_prob(z), -1.0),
    "network": (lambda z: jnp.sum(jnp.tanh(z * jnp.array([0.2, -0.5, 0.7]) - 1.0)), None),
}
TWICE = {
    "hessian": jax.hessian,
    "compiled": lambda f: jax.grad(jax.jit(jax.grad(f))),
    "forward twice": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "reverse twice": lambda f: jax.jacrev(jax.jacrev(f)),
    "recomputed": lambda f: jax.grad(jax.checkpoint(jax.grad(f))),
    "in a loop": lambda f: jax.grad(lambda t: jax.lax.scan(lambda c, _: (c + jax.grad(f)(t), None), 0.0, None, 2)[0]),
}


def mean_of(f, estimator="auto", num_samples=4):
    return lambda t: rx.expectation(f, dist.Normal(t, 1.0), key=KEY, num_samples=num_samples, estimator=estimator)


@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_refused(name):
    with pytest.raises(InvalidEstimator, match=r"first derivative is continuous in z, for a second derivative"):
        jax.eval_shape(jax.hessian(mean_of(KINKS[name])), 0.3)
    jax.eval_shape(jax.grad(mean_of(KINKS[name])), 0.3)


@pytest.mark.parametrize("way", TWICE)
def test_kinks_are_refused_however_they_are_differentiated(way):
    with pytest.raises(InvalidEstimator, match="kink"):
        TWICE[way](mean_of(jax.nn.relu))(0.3)


@pytest.mark.parametrize("estimator", ["pathwise", "sobol", "antithetic", "latin-hypercube", "boundary"])
def test_kinks_are_refused_by_every_estimator_that_differentiates_draws(estimator):
    with pytest.raises(InvalidEstimator, match="kink"):
        jax.eval_shape(jax.hessian(mean_of(jnp.abs, estimator)), 0.3)


def test_kinks_that_a_parameter_moves_are_refused_and_others_are_not():
    def moved(t, estimator="auto"):
        f = lambda z: jax.nn.relu(z - t)  # noqa: E731
        return rx.expectation(f, dist.Normal(0.0, 1.0), key=KEY, num_samples=4, estimator=estimator)

    def fixed(c):
        return rx.expectation(
            lambda z: c**2 * jax.nn.relu(z), dist.Normal(0.1, 1.0), key=KEY, num_samples=4, estimator="leave-one-out"
        )

    for estimator in ("auto", "leave-one-out"):
        with pytest.raises(InvalidEstimator, match="kink"):
            jax.hessian(moved)(0.3, estimator)
    np.testing.assert_allclose(jax.hessian(fixed)(1.0), 2 * fixed(1.0), rtol=1e-5)
    with pytest.raises(InvalidEstimator, match="kink"):
        jax.jacfwd(jax.grad(lambda t, c: mean_of(lambda z: jax.nn.relu(z + c))(t)), argnums=1)(0.3, 0.1)


@pytest.mark.full
def test_the_estimators_of_the_message_are_right():
    wanted = np.exp(-(0.3**2) / 2) / np.sqrt(2 * np.pi)
    keys = jax.random.split(KEY, 400)

    def second(key):
        q = lambda t: dist.Normal(t, 1.0)  # noqa: E731
        return jax.hessian(
            lambda t: rx.expectation(jax.nn.relu, q(t), key=key, num_samples=50, estimator="leave-one-out")
        )(0.3)

    found = np.asarray(jax.vmap(second)(keys))
    assert abs(found.mean() - wanted) < 5 * found.std() / np.sqrt(len(found))


QUICK = ("square", "relu squared", "huber")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in SMOOTH]
)
def test_smooth_functions_have_their_second_derivative(name):
    f, wanted = SMOOTH[name]
    found = jax.hessian(mean_of(f, num_samples=20_000))(0.3)
    if wanted is None:
        points, weights = np.polynomial.hermite_e.hermegauss(60)
        each = jax.vmap(jax.grad(jax.grad(f)))(jnp.asarray(0.3 + points, jnp.float32))
        wanted = float(np.sum(np.asarray(each) * weights) / np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_third_derivatives_need_continuous_second_ones():
    third = jax.grad(jax.hessian(mean_of(lambda z: jax.nn.relu(z) ** 2)))
    with pytest.raises(InvalidEstimator, match="second derivative is continuous in z, for a third derivative"):
        third(0.3)
    np.testing.assert_allclose(jax.grad(jax.hessian(mean_of(lambda z: z**3)))(0.3), 6.0, rtol=1e-5)


def test_what_is_assumed_to_be_smooth_is_not_inspected():
    assumed = rx.estimators.AssumedContinuous(jax.nn.relu)
    assert jax.hessian(mean_of(assumed))(0.3) == 0.0


def test_programs_keep_no_traced_value_for_the_check():
    def loss(t):
        return rx.expectation(lambda z: jnp.sin(z * t), dist.Normal(t, 1.0), key=KEY, num_samples=4)

    with jax.checking_leaks():
        jax.jit(jax.grad(loss))(0.3)
        jax.hessian(loss)(0.3)
