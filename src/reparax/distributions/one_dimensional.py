"""Distributions defined by a CDF, a log-density or a quantile function, or by shifted and scaled noise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import constraints

from reparax.reparameterization import ParameterRule, declared, implicit, parameter_rules, rsample, rule
from reparax.reparameterization.numerics import gauss_legendre
from reparax.reparameterization.one_dimensional import sample_by_quadrature

_CDF_HALVINGS = 80


class FromCDF(dist.Distribution):
    """The x with cdf(x, params) = u, u uniform, found by bisection; the derivative is implicit, -(dF/dtheta) / p.

    Args:
        cdf: A function of (x, params), elementwise and increasing in x, differentiable in both (p is its derivative).
        params: A pytree of parameters; its arrays broadcast against the draws.
        low: The left end of an interval that contains all draws. It must be finite.
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

    low, high = lax.fori_loop(0, _CDF_HALVINGS, halve, (jnp.full_like(u, q.low), jnp.full_like(u, q.high)))
    return implicit((low + high) / 2, q.params, cdf=permissive)


_PANELS, _POINTS = 256, 4


class FromLogDensity(dist.Distribution):
    """p(x) proportional to exp(log_density(x, params)) on an interval, drawn and normalized by quadrature.

    Draws invert the distribution function; their derivative is implicit, -(dF/dtheta)/p (Figurnov et al. 2018, eq. 7).

    Args:
        log_density: A function of (x, params), elementwise in x, bounded, differentiable in both.
        params: A pytree of parameters; its arrays broadcast against the draws.
        low: The left end, finite and independent of the parameters. Practically all the mass should lie between both
            ends.
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


_QUANTILE_HALVINGS = 60


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
        low, high = lax.fori_loop(0, _QUANTILE_HALVINGS, halve, ends)
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


class LocationScale(dist.Distribution):
    """z = loc + scale * eps, with eps from any base distribution: p(z) = p_base((z - loc) / scale) / scale.

    A base without parameters needs only ``sample`` and ``log_prob``; one with parameters must be reparameterizable.

    Args:
        base: The noise, of event shape ().
        loc: The location.
        scale: The scale, positive.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    pytree_data_fields = ("base", "loc", "scale")

    def __init__(
        self,
        base: dist.Distribution,
        loc: float | Float[Array, "*batch"],
        scale: float | Float[Array, "*batch"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(base.batch_shape, jnp.shape(loc), jnp.shape(scale))
        dtype = jnp.result_type(float, loc, scale)
        self.base = base
        self.loc, self.scale = (jnp.broadcast_to(jnp.asarray(a, dtype), batch_shape) for a in (loc, scale))
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        return self.base.log_prob((value - self.loc) / self.scale) - jnp.log(self.scale)


def _declare(q: LocationScale) -> tuple[ParameterRule, ...]:
    noise = parameter_rules(q.base) if q.base.arg_constraints else ()
    return (*declared("location-scale", "loc", "scale"), *noise)


@rule(LocationScale, declare=_declare)
def _location_scale(q: LocationScale, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    wide = q.base.expand(q.batch_shape)
    draw = rsample(wide, key, sample_shape) if q.base.arg_constraints else wide.sample(key, sample_shape)
    return q.loc + q.scale * draw
