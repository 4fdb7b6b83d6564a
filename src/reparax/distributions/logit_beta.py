"""The log-odds of a Beta variable: accurate at both ends, whatever the shapes."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import betaln, digamma, polygamma
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes

from reparax.reparameterization import declared, rsample, rule
from reparax.reparameterization.beta import log_beta_sample


class LogitBeta(dist.Distribution):
    """y = log x - log(1 - x) with x from Beta(a, b): log p(y) = a log x + b log(1 - x) - log B(a, b), in nats.

    log x = -softplus(-y) and log(1 - x) = -softplus(y) lose nothing, where x itself rounds to 0 or 1.

    Args:
        concentration1: a, the weight of log x.
        concentration0: b, the weight of log(1 - x).
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.real

    def __init__(
        self,
        concentration1: Float[Array, "*batch"],
        concentration0: Float[Array, "*batch"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(jnp.shape(concentration1), jnp.shape(concentration0))
        dtype = jnp.result_type(float, concentration1, concentration0)
        a, b = jnp.asarray(concentration1, dtype), jnp.asarray(concentration0, dtype)
        self.concentration1, self.concentration0 = promote_shapes(a, b, shape=batch_shape)
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density of the log-odds, in nats."""
        a, b = self.concentration1, self.concentration0
        return -a * jax.nn.softplus(-value) - b * jax.nn.softplus(value) - betaln(a, b)

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """digamma(a) - digamma(b)."""
        return digamma(self.concentration1) - digamma(self.concentration0)

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """trigamma(a) + trigamma(b)."""
        return polygamma(1, self.concentration1) + polygamma(1, self.concentration0)


@rule(LogitBeta, declare=declared("implicit", "concentration1", "concentration0"))
def _logit_beta(q: LogitBeta, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    a, b = q.concentration1, q.concentration0
    log_x, log1m_x = log_beta_sample(key, a, b, (*sample_shape, *q.batch_shape))
    return log_x - log1m_x
