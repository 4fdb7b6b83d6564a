"""The wrapped normal distribution on the hyperboloid."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.distributions._hyperbolic import ball_to_hyperboloid, hyperboloid_to_ball
from reparax.distributions.poincare_normal import PoincareNormal
from reparax.reparameterization import declared, rsample, rule


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
