"""Bounds on the log-likelihood: the evidence lower bound and the importance-weighted bound."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from reparax.distributions import has_analytic_kl, kl_per_dimension, kl_terms
from reparax.estimators import AssumedContinuous, base_of, expectation, iwae_estimate, path_only, sample_with_log_prob
from reparax.model import Model
from reparax.objectives._base import MOST_SAMPLES, AbstractObjective, Terms
from reparax.parts import option

MOST_STEPS = 1_000_000_000
THROUGH_Z_ALONE = frozenset({"sticking-the-landing", "doubly-reparameterized"})
"""Estimators of this bound that leave out the score of q."""


class ELBO(AbstractObjective):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), Kingma & Welling (2014), equation 3; nats.

    The KL is the closed form where one exists and otherwise estimated with the same samples: of a pushforward together
    with its draws, so that its map needs no inverse. With the estimator ``sticking-the-landing`` (or
    ``doubly-reparameterized``, the same for this bound) it is always estimated, and log q differentiated through z
    alone: Roeder, Wu & Duvenaud (2017), equation 6.

    ``beta`` (Higgins et al. 2017, equation 4) and ``free_bits`` (Kingma et al. 2016, equation 15; per example, and per
    latent dimension where the KL is a sum over these) change what is maximized, never the reported ``reconstruction``
    and ``kl``.

    Args:
        beta: Weight of the KL; 1 is the evidence lower bound.
        warmup_steps: Training steps over which the weight rises from 0 in a straight line.
        free_bits: Nats per latent dimension below which the KL is not pressed.
        num_samples: Samples of z for each example and step.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    beta: float = option(1.0, low=0, high=1e6)
    warmup_steps: int = option(0, low=0, high=MOST_STEPS)
    free_bits: float = option(0.0, low=0, high=1e6)
    num_samples: int = option(1, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def weight(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The weight of the KL at a training step."""
        if self.warmup_steps == 0:
            return jnp.asarray(self.beta, jnp.float32)
        return self.beta * jnp.clip(jnp.asarray(step, jnp.float32) / self.warmup_steps, 0.0, 1.0)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        prior = model.prior(model.posterior)
        through_z = self.estimator in THROUGH_Z_ALONE
        analytic = not through_z and has_analytic_kl(posterior, prior)

        # Seen from its base, a pushforward needs no inverse. Held at z, the density of q is needed of any z.
        base, push = (posterior, lambda z: (z, path_only(posterior, z))) if through_z else base_of(posterior)

        # A likelihood is continuous in z by contract: its guards for infinite logits are no jumps.
        def terms(e: Array) -> tuple[Array, Array]:
            z, log_q = push(e)
            reconstruction = model.likelihood(z).log_prob(x)
            if analytic:
                return reconstruction, jnp.zeros_like(reconstruction)
            if through_z or self.free_bits == 0:
                return reconstruction, log_q - prior.log_prob(z)
            return reconstruction, kl_terms(posterior, prior, z, log_q)

        estimator = "pathwise" if through_z else self.estimator
        reconstruction, groups = expectation(
            AssumedContinuous(terms), base, key=key, num_samples=self.num_samples, estimator=estimator
        )
        if analytic:
            groups = kl_per_dimension(posterior, prior)
        # One number for all dimensions (of a joint density) has the free bits of all of them.
        free = self.free_bits * ((*posterior.event_shape, 1)[0] if groups.ndim == 0 else 1)
        # Without free bits nothing is pressed up: an estimated KL may be negative.
        pressed = jnp.sum(jnp.maximum(groups, free) if free > 0 else groups)
        kl = jnp.sum(groups)
        return Terms(reconstruction - self.weight(step) * pressed, reconstruction - kl, reconstruction, kl)


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
            AssumedContinuous(log_joint), posterior, key=inner, num_samples=self.num_samples, estimator=self.estimator
        )
        # The parts are reported, not trained: one more draw, without a derivative.
        z, log_q = sample_with_log_prob(posterior, reported)
        reconstruction = jax.lax.stop_gradient(model.likelihood(z).log_prob(x))
        kl = jax.lax.stop_gradient(log_q - prior.log_prob(z))
        return Terms(value, value, reconstruction, kl)
