"""The generic implicit reparameterization, from a CDF and from a log-density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.errors import NotReparameterizable
from reparax.reparameterization.one_dimensional import implicit

X = jnp.array([0.3, 1.0, 4.0], jnp.float32)
EXPONENTIAL = {
    "cdf": {"cdf": lambda x, r: -jnp.expm1(-r * x)},
    "cdf and density": {"cdf": lambda x, r: -jnp.expm1(-r * x), "log_prob": lambda x, r: jnp.log(r) - r * x},
    "density": {"log_prob": lambda x, r: -r * x, "lower": 0.0},
}


@pytest.mark.parametrize("given", EXPONENTIAL)
def test_every_order_of_an_exponential_draw(given):
    # x = e / r at a fixed quantile: the k-th derivative in r is (-1)^k k! x / r^k.
    def path(r):
        return implicit(X, r, **EXPONENTIAL[given])

    r = jnp.float32(1.7)
    np.testing.assert_array_equal(path(r), X)
    first = jax.jacfwd(path)
    second, third = jax.jit(jax.jacrev(first)), jax.jit(jax.jacfwd(jax.jacfwd(first)))
    np.testing.assert_allclose(jax.jit(first)(r), -X / r, rtol=1e-5)
    np.testing.assert_allclose(second(r), 2 * X / r**2, rtol=1e-5)
    np.testing.assert_allclose(third(r), -6 * X / r**3, rtol=2e-5)


def test_location_and_scale_from_an_unnormalized_density():
    x = jnp.array([-3.0, 0.3, 4.0], jnp.float32)

    def path(params):
        return implicit(x, params, log_prob=lambda x, p: -0.5 * ((x - p["loc"]) / p["scale"]) ** 2)

    slopes = jax.jacrev(path)({"loc": jnp.float32(0.5), "scale": jnp.float32(1.5)})
    np.testing.assert_allclose(slopes["loc"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(slopes["scale"], (x - 0.5) / 1.5, rtol=1e-5)


def test_no_derivative_flows_into_the_draw():
    slope = jax.grad(lambda x: implicit(x, jnp.float32(1.0), **EXPONENTIAL["cdf"]))(jnp.float32(0.4))
    assert slope == 0.0


def test_right_under_jit_and_vmap():
    rates = jnp.array([0.5, 1.0, 2.0], jnp.float32)
    slope = jax.jit(jax.vmap(jax.grad(lambda r, x: implicit(x, r, **EXPONENTIAL["density"]))))(rates, X)
    np.testing.assert_allclose(slope, -X / rates, rtol=1e-5)


def test_neither_cdf_nor_density_is_refused():
    with pytest.raises(NotReparameterizable, match="cdf or a log_prob"):
        implicit(X, jnp.float32(1.0))
