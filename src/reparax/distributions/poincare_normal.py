"""The wrapped normal distribution on the Poincare ball."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.distributions._hyperbolic import ball_exp_origin, ball_log_origin, moebius_add, safe_norm
from reparax.distributions.continuous_bernoulli import log_sinhc
from reparax.reparameterization import declared, rsample, rule

MOMENT_PAIRS = 512


class PoincareNormal(dist.Distribution):
    r"""The wrapped normal on the Poincare ball of curvature -c.

    z = location (+) exp_0(v), v ~ Normal(0, diag(scale^2)) in the tangent space at the origin, carried to the location
    by Moebius addition (+). With r = |v| the hyperbolic distance from the location,

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
