"""Implicit reparameterization of any one-dimensional draw, from its CDF or from its log-density."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from reparax.errors import NotReparameterizable
from reparax.reparameterization._quadrature import gauss_legendre

# A function of (x, params), elementwise in x.
Elementwise = Callable[[Array, Any], Array]

_NUM_POINTS = 200


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

    A draw held at a fixed quantile moves with the parameters by

    $$ \frac{dx}{d\theta} = -\frac{\partial F(x; \theta) / \partial\theta}{p(x; \theta)}
       = -\frac{1}{p(x)} \int_{l}^{x} \frac{\partial \log p(t; \theta)}{\partial\theta}\, p(t)\, dt, $$

    whatever algorithm drew it. Derivatives of every order are right, because the derivative is itself evaluated at the
    differentiable draw. Without a CDF the integral is taken by Gauss-Legendre quadrature, 200 points on either side.

    Args:
        x: Draws from the distribution with parameters ``params``. No derivative flows into how they were drawn.
        params: A pytree of parameters; its arrays broadcast against ``x`` in the functions below. Only what is in here
            is differentiated: the functions must not close over anything that is.
        log_prob: ``log_prob(x, params)``, elementwise in x. It need not be normalized where no CDF is given.
        cdf: ``cdf(x, params)``, elementwise in x, itself differentiable in both.
        lower: Lower end of the support, independent of the parameters. Only read without a CDF.
        upper: Upper end, likewise.
        scale: For an unbounded support without a CDF, roughly the width of the density: half of the nodes fall within
            this distance of x. A factor of ten either way does no harm.

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
            cure="pass cdf=..., or log_prob=... with the support's lower and upper ends",
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
    # Evaluated at the differentiable draw, not at the bare x: this is what makes higher orders right.
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
    # dF = (I_below M_above - I_above M_below) / M^2: no cancellation in either tail, and no need of a normalizer.
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
