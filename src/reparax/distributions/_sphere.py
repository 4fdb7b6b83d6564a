"""Geometry of the unit sphere shared by its distributions: directions about a mean, and how they turn with it."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log_area(dimension: int) -> float:
    """log of the area of the unit sphere in R^d: 2 pi^(d/2) / Gamma(d/2)."""
    return math.log(2.0) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def normalize(x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """The point of the unit sphere in the direction of x."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def around(
    key: jax.Array, mean: Float[Array, "*b d"], cosine: Float[Array, "*s"], sine: Float[Array, "*s"]
) -> Float[Array, "*s d"]:
    """A uniform direction among those at the given angle from the mean; differentiable in the mean and the angle.

    It is drawn about the fixed mean and then carried along by the rotation that turns the fixed mean into the moving
    one and leaves their common complement alone, which is smooth everywhere, unlike a Householder reflection.
    """
    fixed = jax.lax.stop_gradient(mean)
    shape = (*cosine.shape, mean.shape[-1])
    moving, fixed = jnp.broadcast_to(mean, shape), jnp.broadcast_to(fixed, shape)
    noise = jax.random.normal(key, shape, mean.dtype)
    across = normalize(noise - dot(noise, fixed)[..., None] * fixed)
    # A second projection removes what rounding left of the mean, which matters where the noise was nearly parallel.
    across = normalize(across - dot(across, fixed)[..., None] * fixed)
    point = cosine[..., None] * fixed + sine[..., None] * across
    return rotate(point, fixed, moving)


def rotate(x: Float[Array, "*s d"], start: Float[Array, "*s d"], end: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """x turned by the rotation in the plane of two unit vectors that takes the first to the second."""
    middle = start + end
    share = dot(middle, x) / (1 + dot(start, end))
    return x - share[..., None] * middle + 2 * dot(start, x)[..., None] * end


def dot(a: Float[Array, "*s d"], b: Float[Array, "*s d"]) -> Float[Array, "*s"]:
    """The inner product along the last axis."""
    return jnp.sum(a * b, axis=-1)


def square_distance(a: Float[Array, "*s d"], b: Float[Array, "*s d"]) -> Float[Array, "*s"]:
    """|a - b|^2 along the last axis."""
    return jnp.sum((a - b) ** 2, axis=-1)


def symmetric_variance(
    mean_direction: Float[Array, "*batch d"], cosine: Float[Array, "*batch"], square: Float[Array, "*batch"]
) -> Float[Array, "*batch d"]:
    """The variance of each coordinate of a distribution symmetric around mu, from E t and E t^2, t = mu . x."""
    along = mean_direction**2
    across = ((1 - square) / (mean_direction.shape[-1] - 1))[..., None]
    # Rounding must not make a tight one negative.
    return jnp.maximum((square - cosine**2)[..., None] * along + across * (1 - along), 0.0)
