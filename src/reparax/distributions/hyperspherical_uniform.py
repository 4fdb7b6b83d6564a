"""The uniform distribution on the unit sphere."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.distributions._sphere import log_area, normalize
from reparax.reparameterization import rsample, rule


class HypersphericalUniform(dist.Distribution):
    """The uniform distribution on the unit sphere of R^d: p(x) = Gamma(d/2) / (2 pi^(d/2)), in nats per area.

    Args:
        dimension: d, at least 2; the sphere has d - 1 dimensions.
        batch_shape: The batch shape.
    """

    support = constraints.sphere
    pytree_aux_fields = ("dimension",)

    def __init__(self, dimension: int, batch_shape: tuple[int, ...] = (), *, validate_args: bool | None = None) -> None:
        self.dimension = dimension
        super().__init__(batch_shape=batch_shape, event_shape=(dimension,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Draws, of shape ``sample_shape + batch_shape + (d,)``."""
        return jax.lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        shape = jax.numpy.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return jnp.full(shape, -log_area(self.dimension), value.dtype)

    def entropy(self) -> Float[Array, "*batch"]:
        """The differential entropy, in nats: the log of the area."""
        return jnp.full(self.batch_shape, log_area(self.dimension))

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """Zero."""
        return jnp.zeros((*self.batch_shape, self.dimension))


@rule(HypersphericalUniform, declare=())
def _uniform_on_sphere(q: HypersphericalUniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return normalize(jax.random.normal(key, (*sample_shape, *q.batch_shape, q.dimension)))
