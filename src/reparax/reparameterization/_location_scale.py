"""Location-scale families: z = loc + scale * eps, with eps a standard draw."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rule import declared, rule
from reparax.reparameterization._shapes import float_dtype, full_shape

METHOD = "location-scale"


def _register(family: type, noise: Callable[..., Array]) -> None:
    def sampler(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
        eps = noise(key, full_shape(q, sample_shape), float_dtype(q.loc, q.scale))
        return q.loc + q.scale * eps

    rule(family, declare=declared(METHOD, "loc", "scale"))(sampler)


def _sech(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    # Quantile of the hyperbolic secant density sech(x)/pi: log tan(pi u / 2), antisymmetric about u = 1/2.
    u = jax.random.uniform(key, shape, dtype, minval=jnp.finfo(dtype).tiny)
    tail = jnp.where(u < 0.5, u, 1 - u)
    return jnp.where(u < 0.5, 1.0, -1.0).astype(dtype) * jnp.log(
        jnp.tan(jnp.pi / 2 * jnp.maximum(tail, jnp.finfo(dtype).tiny))
    )


for _family, _noise in (
    (dist.Normal, jax.random.normal),
    (dist.Laplace, jax.random.laplace),
    (dist.Logistic, jax.random.logistic),
    (dist.Cauchy, jax.random.cauchy),
    (dist.Gumbel, jax.random.gumbel),
    (dist.SoftLaplace, _sech),
):
    _register(_family, _noise)
