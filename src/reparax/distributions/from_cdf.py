"""A distribution given by its cumulative distribution function in one dimension."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import constraints

from reparax.reparameterization import declared, implicit, rsample, rule

_HALVINGS = 80


class FromCDF(dist.Distribution):
    """x at which cdf(x, params) = u, found by bisection; the derivative is implicit, -(dF/dtheta) / p.

    Args:
        cdf: A function of (x, params), elementwise and increasing in x, differentiable in both (p is its derivative).
        params: A pytree of parameters; its arrays broadcast against the draws.
        low: The left end of an interval that holds all draws. It must be finite.
        high: The right end, likewise.
        batch_shape: The shape over which the parameters vary.

    Source: Figurnov et al. (2018), equation 5.
    """

    arg_constraints = {}
    support = constraints.real
    pytree_data_fields = ("params",)
    pytree_aux_fields = ("distribution_function", "low", "high")

    def __init__(
        self,
        cdf: Callable[[Array, Any], Array],
        params: PyTree,
        low: float,
        high: float,
        batch_shape: tuple[int, ...] = (),
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.distribution_function, self.params, self.low, self.high = cdf, params, low, high
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def cdf(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """F(x)."""
        return self.distribution_function(value, self.params)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        value = jnp.asarray(value)
        return jnp.log(jax.jvp(self.cdf, (value,), (jnp.ones_like(value),))[1])


@rule(FromCDF, declare=declared("implicit", "params"))
def _from_cdf(q: FromCDF, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    u = jax.random.uniform(key, (*sample_shape, *q.batch_shape))
    fixed = lax.stop_gradient(q.params)
    function = q.distribution_function

    def permissive(x: Array, params: PyTree) -> Array:
        # Also when differentiated, long after: the batch broadcasts against the draws.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return function(x, params)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = permissive(middle, fixed) < u
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = lax.fori_loop(0, _HALVINGS, halve, (jnp.full_like(u, q.low), jnp.full_like(u, q.high)))
    return implicit((low + high) / 2, q.params, cdf=permissive)
