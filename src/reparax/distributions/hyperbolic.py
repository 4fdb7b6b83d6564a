"""Wrapped normal distributions on hyperbolic space, and its geometry."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.distributions.bounded import log_sinhc
from reparax.reparameterization import declared, rsample, rule


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


MOMENT_PAIRS = 512


class PoincareNormal(dist.Distribution):
    r"""The wrapped normal on the Poincare ball of curvature -c.

    z = location (+) exp_0(v), v ~ Normal(0, diag(scale^2)) in the tangent space at the origin, translated to the
    location by Moebius addition (+). With r = |v| the hyperbolic distance from the location,

    log p(z) = log Normal(v; 0, scale) - (d - 1) log( sinh(sqrt(c) r) / (sqrt(c) r) ),

    in nats, with respect to the hyperbolic volume.

    Args:
        location: A point of the ball |z| < 1 / sqrt(c), of shape (..., d).
        scale: Standard deviations in hyperbolic length, of shape (..., d).
        curvature: c > 0.

    Source: Mathieu et al. (2019), section 3.2 and appendix B; Nagano et al. (2019), equation 10.
    """

    arg_constraints = {"location": constraints.real_vector, "scale": constraints.positive}
    support = constraints.real_vector
    pytree_data_fields = ("location", "scale", "curvature")

    def __init__(
        self,
        location: Float[Array, "*batch d"],
        scale: Float[Array, "*batch d"],
        curvature: float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        location, scale = jnp.asarray(location), jnp.asarray(scale)
        shape = lax.broadcast_shapes(location.shape, scale.shape)
        self.location, self.scale = jnp.broadcast_to(location, shape), jnp.broadcast_to(scale, shape)
        self.curvature = jnp.asarray(curvature, self.location.dtype)
        super().__init__(batch_shape=shape[:-1], event_shape=shape[-1:], validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Draws, of shape ``sample_shape + batch_shape + (d,)``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        """The log-density with respect to hyperbolic volume, in nats."""
        location, scale = (jnp.broadcast_to(a, value.shape) for a in (self.location, self.scale))
        tangent = ball_log_origin(moebius_add(-location, value, self.curvature), self.curvature)
        flat = jnp.sum(dist.Normal(0.0, scale).log_prob(tangent), -1)
        radius = safe_norm(tangent)[..., 0]
        return flat - (value.shape[-1] - 1) * log_sinhc(jnp.sqrt(self.curvature) * radius)

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """The Frechet mean, which is the location."""
        return self.location

    @property
    def variance(self) -> Float[Array, "*batch d"]:
        """The mean squared deviation of each coordinate from the location, over 512 fixed antithetic pairs."""
        half = jax.random.normal(jax.random.key(0), (MOMENT_PAIRS, *self.scale.shape), self.scale.dtype)
        tangent = self.scale[None] * jnp.concatenate([half, -half])
        location = jnp.broadcast_to(self.location, tangent.shape)
        draws = moebius_add(location, ball_exp_origin(tangent, self.curvature), self.curvature)
        return jnp.mean((draws - location) ** 2, axis=0)


@rule(PoincareNormal, declare=declared("composed (location-scale)", "location", "scale", "curvature"))
def _poincare_normal(q: PoincareNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    shape = (*sample_shape, *q.batch_shape, *q.event_shape)
    location, scale = jnp.broadcast_to(q.location, shape), jnp.broadcast_to(q.scale, shape)
    tangent = scale * jax.random.normal(key, shape, scale.dtype)
    return moebius_add(location, ball_exp_origin(tangent, q.curvature), q.curvature)


class HyperboloidNormal(dist.Distribution):
    """The wrapped normal on the hyperboloid -x_0^2 + x_1^2 + ... + x_d^2 = -1, x_0 > 0, of curvature -1.

    It is `PoincareNormal` in other coordinates, with the same density with respect to the hyperbolic volume, in nats.

    Args:
        location: A point of the hyperboloid, of shape (..., d + 1).
        scale: Standard deviations in the tangent space, of shape (..., d).

    Source: Nagano et al. (2019), algorithm 1 and equation 10.
    """

    arg_constraints = {"location": constraints.real_vector, "scale": constraints.positive}
    support = constraints.real_vector

    def __init__(
        self,
        location: Float[Array, "*batch d_plus_1"],
        scale: Float[Array, "*batch d"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.location, self.scale = jnp.asarray(location), jnp.asarray(scale)
        batch_shape = lax.broadcast_shapes(self.location.shape[:-1], self.scale.shape[:-1])
        super().__init__(batch_shape=batch_shape, event_shape=self.location.shape[-1:], validate_args=validate_args)

    def in_ball(self) -> PoincareNormal:
        """The same distribution on the Poincare ball."""
        return PoincareNormal(hyperboloid_to_ball(self.location), self.scale)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d_plus_1"]:
        """Draws, of shape ``sample_shape + batch_shape + (d + 1,)``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s d_plus_1"]) -> Float[Array, "*s"]:
        """The log-density with respect to hyperbolic volume, in nats."""
        return self.in_ball().log_prob(hyperboloid_to_ball(value))


@rule(HyperboloidNormal, declare=declared("composed (location-scale)", "location", "scale"))
def _hyperboloid_normal(q: HyperboloidNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return ball_to_hyperboloid(rsample(q.in_ball(), key, sample_shape))
