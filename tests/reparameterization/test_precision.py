"""Half precision is computed in single precision; double precision gives better derivatives than single."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special as sc

import reparax as rx
from reparax.estimators import LeaveOneOut

FAMILIES = {
    "Normal": lambda t: dist.Normal(t, t),
    "Gamma": lambda t: dist.Gamma(t, t),
    "Beta": lambda t: dist.Beta(t, 2 * t),
    "Dirichlet": lambda t: dist.Dirichlet(jnp.stack([t, 2 * t, t])),
    "StudentT": lambda t: dist.StudentT(2 * t, t, t),
    "Exponential": dist.Exponential,
    "VonMises": lambda t: dist.VonMises(t, t),
    "Uniform": lambda t: dist.Uniform(-t, t),
    "MultivariateNormal": lambda t: dist.MultivariateNormal(
        jnp.stack([t, t]), scale_tril=jnp.eye(2, dtype=t.dtype) * t
    ),
    "Mixture": lambda t: dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.stack([t, -t])), dist.Normal(jnp.stack([t, 2 * t]), t)
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_gives_the_draws_and_derivatives_of_single_precision(name, dtype):
    def total(t):
        with jax.numpy_dtype_promotion("standard"):
            return jnp.sum(rx.rsample(FAMILIES[name](t), jax.random.key(0), (3,)).astype(jnp.float32) ** 2)

    half = jnp.asarray(1.3, dtype)
    value, slope = jax.jit(jax.value_and_grad(total))(half)
    wanted, wanted_slope = jax.jit(jax.value_and_grad(total))(half.astype(jnp.float32))
    assert slope.dtype == dtype
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(float(slope), float(wanted_slope), rtol=3e-2)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_at_the_front_door(dtype):
    def loss(t, estimator):
        q = dist.Gamma(t, jnp.ones((), dtype))
        return rx.expectation(lambda z: z**2, q, key=jax.random.key(0), num_samples=8, estimator=estimator)

    for estimator in ("auto", LeaveOneOut()):
        value, slope = jax.value_and_grad(loss)(jnp.asarray(1.3, dtype), estimator)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope)
        assert slope != 0


def test_double_precision_derivatives_of_a_gamma():
    """Against central differences of the quantile function, which are right to about 1e-8."""
    with jax.enable_x64(True):
        alpha = jnp.asarray(1.7, jnp.float64)
        draw, slope = jax.jvp(lambda a: rx.rsample(dist.Gamma(a, 1.0), jax.random.key(0), (20,)), (alpha,), (1.0,))
        u, step = sc.gammainc(1.7, np.asarray(draw)), 1e-4
        wanted = (sc.gammaincinv(1.7 + step, u) - sc.gammaincinv(1.7 - step, u)) / (2 * step)
        assert slope.dtype == jnp.float64
        np.testing.assert_allclose(slope, wanted, rtol=2e-7)
