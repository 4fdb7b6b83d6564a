"""The Bernoulli distribution with a right derivative everywhere."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Num
from numpyro.distributions.util import validate_sample


class Bernoulli(dist.BernoulliLogits):
    """P(x) = sigmoid(logit)^x sigmoid(-logit)^(1 - x), log P(x) = x logit - softplus(logit), for finite logits; nats.

    numpyro's own log density is the same number, but its derivative at a logit of exactly 0, where training often
    starts, is 0 or 1 in size instead of 1/2: it is written with a clip and an absolute value that both bend there.

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
    return jnp.asarray(value, jnp.result_type(logits)) * logits - jax.nn.softplus(logits)
