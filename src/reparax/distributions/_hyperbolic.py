"""Hyperbolic geometry: the Poincare ball of curvature -c and the hyperboloid of curvature -1, by Moebius addition.

Sources: Ganea et al. (2018), equations 3 to 12; Nagano et al. (2019), equations 3 to 6.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def safe_norm(x: Float[Array, "*s d"]) -> Float[Array, "*s 1"]:
    """|x| with a derivative of zero, not NaN, at the origin."""
    return jnp.sqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), jnp.finfo(x.dtype).tiny))


def moebius_add(x: Float[Array, "*s d"], y: Float[Array, "*s d"], c: Float[Array, ""]) -> Float[Array, "*s d"]:
    """The hyperbolic translation of y by x in the ball of curvature -c."""
    xy, xx, yy = (jnp.sum(a * b, -1, keepdims=True) for a, b in ((x, y), (x, x), (y, y)))
    return ((1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * xy + c**2 * xx * yy)


def ball_exp_origin(v: Float[Array, "*s d"], c: Float[Array, ""]) -> Float[Array, "*s d"]:
    """The point of the ball at hyperbolic distance |v| from the origin in the direction of v."""
    root = jnp.sqrt(c)
    length = safe_norm(v)
    return jnp.tanh(root * length / 2) / (root * length) * v


def ball_log_origin(y: Float[Array, "*s d"], c: Float[Array, ""]) -> Float[Array, "*s d"]:
    """The inverse of `ball_exp_origin`."""
    root = jnp.sqrt(c)
    length = safe_norm(y)
    inside = jnp.minimum(root * length, 1 - jnp.finfo(y.dtype).epsneg)
    return 2 * jnp.arctanh(inside) / (root * length) * y


def ball_to_hyperboloid(z: Float[Array, "*s d"]) -> Float[Array, "*s d_plus_1"]:
    """The point of the hyperboloid that projects stereographically to z in the ball of curvature -1."""
    square = jnp.sum(z * z, -1, keepdims=True)
    return jnp.concatenate([1 + square, 2 * z], -1) / (1 - square)


def hyperboloid_to_ball(x: Float[Array, "*s d_plus_1"]) -> Float[Array, "*s d"]:
    """The stereographic projection of the hyperboloid onto the ball of curvature -1."""
    return x[..., 1:] / (1 + x[..., :1])
