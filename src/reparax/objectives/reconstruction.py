"""Reconstruction alone, the objective of the deterministic autoencoder."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from reparax.estimators import Vouched, expectation
from reparax.model import Model
from reparax.objectives._base import AbstractObjective, ObjectiveDials, Terms


class Reconstruction(AbstractObjective):
    """E_q[log p(x | z)], in nats: no regularization, no bound.

    With the deterministic posterior this is the plain autoencoder, the baseline of every other model here.
    """

    needs_density: ClassVar[bool] = False
    num_samples: int = eqx.field(static=True, default=1)
    estimator: str = eqx.field(static=True, default="auto")

    @classmethod
    def create(cls, dials: ObjectiveDials) -> Self:
        return cls(dials.num_samples, dials.estimator)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        posterior = model.posterior(x)
        reconstruction = expectation(
            Vouched(lambda z: model.likelihood(z).log_prob(x)),
            posterior,
            key=key,
            num_samples=self.num_samples,
            estimator=self.estimator,
        )
        return Terms(reconstruction, reconstruction, reconstruction, jnp.zeros_like(reconstruction))
