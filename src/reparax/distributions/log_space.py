"""Logarithms of Gamma and Dirichlet variables and log-odds of Beta variables, which do not underflow in float32."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import betaln, digamma, gammaln, polygamma
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes

from reparax.reparameterization import ParameterRule, declared, rsample, rule
from reparax.reparameterization.beta import log_beta_sample, log_dirichlet_sample
from reparax.reparameterization.gamma import log_gamma_sample


class LogGamma(dist.Distribution):
    """y = log x with x from Gamma(concentration, rate): log p(y) = a (y + log r) - r exp(y) - log Gamma(a), in nats.

    At concentrations of 0.01 most x are below the smallest float, and E log x can only be estimated in log space.

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


class LogitBeta(dist.Distribution):
    """y = log x - log(1 - x) with x from Beta(a, b): log p(y) = a log x + b log(1 - x) - log B(a, b), in nats.

    log x = -softplus(-y) and log(1 - x) = -softplus(y) are accurate even if x rounds to 0 or 1.

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


class LogDirichlet(dist.Distribution):
    """y = log x with x from Dirichlet(concentration), in nats, with respect to the first k - 1 coordinates of y.

    log p(y) = sum_i a_i y_i - y_k + log Gamma(sum a) - sum log Gamma(a_i).

    Args:
        concentration: a, of shape (..., k).
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.real_vector

    def __init__(self, concentration: Float[Array, "*batch k"], *, validate_args: bool | None = None) -> None:
        self.concentration = jnp.asarray(concentration)
        shape = self.concentration.shape
        super().__init__(batch_shape=shape[:-1], event_shape=shape[-1:], validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s k"]:
        """Draws, of shape ``sample_shape + batch_shape + (k,)``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s k"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        a = jnp.broadcast_to(self.concentration, value.shape)
        return jnp.sum(a * value, -1) - value[..., -1] + gammaln(a.sum(-1)) - gammaln(a).sum(-1)

    @property
    def mean(self) -> Float[Array, "*batch k"]:
        """digamma(a_i) - digamma(sum a)."""
        return digamma(self.concentration) - digamma(self.concentration.sum(-1, keepdims=True))


@rule(LogDirichlet, declare=declared("implicit", "concentration"))
def _log_dirichlet(q: LogDirichlet, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return log_dirichlet_sample(key, q.concentration, (*sample_shape, *q.batch_shape))
