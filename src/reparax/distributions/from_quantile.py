"""A distribution given by its quantile function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import constraints

from reparax.reparameterization import declared, rsample, rule

_HALVINGS = 60


class FromQuantile(dist.Distribution):
    """z = quantile(u, params) with u uniform: the derivative is that of the quantile function.

    The density is p(z) = 1 / quantile'(u) at the u of z, which is found by bisection.

    Args:
        quantile: An increasing function of u in (0, 1), elementwise, differentiable in u and in the parameters.
        params: A pytree of parameters; its arrays broadcast against the draws.
        batch_shape: The shape over which the parameters vary.
    """

    arg_constraints = {}
    support = constraints.real
    pytree_data_fields = ("params",)
    pytree_aux_fields = ("quantile",)

    def __init__(
        self,
        quantile: Callable[[Array, Any], Array],
        params: PyTree,
        batch_shape: tuple[int, ...] = (),
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.quantile, self.params = quantile, params
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def cdf(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """F(z), by bisection and one Newton step, which also carries the derivatives of first order."""
        shape = lax.broadcast_shapes(jnp.shape(value), self.batch_shape)
        value = jnp.broadcast_to(value, shape)
        fixed = lax.stop_gradient(self.params)

        def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            below = self.quantile(middle, fixed) < lax.stop_gradient(value)
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        ends = jnp.zeros(shape, value.dtype), jnp.ones(shape, value.dtype)
        low, high = lax.fori_loop(0, _HALVINGS, halve, ends)
        u = (low + high) / 2
        return u - (self.quantile(u, self.params) - value) / self._slope(u)

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        return -jnp.log(self._slope(self.cdf(value)))

    def _slope(self, u: Array) -> Array:
        return jax.jvp(lambda v: self.quantile(v, self.params), (u,), (jnp.ones_like(u),))[1]


@rule(FromQuantile, declare=declared("inverse CDF", "params"))
def _from_quantile(q: FromQuantile, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(q.params) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    dtype = jnp.result_type(float, *leaves)
    u = jax.random.uniform(key, (*sample_shape, *q.batch_shape), dtype, minval=jnp.finfo(dtype).epsneg / 2)
    return q.quantile(u, q.params)
