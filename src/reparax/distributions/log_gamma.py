"""The logarithm of a Gamma variable: what small shapes need in float32."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import digamma, gammaln, polygamma
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes

from reparax.reparameterization import ParameterRule, rsample, rule
from reparax.reparameterization.gamma import log_gamma_sample


class LogGamma(dist.Distribution):
    """y = log x with x from Gamma(concentration, rate): log p(y) = a (y + log r) - r exp(y) - log Gamma(a), in nats.

    At concentrations of 0.01 most x are below the smallest float, and E log x can only be had in log space.

    Args:
        concentration: The shape a.
        rate: The rate r.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.real

    def __init__(
        self,
        concentration: Float[Array, "*batch"],
        rate: float | Float[Array, "*batch"] = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(jnp.shape(concentration), jnp.shape(rate))
        concentration = jnp.asarray(concentration, jnp.result_type(float, concentration))
        rate = jnp.asarray(rate, concentration.dtype)
        self.concentration, self.rate = promote_shapes(concentration, rate, shape=batch_shape)
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density of log x, in nats."""
        shifted = value + jnp.log(self.rate)
        return self.concentration * shifted - jnp.exp(shifted) - gammaln(self.concentration)

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """digamma(a) - log r."""
        return digamma(self.concentration) - jnp.log(self.rate)

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """The trigamma function of a."""
        return jnp.broadcast_to(polygamma(1, self.concentration), self.batch_shape)


_DECLARED = (ParameterRule("concentration", "implicit"), ParameterRule("rate", "location-scale"))


@rule(LogGamma, declare=_DECLARED)
def _log_gamma(q: LogGamma, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return log_gamma_sample(key, q.concentration, (*sample_shape, *q.batch_shape)) - jnp.log(q.rate)
