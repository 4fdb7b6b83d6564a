"""Bounds on the log-likelihood: the evidence lower bound and the importance-weighted bound."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from reparax.distributions import Slices, has_analytic_kl, has_conditional_kl, kl_per_dimension, kl_terms
from reparax.estimators import AssumedContinuous, base_of, expectation, iwae_estimate, path_only, sample_with_log_prob
from reparax.model import Model
from reparax.objectives._base import MOST_SAMPLES, AbstractObjective, Terms, estimator_for
from reparax.parts import option

MOST_STEPS = 1_000_000_000
GROUPS = ("dimension", "layer")
"""What free bits may belong to."""
THROUGH_Z_ALONE = frozenset({"sticking-the-landing", "doubly-reparameterized"})
"""Estimators of this bound without the score of q."""


class ELBO(AbstractObjective):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), Kingma & Welling (2014), equation 3; nats.

    The KL has its closed form if there is one (for layers of Normals, that of each layer given the layers before it),
    and is otherwise estimated from the same samples. The density of a
    pushforward is computed together with its draws, so that its map needs no inverse. With the estimator
    ``sticking-the-landing`` (or ``doubly-reparameterized``, the same for this bound) the KL is always estimated, and
    log q is differentiated through z only: Roeder, Wu & Duvenaud (2017), equation 6.

    ``beta`` (Higgins et al. 2017, equation 4) and ``free_bits`` (Kingma et al. 2016, equation 15; per example, and per
    group, which is a latent dimension or, of posteriors of several layers, all dimensions of a layer) change the
    objective, but not the reported ``reconstruction`` and ``kl``. A KL that is one number has the free bits of all
    groups together.

    Args:
        beta: Weight of the KL; 1 is the evidence lower bound.
        warmup_steps: Training steps over which the weight rises linearly from 0.
        free_bits: Nats per group below which the KL is not reduced further.
        free_bits_of: What a group is: "dimension" or "layer".
        num_samples: Samples of z for each example and step.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    beta: float = option(1.0, low=0, high=1e6)
    warmup_steps: int = option(0, low=0, high=MOST_STEPS)
    free_bits: float = option(0.0, low=0, high=1e6)
    free_bits_of: str = option(
        "dimension", choices=GROUPS, cure="choose layer for posteriors of several layers, such as ladder"
    )
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
        by_terms = not through_z and (self.free_bits > 0 or has_conditional_kl(posterior, prior))

        # As an expectation over the base, a pushforward needs no inverse. The density at a given z would need one.
        base, push = (posterior, lambda z: (z, path_only(posterior, z))) if through_z else base_of(posterior)

        # A likelihood must be continuous in z: its tests for infinite logits are no jumps.
        def terms(e: Array) -> tuple[Array, Array]:
            z, log_q = push(e)
            reconstruction = model.likelihood(z).log_prob(x)
            if analytic:
                return reconstruction, jnp.zeros_like(reconstruction)
            kl = kl_terms(posterior, prior, z, log_q) if by_terms else log_q - prior.log_prob(z)
            return reconstruction, kl

        estimator = "pathwise" if through_z else estimator_for(self.estimator, model)
        reconstruction, groups = expectation(
            AssumedContinuous(terms), base, key=key, num_samples=self.num_samples, estimator=estimator
        )
        if analytic:
            groups = kl_per_dimension(posterior, prior)
        kl = jnp.sum(groups)
        penalty = self._penalty(groups, model.posterior.layer_slices, (*posterior.event_shape, 1)[0])
        return Terms(reconstruction - self.weight(step) * penalty, reconstruction - kl, reconstruction, kl)

    def _penalty(self, kl: Float[Array, "*d"], layers: Slices, size: int) -> Float[Array, ""]:
        """The KL of each dimension, or of all of them in one number, with free bits for each group."""
        by_layer = self.free_bits_of == "layer"
        if self.free_bits == 0:  # no maximum, because an estimated KL may be negative
            return jnp.sum(kl)
        if kl.ndim == 0:
            return jnp.maximum(kl, self.free_bits * (len(layers) if by_layer else size))
        groups = jnp.stack([jnp.sum(kl[start:end]) for start, end in layers]) if by_layer else kl
        return jnp.sum(jnp.maximum(groups, self.free_bits))


class IWAE(AbstractObjective):
    """E[log (1/K) sum_k w_k], w_k = p(x, z_k) / q(z_k | x), z_1..z_K drawn from q; nats.

    Burda et al. (2016), equation 8: a bound on log p(x) for every K, which does not decrease with K and is the ELBO for
    K = 1. The value is the log-mean-exp of the log weights. The estimator may be one of expectations, or one of bounds
    such as ``doubly-reparameterized`` or ``vimco``.

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

        # A likelihood must be continuous in z: its tests for infinite logits are no jumps.
        inner, reported = jax.random.split(key)
        value = iwae_estimate(
            AssumedContinuous(log_joint), posterior, key=inner, num_samples=self.num_samples,
            estimator=estimator_for(self.estimator, model),
        )  # fmt: skip
        # The terms are reported, but not trained: one more draw, without a derivative.
        z, log_q = sample_with_log_prob(posterior, reported)
        reconstruction = jax.lax.stop_gradient(model.likelihood(z).log_prob(x))
        kl = jax.lax.stop_gradient(log_q - prior.log_prob(z))
        return Terms(value, value, reconstruction, kl)
