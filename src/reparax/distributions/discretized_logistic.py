"""The discretized logistic distribution over whole numbers, the likelihood of integer pixels."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.nn import log_sigmoid
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample


class DiscretizedLogistic(dist.Distribution):
    """A logistic rounded to the whole numbers low..high, the edge bins taking the tails; nats.

    P(x) = sigmoid((x + 1/2 - loc) / scale) - sigmoid((x - 1/2 - loc) / scale) inside, and the whole tail at the
    edges: Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", equation 12;
    Salimans et al. (2017), equation 2.
    The difference is computed as sigmoid(b) sigmoid(-a) (1 - exp(-1 / scale)), which loses no digits anywhere.

    Args:
        loc: The location, in the user's units, of the batch shape.
        scale: The scale, in the user's units.
        low: The least value.
        high: The greatest value.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("low", "high")

    def __init__(
        self,
        loc: Float[Array, "*batch"],
        scale: Float[Array, "*batch"],
        low: int = 0,
        high: int = 255,
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        self.loc, self.scale = promote_shapes(loc, scale, shape=batch_shape)
        self.low, self.high = low, high
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(self.low, self.high)

    @validate_sample
    def log_prob(self, value: Float[Array, "*sample"]) -> Float[Array, "*sample"]:
        value = jnp.asarray(value, self.loc.dtype)
        above = log_sigmoid((value + 0.5 - self.loc) / self.scale)
        below = log_sigmoid((self.loc - value + 0.5) / self.scale)
        above = jnp.where(value >= self.high, 0.0, above)
        below = jnp.where(value <= self.low, 0.0, below)
        inside = (value > self.low) & (value < self.high)
        log_mass = above + below + jnp.where(inside, jnp.log(-jnp.expm1(-1 / self.scale)), 0.0)
        return jnp.where((value >= self.low) & (value <= self.high), log_mass, -jnp.inf)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample"]:
        noise = jax.random.logistic(key, sample_shape + self.batch_shape, self.loc.dtype)
        rounded = jnp.clip(jnp.round(self.loc + self.scale * noise), self.low, self.high)
        return lax.stop_gradient(rounded)

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """low + sum over k of P(x > k): exact, edge bins included."""

        def add(total: Array, level: Array) -> tuple[Array, None]:
            return total + jax.nn.sigmoid((self.loc - level) / self.scale), None

        levels = jnp.arange(self.low, self.high, dtype=self.loc.dtype) + 0.5
        total, _ = lax.scan(add, jnp.zeros(self.batch_shape, self.loc.dtype), levels)
        return self.low + total
