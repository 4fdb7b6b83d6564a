"""The logarithms of a Dirichlet vector: no component underflows."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.reparameterization import declared, rsample, rule
from reparax.reparameterization.beta import log_dirichlet_sample


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
