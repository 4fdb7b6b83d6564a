"""A Normal fitted to the codes after training, which makes a deterministic autoencoder generate."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.pytrees import Frozen
from reparax.summary import Summary


class FittedNormal(AbstractPrior):
    """p(z) = N(z; m, L L^T), the moments of the training data's codes, Ghosh et al. (2020), section 4.

    It is not trained: before `fitted_to` it is the standard Normal.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"point"})
    loc: Frozen
    scale_tril: Frozen

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        (size,) = posterior.latent_shape
        return cls(Frozen(jnp.zeros(size)), Frozen(jnp.eye(size)))

    def fitted_to(self, codes: np.ndarray) -> "FittedNormal":
        """The Normal with the mean and covariance of codes, shape (n, d)."""
        codes = np.asarray(codes, np.float64)
        covariance = np.atleast_2d(np.cov(codes, rowvar=False, bias=True))
        floor = 1e-6 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        factor = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
        loc, scale_tril = jnp.asarray(codes.mean(axis=0), jnp.float32), jnp.asarray(factor, jnp.float32)
        return FittedNormal(Frozen(loc), Frozen(scale_tril))

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return dist.MultivariateNormal(self.loc.value, scale_tril=self.scale_tril.value)
