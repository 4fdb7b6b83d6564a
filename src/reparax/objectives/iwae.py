"""The importance-weighted bound."""

from typing import ClassVar

import jax
from jaxtyping import Array, Int, Num

from reparax.estimators import Vouched, iwae_estimate, sample_with_log_prob
from reparax.model import Model
from reparax.objectives._base import MOST_SAMPLES, AbstractObjective, Terms
from reparax.parts import option


class IWAE(AbstractObjective):
    """E[log (1/K) sum_k w_k], w_k = p(x, z_k) / q(z_k | x), z_1..z_K drawn from q; nats.

    Burda et al. (2016), equation 8: a bound on log p(x) for every K, non-decreasing in K, the ELBO for K = 1. The
    value is the log-mean-exp of the log weights. The estimator may be one of expectations or of bounds:
    ``doubly-reparameterized``, ``vimco``.

    Args:
        num_samples: K, the samples of z for each example and step.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    num_samples: int = option(8, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        prior = model.prior(model.posterior)

        def log_joint(z: Array) -> Array:
            return model.likelihood(z).log_prob(x) + prior.log_prob(z)

        # A likelihood is continuous in z by contract: its guards for infinite logits are no jumps.
        inner, reported = jax.random.split(key)
        value = iwae_estimate(
            Vouched(log_joint), posterior, key=inner, num_samples=self.num_samples, estimator=self.estimator
        )
        # The parts are reported, not trained: one more draw, without a derivative.
        z, log_q = sample_with_log_prob(posterior, reported)
        reconstruction = jax.lax.stop_gradient(model.likelihood(z).log_prob(x))
        kl = jax.lax.stop_gradient(log_q - prior.log_prob(z))
        return Terms(value, value, reconstruction, kl)
