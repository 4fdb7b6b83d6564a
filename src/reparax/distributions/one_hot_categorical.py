"""A categorical variable as a one-hot vector, so that a decoder can multiply it and a relaxation can soften it."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample


class _OneHot(constraints.ParameterFreeConstraint):
    """Vectors with a single one among zeros."""

    is_discrete = True
    event_dim = 1

    def __call__(self, x: Float[Array, "*batch c"]) -> Array:
        return ((x == 0) | (x == 1)).all(axis=-1) & (x.sum(axis=-1) == 1)

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.zeros_like(prototype).at[..., 0].set(1.0)


one_hot = _OneHot()


class OneHotCategorical(dist.Distribution):
    """P(x = e_k) = softmax(logits)_k over the unit vectors e_1..e_c; event shape (c,), nats.

    Args:
        logits: Unnormalized log probabilities, shape ``(*batch, c)``.
    """

    arg_constraints = {"logits": constraints.real_vector}
    support = one_hot
    has_enumerate_support = True
    pytree_data_fields = ("logits",)

    def __init__(self, logits: Float[Array, "*batch c"], *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(jnp.shape(logits)[:-1], jnp.shape(logits)[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Float[Array, "*batch c"]:
        """The probabilities, softmax(logits)."""
        return jax.nn.softmax(self.logits, axis=-1)

    @validate_sample
    def log_prob(self, value: Float[Array, "*sample c"]) -> Float[Array, "*sample"]:
        shape = jnp.broadcast_shapes(jnp.shape(value), self.logits.shape)
        log_probs = jnp.broadcast_to(jax.nn.log_softmax(self.logits, axis=-1), shape)
        return jnp.sum(jnp.broadcast_to(value, shape) * log_probs, axis=-1)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample c"]:
        index = jax.random.categorical(key, self.logits, shape=sample_shape + self.batch_shape)
        return jax.nn.one_hot(index, self.event_shape[0], dtype=self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Float[Array, "c *batch c"]:
        """All c one-hot vectors along a new leading axis, as numpyro's discrete distributions give theirs."""
        (size,) = self.event_shape
        values = jnp.eye(size, dtype=self.logits.dtype).reshape((size,) + (1,) * len(self.batch_shape) + (size,))
        return jnp.broadcast_to(values, (size, *self.batch_shape, size)) if expand else values

    @property
    def mean(self) -> Float[Array, "*batch c"]:
        """The probabilities."""
        return self.probs

    @property
    def variance(self) -> Float[Array, "*batch c"]:
        """p (1 - p), element by element."""
        return self.probs * (1 - self.probs)
