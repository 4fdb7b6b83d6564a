"""The quantile of any density on the unit interval, by quadrature: for families without a quantile function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from reparax.reparameterization._implicit import implicit
from reparax.reparameterization._quadrature import gauss_legendre

LogDensity = Callable[[Array, Any], Array]

_PANELS = 512
_NEWTON_STEPS = 4


def sample_by_quadrature(u: Array, log_density: LogDensity, params: PyTree, batch_shape: tuple[int, ...]) -> Array:
    """The u-quantile of exp(log_density(y, params)) on [0, 1], differentiable in the parameters (implicitly).

    Args:
        u: Uniform draws, of shape ``sample_shape + batch_shape``.
        log_density: Elementwise in y, need not be normalized, bounded on the interval.
        params: The parameters; arrays that broadcast against ``batch_shape``.
        batch_shape: The shape over which the parameters vary.
    """

    def permissive(y: Array, params: PyTree) -> Array:
        # Also when differentiated, long after: the batch broadcasts against the draws.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return log_density(y, params)

    fixed = jax.lax.stop_gradient(params)
    draws = _invert(u.reshape((-1, *batch_shape)), lambda y: permissive(y, fixed), batch_shape)
    return implicit(draws.reshape(u.shape), params, log_prob=permissive, lower=0.0, upper=1.0)


def _invert(u: Array, log_density: Callable[[Array], Array], batch_shape: tuple[int, ...]) -> Array:
    nodes, weights = gauss_legendre(4, u.dtype)
    edges = jnp.arange(_PANELS, dtype=u.dtype) / _PANELS
    grid = (edges[:, None] + nodes / _PANELS).reshape((-1,) + (1,) * len(batch_shape))
    logs = log_density(jnp.broadcast_to(grid, (grid.shape[0], *batch_shape)))
    top = logs.max(0)
    panels = (jnp.exp(logs - top).reshape((_PANELS, 4, -1)) * weights[:, None]).sum(1) / _PANELS
    below = jnp.concatenate([jnp.zeros_like(panels[:1]), jnp.cumsum(panels, 0)])
    target = u.reshape((u.shape[0], -1)) * below[-1]
    panel = _search(below, target)
    column = jnp.arange(below.shape[1])
    missing = target - below[panel, column]
    share = jnp.clip(missing / jnp.maximum(panels[panel, column], jnp.finfo(u.dtype).tiny), 0.0, 1.0)

    def density(y: Array) -> Array:
        return jnp.exp(log_density(y.reshape((-1, *batch_shape))) - top).reshape(y.shape)

    start = panel.astype(u.dtype) / _PANELS
    for _ in range(_NEWTON_STEPS):
        width = share / _PANELS
        rule = zip(*gauss_legendre(8, u.dtype), strict=True)
        mass = sum(density(start + width * node) * weight for node, weight in rule)
        slope = jnp.maximum(density(start + width), jnp.finfo(u.dtype).tiny) / _PANELS
        share = jnp.clip(share - (mass * width - missing) / slope, 0.0, 1.0)
    return (start + share / _PANELS).reshape(u.shape)


def _search(below: Array, target: Array) -> Array:
    """The last panel whose lower edge has no more mass below it than the target, column by column."""
    column = jnp.arange(below.shape[1])
    panel = jnp.zeros(target.shape, jnp.int32)
    step = _PANELS
    while step > 1:
        step //= 2
        ahead = panel + step
        panel = jnp.where(below[ahead, column] <= target, ahead, panel)
    return panel
