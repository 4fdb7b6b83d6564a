"""Bounds with penalties on the codes of a batch: total correlation, covariances, distance to the prior; and a capacity.

The reported bound is that of the model, without the penalty.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from reparax.errors import RecipeError
from reparax.estimators import base_of
from reparax.model import Model
from reparax.objectives._base import AbstractObjective, Terms
from reparax.objectives.bounds import ELBO
from reparax.parts import option
from reparax.pytrees import BATCH
from reparax.reparameterization import innermost, rsample

LARGEST_WEIGHT = 1e6
MOST_STEPS = 1_000_000_000


class DecomposedTerms(eqx.Module):
    """An objective and its terms, with the parts of the KL, whose sum it is; nats.

    Attributes:
        objective: What training maximizes.
        bound: The bound on log p(x).
        reconstruction: log p(x | z) of one draw.
        kl: log q(z | x) - log p(z) of that draw.
        mutual_information: log q(z | x) - log q(z), q(z) the mean of the posteriors of all rows.
        total_correlation: log q(z) - sum_d log q(z_d).
        dimensions: sum_d log q(z_d) - log p(z).
    """

    objective: Float[Array, ""]
    bound: Float[Array, ""]
    reconstruction: Float[Array, ""]
    kl: Float[Array, ""]
    mutual_information: Float[Array, ""]
    total_correlation: Float[Array, ""]
    dimensions: Float[Array, ""]


class TotalCorrelation(AbstractObjective):
    """The evidence lower bound minus a weight times the total correlation of z: beta-TCVAE.

    In the mean over x, and for a prior of independent dimensions, KL(q(z | x) || p(z)) = mutual information
    + KL(q(z) || prod_d q(z_d)) + sum_d KL(q(z_d) || p(z_d)): Chen et al. (2018), "Isolating sources of
    disentanglement", equations 2 and 4 with alpha = gamma = 1 and beta = 1 + ``weight``. q(z) is estimated from the
    batch: a row's own posterior has the weight 1 / N of one row of N, the others have equal parts of the rest. This is
    unbiased for q(z), as their stratified weights (appendix C.2) are.

    Args:
        weight: The weight of the total correlation beside the one that it has in the bound.
        num_rows: N, the number of rows of the data; 0 for that of the fit, or of a batch without one.
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    differentiates_draws: ClassVar[bool] = True
    weight: float = option(5.0, low=0, high=LARGEST_WEIGHT)
    num_rows: int = option(0, low=0, high=MOST_STEPS)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        posterior = model.posterior(x)
        factors = innermost(posterior)
        if factors.event_dim or not factors.batch_shape:
            raise RecipeError(
                expected="a posterior of independent dimensions for the total correlation",
                got=type(factors).__name__,
                cure="choose --posterior diagonal-normal",
            )
        z = rsample(posterior, key)
        reconstruction = model.likelihood(z).log_prob(x)
        log_prior = model.prior(model.posterior).log_prob(z)
        log_q = jnp.sum(factors.log_prob(z))
        of_rows = jax.vmap(lambda q: q.log_prob(z))(jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, BATCH), factors))
        log_weights = self._log_weights(len(of_rows))
        log_joint = jax.nn.logsumexp(log_weights + jnp.sum(of_rows, axis=1))
        log_each = jnp.sum(jax.nn.logsumexp(log_weights[:, None] + of_rows, axis=0))
        parts = log_q - log_joint, log_joint - log_each, log_each - log_prior
        bound = reconstruction - (log_q - log_prior)
        return DecomposedTerms(bound - self.weight * parts[1], bound, reconstruction, log_q - log_prior, *parts)

    def _log_weights(self, count: int) -> Float[Array, " n"]:
        """The log of the weight of each row of the batch in the estimate of q(z)."""
        own = 1.0 / max(self.num_rows, count)
        others = (1.0 - own) / max(1, count - 1)
        is_own = jnp.arange(count) == jax.lax.axis_index(BATCH)
        return jnp.log(jnp.where(is_own, own, others))


class DIP(AbstractObjective):
    """The evidence lower bound minus weights times the squared distance of the covariance of the codes from I.

    The codes are the means of the posteriors of a batch: Kumar, Sattigeri & Balakrishnan (2018), "Variational inference
    of disentangled latent concepts", equation 5 (DIP-VAE-I).

    Args:
        weight: The weight of the covariances of different dimensions.
        variance_weight: The weight of the distances of the variances from 1.
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    differentiates_draws: ClassVar[bool] = True
    weight: float = option(10.0, low=0, high=LARGEST_WEIGHT)
    variance_weight: float = option(10.0, low=0, high=LARGEST_WEIGHT)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        terms = ELBO()(model, x, key=key, step=step)
        code = jnp.ravel(model.posterior.code(x))
        away = code - jax.lax.pmean(code, BATCH)
        off = jax.lax.pmean(jnp.outer(away, away), BATCH) - jnp.eye(len(code))
        of_variances = jnp.sum(jnp.diagonal(off) ** 2)
        penalty = self.weight * (jnp.sum(off**2) - of_variances) + self.variance_weight * of_variances
        return Terms(terms.bound - penalty, terms.bound, terms.reconstruction, terms.kl)


class InfoVAE(AbstractObjective):
    """E_q[log p(x | z)] - kl_weight KL - weight MMD^2(q(z), p(z)) over the batch.

    Zhao, Song & Ermon (2019), "InfoVAE", equation 6; with a kl_weight of 0 the Wasserstein autoencoder with this
    distance: Tolstikhin et al. (2018), algorithm 2. The unbiased MMD of Gretton et al. (2012), equation 3, with the
    inverse multiquadratic kernel, between draws of the posteriors and of the prior. The posterior needs no density.

    Args:
        weight: The weight of the MMD.
        kl_weight: The weight of the KL.
    """

    needs_density: ClassVar[bool] = False
    trains_prior: ClassVar[bool] = False
    differentiates_draws: ClassVar[bool] = True
    weight: float = option(100.0, low=0, high=LARGEST_WEIGHT)
    kl_weight: float = option(0.0, low=0, high=LARGEST_WEIGHT)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        for_code, for_prior = jax.random.split(key)
        prior = model.prior(model.posterior)
        base, push = base_of(model.posterior(x))
        z, log_q = push(rsample(base, for_code))
        other = prior.sample(for_prior)
        reconstruction = model.likelihood(z).log_prob(x)
        kl = log_q - prior.log_prob(z) if model.posterior.has_density else jnp.zeros_like(reconstruction)
        codes, draws = (jax.lax.all_gather(jnp.ravel(part), BATCH) for part in (z, other))
        distance = _among(codes) + _among(draws) - 2.0 * jnp.mean(_kernel(codes, draws))
        objective = reconstruction - self.kl_weight * kl - self.weight * distance
        return Terms(objective, reconstruction - kl, reconstruction, kl)


class Capacity(AbstractObjective):
    """E_q[log p(x | z)] - weight |KL - C|, the capacity C growing linearly with the steps to its final value.

    Burgess et al. (2018), "Understanding disentangling in beta-VAE", equation 8.

    Args:
        weight: The weight of the distance.
        capacity: C at the end, in nats.
        capacity_steps: The training steps over which it grows from 0.
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    weight: float = option(10.0, low=0, high=LARGEST_WEIGHT)
    capacity: float = option(10.0, low=0, high=LARGEST_WEIGHT)
    capacity_steps: int = option(5000, low=0, high=MOST_STEPS)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        terms = ELBO()(model, x, key=key, step=step)
        grown = jnp.clip(jnp.asarray(step, jnp.float32) / max(1, self.capacity_steps), 0.0, 1.0)
        distance = jnp.abs(terms.kl - self.capacity * grown)
        return Terms(terms.reconstruction - self.weight * distance, terms.bound, terms.reconstruction, terms.kl)


def _among(points: Float[Array, "n d"]) -> Float[Array, ""]:
    """The mean kernel of different points."""
    count = len(points)
    return (jnp.sum(_kernel(points, points)) - count) / max(count * (count - 1), 1)


def _kernel(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    scale = 2.0 * a.shape[1]
    return scale / (scale + jnp.sum((a[:, None] - b[None]) ** 2, axis=-1))
