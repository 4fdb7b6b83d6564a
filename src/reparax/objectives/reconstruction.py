"""Reconstruction alone, the objective of the deterministic autoencoder."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from reparax.estimators import AssumedContinuous, expectation
from reparax.model import Model
from reparax.objectives._base import MOST_SAMPLES, AbstractObjective, Terms, estimator_for
from reparax.parts import option


class Reconstruction(AbstractObjective):
    """E_q[log p(x | z)], in nats: no regularization, no bound.

    With the deterministic posterior this is the plain autoencoder, a baseline for all other models.

    Args:
        num_samples: The samples of z for each example and step.
        estimator: The gradient estimator, by name, or "auto".
    """

    needs_density: ClassVar[bool] = False
    trains_prior: ClassVar[bool] = False
    num_samples: int = option(1, low=1, high=MOST_SAMPLES)
    estimator: str = option("auto")

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        reconstruction = expectation(
            AssumedContinuous(lambda z: model.likelihood(z).log_prob(x)),
            posterior,
            key=key,
            num_samples=self.num_samples,
            estimator=estimator_for(self.estimator, model),
        )
        return Terms(reconstruction, reconstruction, reconstruction, jnp.zeros_like(reconstruction))
