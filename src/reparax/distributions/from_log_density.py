"""A distribution given by a log-density in one dimension, normalized or not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import constraints

from reparax.reparameterization import declared, rsample, rule
from reparax.reparameterization.numerics import gauss_legendre
from reparax.reparameterization.one_dimensional import sample_by_quadrature

_PANELS, _POINTS = 256, 4


class FromLogDensity(dist.Distribution):
    """p(x) proportional to exp(log_density(x, params)) on an interval, drawn and normalized by quadrature.

    Draws invert the distribution function; their derivative is implicit, -(dF/dtheta)/p (Figurnov et al. 2018, eq. 7).

    Args:
        log_density: A function of (x, params), elementwise in x, bounded, differentiable in both.
        params: A pytree of parameters; its arrays broadcast against the draws.
        low: The left end, finite and free of the parameters. It should hold practically all the mass, with `high`.
        high: The right end, likewise.
        batch_shape: The shape over which the parameters vary.
    """

    arg_constraints = {}
    pytree_data_fields = ("params",)
    pytree_aux_fields = ("log_density", "low", "high")

    def __init__(
        self,
        log_density: Callable[[Array, Any], Array],
        params: PyTree,
        low: float,
        high: float,
        batch_shape: tuple[int, ...] = (),
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.log_density, self.params, self.low, self.high = log_density, params, low, high
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The interval."""
        return constraints.interval(self.low, self.high)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The normalized log-density, in nats."""
        normalizer = jnp.broadcast_to(self.log_normalizer(), lax.broadcast_shapes(jnp.shape(value), self.batch_shape))
        return self.log_density(value, self.params) - normalizer

    def log_normalizer(self) -> Float[Array, "*batch"]:
        """The log of the integral of exp(log_density), by composite Gauss-Legendre quadrature."""
        nodes, weights = gauss_legendre(_POINTS, jnp.result_type(float))
        edges = jnp.arange(_PANELS, dtype=nodes.dtype) / _PANELS
        grid = (edges[:, None] + nodes[None] / _PANELS).reshape((-1,) + (1,) * len(self.batch_shape))
        grid = jnp.broadcast_to(self.low + (self.high - self.low) * grid, (grid.shape[0], *self.batch_shape))
        with jax.numpy_rank_promotion("allow"):
            logs = self.log_density(grid, self.params)
        widths = jnp.tile(weights, _PANELS).reshape((-1,) + (1,) * len(self.batch_shape))
        widths = jnp.broadcast_to(widths, grid.shape) * (self.high - self.low) / _PANELS
        return jax.nn.logsumexp(logs, 0, b=widths)


@rule(FromLogDensity, declare=declared("implicit", "params", reason="by quadrature"))
def _from_log_density(q: FromLogDensity, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    low, width, log_density = q.low, q.high - q.low, q.log_density
    u = jax.random.uniform(key, (*sample_shape, *q.batch_shape))
    y = sample_by_quadrature(u, lambda y, params: log_density(low + width * y, params), q.params, tuple(q.batch_shape))
    return low + width * y
