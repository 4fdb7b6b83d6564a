"""The KL of each latent dimension, for those who watch training."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num

from reparax.distributions import has_analytic_kl, has_conditional_kl, kl_per_dimension, kl_terms
from reparax.estimators import sample_with_log_prob
from reparax.objectives._base import plain_model

MOST_DIMENSIONS = 256
"""Nobody reads the numbers of more dimensions, and each look is kept."""


class TermsByDimension(eqx.Module):
    """The terms of an objective for one example, with the KL of each latent dimension; nats.

    Attributes:
        terms: The terms.
        kl_per_dimension: KL(q(z_j | x) || p(z_j)); in layers, given the layers before it.
    """

    terms: Any
    kl_per_dimension: Float[Array, " k"]

    @property
    def bound(self) -> Float[Array, ""]:
        """The bound on log p(x)."""
        return self.terms.bound


class ByDimension(eqx.Module):
    """An objective whose terms have the KL of each dimension, where it is known; for looks, not for training.

    It is known for pairs of families with a closed form that is a sum over dimensions, and for layers of Normals, of
    which one draw is taken.

    Attributes:
        objective: The objective.
    """

    objective: Any

    def __call__(self, model: Any, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one example at a training step."""
        terms = self.objective(model, x, key=key, step=step)
        plain = plain_model(model)
        if not plain.posterior.has_density:
            return terms
        # Computed for the bound too: the compiler computes it once.
        posterior, prior = plain.posterior(x), plain.prior(plain.posterior)
        if has_analytic_kl(posterior, prior):
            kl = kl_per_dimension(posterior, prior)
        elif has_conditional_kl(posterior, prior):
            kl = kl_terms(posterior, prior, *sample_with_log_prob(posterior, jax.random.fold_in(key, 0)))
        else:
            return terms
        if kl.ndim != 1 or len(kl) > MOST_DIMENSIONS:
            return terms
        return TermsByDimension(terms, kl)
