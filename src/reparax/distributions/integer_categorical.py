"""A categorical distribution over consecutive whole numbers."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Num
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample


class IntegerCategorical(dist.Distribution):
    """P(x = low + k) = softmax(logits)_k for k = 0..c-1; nats.

    Args:
        logits: Unnormalized log probabilities, shape ``(*batch, c)``.
        low: The least value.
    """

    arg_constraints = {"logits": constraints.real_vector}
    has_enumerate_support = True
    pytree_data_fields = ("logits",)
    pytree_aux_fields = ("low",)

    def __init__(self, logits: Float[Array, "*batch c"], low: int = 0, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        self.low = low
        super().__init__(jnp.shape(logits)[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(self.low, self.low + self.logits.shape[-1] - 1)

    @validate_sample
    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
        index = jnp.asarray(value, jnp.int32) - self.low
        classes = self.logits.shape[-1]
        inside = (index >= 0) & (index < classes)
        log_probs = jnp.broadcast_to(jax.nn.log_softmax(self.logits, axis=-1), (*index.shape, classes))
        chosen = jnp.take_along_axis(log_probs, jnp.clip(index, 0, classes - 1)[..., None], axis=-1)[..., 0]
        return jnp.where(inside, chosen, -jnp.inf)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Num[Array, "*sample"]:
        return self.low + jax.random.categorical(key, self.logits, shape=sample_shape + self.batch_shape)

    def enumerate_support(self, expand: bool = True) -> Num[Array, "c *batch"]:
        """All values along a new leading axis."""
        size = self.logits.shape[-1]
        values = (self.low + jnp.arange(size)).reshape((size,) + (1,) * len(self.batch_shape))
        return jnp.broadcast_to(values, (size, *self.batch_shape)) if expand else values

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """The mean of the values, not the most probable one."""
        offsets = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        return self.low + jax.nn.softmax(self.logits, axis=-1) @ offsets
