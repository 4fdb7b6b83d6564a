"""The evidence lower bound."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from reparax.distributions import has_analytic_kl, kl_per_dimension
from reparax.estimators import Vouched, expectation, path_only
from reparax.model import Model
from reparax.objectives._base import AbstractObjective, ObjectiveDials, Schedule, Terms, constant

THROUGH_Z_ALONE = frozenset({"sticking-the-landing", "doubly-reparameterized"})
"""Estimators of this bound that leave out the score of q."""


class ELBO(AbstractObjective):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), Kingma & Welling (2014), equation 3; nats.

    The KL is the closed form where one exists and otherwise estimated with the same samples. With the estimator
    ``sticking-the-landing`` (or ``doubly-reparameterized``, the same for this bound) it is always estimated, and log q
    differentiated through z alone: Roeder, Wu & Duvenaud (2017), equation 6. ``beta`` (Higgins et al.
    2017, equation 4) and ``free_bits`` (Kingma et al. 2016, equation 15, per latent dimension and example) change what
    is maximized, never the reported ``reconstruction`` and ``kl``.
    """

    needs_density: ClassVar[bool] = True
    beta: Schedule = eqx.field(default_factory=lambda: constant(1.0))
    free_bits: Schedule = eqx.field(default_factory=lambda: constant(0.0))
    num_samples: int = eqx.field(static=True, default=1)
    estimator: str = eqx.field(static=True, default="auto")

    @classmethod
    def create(cls, dials: ObjectiveDials) -> Self:
        beta = Schedule(0.0, dials.beta, dials.warmup_steps)
        return cls(beta, constant(dials.free_bits), dials.num_samples, dials.estimator)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        prior = model.prior(model.posterior)
        through_z = self.estimator in THROUGH_Z_ALONE
        analytic = not through_z and has_analytic_kl(posterior, prior)

        # A likelihood is continuous in z by contract: its guards for infinite logits are no jumps.
        def terms(z: Array) -> tuple[Array, Array]:
            reconstruction = model.likelihood(z).log_prob(x)
            if analytic:
                return reconstruction, jnp.zeros_like(reconstruction)
            log_q = path_only(posterior, z) if through_z else posterior.log_prob(z)
            return reconstruction, log_q - prior.log_prob(z)

        estimator = "pathwise" if through_z else self.estimator
        reconstruction, kl_terms = expectation(
            Vouched(terms), posterior, key=key, num_samples=self.num_samples, estimator=estimator
        )
        if analytic:
            kl_terms = kl_per_dimension(posterior, prior)
        # One number for all dimensions (a joint density, or an estimate) has the free bits of all of them.
        free = self.free_bits(step) * ((*posterior.event_shape, 1)[0] if kl_terms.ndim == 0 else 1)
        # Without free bits nothing is pressed up: an estimated KL may be negative.
        pressed = jnp.sum(jnp.maximum(kl_terms, jnp.where(free > 0, free, -jnp.inf)))
        kl = jnp.sum(kl_terms)
        return Terms(reconstruction - self.beta(step) * pressed, reconstruction - kl, reconstruction, kl)
