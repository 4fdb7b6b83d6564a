"""The importance-weighted bound."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from reparax.estimators import Vouched, expectation
from reparax.model import Model
from reparax.objectives._base import AbstractObjective, ObjectiveDials, Terms


class IWAE(AbstractObjective):
    """E[log (1/K) sum_k w_k], w_k = p(x, z_k) / q(z_k | x), z_1..z_K drawn from q; nats.

    Burda et al. (2016), equation 8: a bound on log p(x) for every K, non-decreasing in K, the ELBO for K = 1. The
    value is the
    log-mean-exp of the log weights.
    """

    needs_density: ClassVar[bool] = True
    num_samples: int = eqx.field(static=True, default=8)
    estimator: str = eqx.field(static=True, default="auto")

    @classmethod
    def create(cls, dials: ObjectiveDials) -> Self:
        return cls(dials.num_samples, dials.estimator)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        prior = model.prior(model.posterior)

        def bound(samples: Num[Array, "k *latent"]) -> tuple[Array, Array, Array]:
            reconstruction = jax.vmap(lambda z: model.likelihood(z).log_prob(x))(samples)
            kl = jax.vmap(lambda z: posterior.log_prob(z) - prior.log_prob(z))(samples)
            return log_mean_exp(reconstruction - kl), jnp.mean(reconstruction), jnp.mean(kl)

        samples = posterior.expand((self.num_samples,)).to_event(1)
        value, reconstruction, kl = expectation(Vouched(bound), samples, key=key, estimator=self.estimator)
        return Terms(value, value, reconstruction, kl)


def log_mean_exp(log_weights: Array) -> Array:
    """log of the mean of the exponentials of a vector."""
    return jax.nn.logsumexp(log_weights) - jnp.log(float(log_weights.size))
