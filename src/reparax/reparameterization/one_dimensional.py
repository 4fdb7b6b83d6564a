"""One-dimensional draws without a quantile function: implicit reparameterization, and quadrature."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from reparax.errors import NotReparameterizable
from reparax.reparameterization.numerics import gauss_legendre

# A function of (x, params), elementwise in x.
Elementwise = Callable[[Array, Any], Array]

_NUM_POINTS = 200
LogDensity = Callable[[Array, Any], Array]
_PANELS = 512
_NEWTON_STEPS = 4


def implicit(
    x: Float[Array, "*shape"],
    params: PyTree,
    *,
    log_prob: Elementwise | None = None,
    cdf: Elementwise | None = None,
    lower: ArrayLike = -jnp.inf,
    upper: ArrayLike = jnp.inf,
    scale: ArrayLike = 1.0,
) -> Float[Array, "*shape"]:
    r"""The draw ``x``, unchanged in value, as a differentiable function of ``params``.

    A draw at a fixed quantile depends on the parameters with the derivative

    $$ \frac{dx}{d\theta} = -\frac{\partial F(x; \theta) / \partial\theta}{p(x; \theta)}
       = -\frac{1}{p(x)} \int_{l}^{x} \frac{\partial \log p(t; \theta)}{\partial\theta}\, p(t)\, dt, $$

    for any sampling algorithm. Derivatives of every order are right, because the derivative is itself evaluated at the
    differentiable draw. Without a CDF the integral is computed by Gauss-Legendre quadrature, 200 points on either side.

    Args:
        x: Draws from the distribution with parameters ``params``. No derivative flows into how they were drawn.
        params: A pytree of parameters; its arrays broadcast against ``x`` in the functions below. Only these are
            differentiated: the functions must not close over other values that are.
        log_prob: ``log_prob(x, params)``, elementwise in x. It need not be normalized if no CDF is given.
        cdf: ``cdf(x, params)``, elementwise in x, itself differentiable in both.
        lower: Lower end of the support, independent of the parameters. Only used without a CDF.
        upper: Upper end, likewise.
        scale: For an unbounded support without a CDF, roughly the width of the density: half of the nodes fall within
            this distance of x. A factor of ten either way makes no difference.

    Raises:
        NotReparameterizable: Neither a CDF nor a log-density was given.

    Reference: Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, equations 5 to 7.
    """
    if cdf is not None:
        tangent = partial(_tangent_from_cdf, cdf, log_prob)
    elif log_prob is not None:
        tangent = partial(_tangent_from_log_prob, log_prob, (lower, upper, scale))
    else:
        raise NotReparameterizable(
            expected="a cdf or a log_prob of the one-dimensional distribution",
            got="neither",
            cure="pass cdf=..., or log_prob=... with the lower and upper ends of the support",
        )
    return _follow(tangent, jax.lax.stop_gradient(x), params)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _follow(tangent: Callable[[Array, PyTree, PyTree], Array], x: Array, params: PyTree) -> Array:
    return x


@_follow.defjvp
def _follow_jvp(
    tangent: Callable[[Array, PyTree, PyTree], Array], primals: tuple[Array, PyTree], tangents: tuple[Array, PyTree]
) -> tuple[Array, Array]:
    x, params = primals
    # Evaluated at the differentiable draw, not at x itself, so that higher derivatives are right.
    x = _follow(tangent, x, params)
    return x, tangent(x, params, tangents[1])


def _tangent_from_cdf(
    cdf: Elementwise, log_prob: Elementwise | None, x: Array, params: PyTree, dparams: PyTree
) -> Array:
    dcdf = jax.jvp(lambda p: cdf(x, p), (params,), (dparams,))[1]
    if log_prob is None:
        density = jax.jvp(lambda t: cdf(t, params), (x,), (jnp.ones_like(x),))[1]
    else:
        density = jnp.exp(log_prob(x, params))
    return -dcdf / density


def _tangent_from_log_prob(
    log_prob: Elementwise,
    support: tuple[ArrayLike, ArrayLike, ArrayLike],
    x: Array,
    params: PyTree,
    dparams: PyTree,
) -> Array:
    lower, upper, scale = (jnp.broadcast_to(jnp.asarray(end, x.dtype), x.shape) for end in support)
    log_below, score_below, widths_below = _side(log_prob, x, params, dparams, lower, -scale)
    log_above, score_above, widths_above = _side(log_prob, x, params, dparams, upper, scale)
    here = log_prob(x, params)
    top = jax.lax.stop_gradient(jnp.maximum(here, jnp.maximum(log_below.max(0), log_above.max(0))))
    below = jnp.exp(log_below - top[None]) * widths_below
    above = jnp.exp(log_above - top[None]) * widths_above
    mass_below, mass_above = below.sum(0), above.sum(0)
    # dF = (I_below M_above - I_above M_below) / M^2: no cancellation in either tail, and no normalizer needed.
    moved = (below * score_below).sum(0) * mass_above - (above * score_above).sum(0) * mass_below
    return -moved / ((mass_below + mass_above) * jnp.exp(here - top))


def _side(
    log_prob: Elementwise, x: Array, params: PyTree, dparams: PyTree, end: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """Log-density, its derivative along ``dparams``, and quadrature widths at nodes between x and one end."""
    nodes, weights = gauss_legendre(_NUM_POINTS, x.dtype)
    finite = jnp.isfinite(end)
    span = jnp.where(finite, jnp.where(finite, end, 0.0) - x, scale)

    def at(node: Array, weight: Array) -> tuple[Array, Array, Array]:
        t = x + span * jnp.where(finite, node, node / (1.0 - node))
        width = weight * jnp.abs(span) * jnp.where(finite, 1.0, (1.0 - node) ** -2)
        value, slope = jax.jvp(lambda p: log_prob(t, p), (params,), (dparams,))
        return value, slope, width

    return jax.vmap(at)(nodes, weights)


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
