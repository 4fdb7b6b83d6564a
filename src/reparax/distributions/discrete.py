"""Discrete distributions: Bernoulli, categorical over integers or one-hot vectors, discretized logistic."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float, Num
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from reparax.distributions._elementwise import along_one_axis
from reparax.distributions._logistic import log_mass_of_rounded_logistic


class Bernoulli(dist.BernoulliLogits):
    """P(x) = sigmoid(logit)^x sigmoid(-logit)^(1 - x), log P(x) = x logit - softplus(logit), for finite logits; nats.

    numpyro's log density is the same number, but at a logit of exactly 0, where training often starts, its derivative
    has size 0 or 1 instead of 1/2, because it is computed with a clip and an absolute value, both with a kink there.

    Args:
        logits: The log odds of a 1, of the batch shape.
    """

    def __init__(self, logits: Float[Array, "*batch"], *, validate_args: bool | None = None) -> None:
        super().__init__(logits, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
        return bernoulli_log_prob(self.logits, value)


def bernoulli_log_prob(logits: Float[Array, "*batch"], value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
    """x logit - softplus(logit), element by element."""
    value = jnp.asarray(value, jnp.result_type(logits))
    return along_one_axis(lambda x, logit: x * logit - jax.nn.softplus(logit), value, logits)


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
        """The mean of the values."""
        offsets = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        return self.low + jax.nn.softmax(self.logits, axis=-1) @ offsets


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
        """All c one-hot vectors along a new leading axis, as in numpyro's discrete distributions."""
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


class DiscretizedLogistic(dist.Distribution):
    """A logistic variable rounded to the integers low..high; the edge bins include the tails; nats.

    P(x) = sigmoid((x + 1/2 - loc) / scale) - sigmoid((x - 1/2 - loc) / scale) inside, and the tail probabilities at the
    edges: Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", equation 12;
    Salimans et al. (2017), equation 2.

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

        def of_elements(value: Array, loc: Array, scale: Array) -> Array:
            log_mass = log_mass_of_rounded_logistic(value, loc, scale, self.low, self.high)
            return jnp.where((value >= self.low) & (value <= self.high), log_mass, -jnp.inf)

        return along_one_axis(of_elements, value, self.loc, self.scale)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample"]:
        noise = jax.random.logistic(key, sample_shape + self.batch_shape, self.loc.dtype)
        rounded = jnp.clip(jnp.round(self.loc + self.scale * noise), self.low, self.high)
        return lax.stop_gradient(rounded)

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """low + sum over k of P(x > k): exact, including the edge bins."""

        def add(total: Array, level: Array) -> tuple[Array, None]:
            return total + jax.nn.sigmoid((self.loc - level) / self.scale), None

        levels = jnp.arange(self.low, self.high, dtype=self.loc.dtype) + 0.5
        total, _ = lax.scan(add, jnp.zeros(self.batch_shape, self.loc.dtype), levels)
        return self.low + total
