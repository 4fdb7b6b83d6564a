"""Posteriors on the space of real numbers."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.parts import option
from reparax.posteriors._base import AbstractFamily, LatentSpace
from reparax.pytrees import soft_bound

LOG_VARIANCE_BOUNDS = (-14.0, 8.0)
MOST_COMPONENTS = 10_000


class DiagonalNormal(AbstractFamily):
    """q(z | x) = N(z; mu(x), diag(sigma(x)^2)), the network giving mu and log sigma^2, the latter softly bounded.

    Kingma & Welling (2014), equation 9 and appendix C.2.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return diagonal_normal(outputs)


def diagonal_normal(outputs: Float[Array, " outputs"]) -> dist.Distribution:
    """N(mu, diag(sigma^2)) with mu and the softly bounded log sigma^2 as the halves of a vector."""
    mean, log_variance = jnp.split(outputs, 2)
    scale = jnp.exp(0.5 * soft_bound(log_variance, *LOG_VARIANCE_BOUNDS))
    return dist.Normal(mean, scale).to_event(1)


class LowRankNormal(AbstractFamily):
    """q(z | x) = N(z; mu(x), diag(sigma(x)^2) + U(x) U(x)^T), U of few columns: correlations at little cost.

    Rezende, Mohamed & Wierstra (2014), section 4.3, have such a matrix of rank one as the precision; here it is the
    covariance: Ong, Nott & Smith (2018), "Gaussian variational approximation with a factor covariance structure".

    Args:
        rank: The number of columns of U.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    rank: int = option(2, low=1, high=MOST_COMPONENTS)

    def num_outputs(self, latent_dim: int) -> int:
        return (2 + self.rank) * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        mean, log_variance, columns = jnp.split(outputs, (latent_dim, 2 * latent_dim))
        variance = jnp.exp(soft_bound(log_variance, *LOG_VARIANCE_BOUNDS))
        # In units of sigma, so that the matrix of rank by rank that is inverted is never near singular.
        factor = soft_bound(columns, -10.0, 10.0).reshape(latent_dim, self.rank) * jnp.sqrt(variance)[:, None]
        return dist.LowRankMultivariateNormal(mean, factor, variance)


class FullCovarianceNormal(AbstractFamily):
    """q(z | x) = N(z; mu(x), L(x) L(x)^T), L lower triangular, the network giving mu, log diag(L)^2 and the rest of L.

    z = mu + L eps: Kingma & Welling (2019), section 2.5.1, equations 2.30 to 2.33.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        size = latent_dim
        mean, log_variance, below = jnp.split(outputs, (size, 2 * size))
        diagonal = jnp.exp(0.5 * soft_bound(log_variance, *LOG_VARIANCE_BOUNDS))
        rows, columns = jnp.tril_indices(size, -1)
        scale_tril = jnp.diag(diagonal).at[rows, columns].set(below * diagonal[rows])
        # numpyro's check of the matrix fails while a program for batches of unknown size is traced.
        return dist.MultivariateNormal(mean, scale_tril=scale_tril, validate_args=False)


class NormalMixture(AbstractFamily):
    """q(z | x) = sum_k pi_k(x) N(z; mu_k(x), diag(s_k(x)^2)).

    The weights are differentiated implicitly: Graves (2016), "Stochastic backpropagation through mixture density
    distributions", equation 9.

    Args:
        num_components: The number of components.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    num_components: int = option(4, low=1, high=MOST_COMPONENTS)

    def num_outputs(self, latent_dim: int) -> int:
        return self.num_components * (1 + 2 * latent_dim)

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        parameters = outputs.reshape(self.num_components, 1 + 2 * latent_dim)
        logits = soft_bound(parameters[:, 0], -10.0, 10.0)
        loc, log_variance = jnp.split(parameters[:, 1:], 2, axis=1)
        scale = jnp.exp(0.5 * soft_bound(log_variance, -14.0, 8.0))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))


class Laplace(AbstractFamily):
    """q(z | x) = prod_d Laplace(z_d; mu_d(x), b_d(x)), the network giving mu and log b, the latter softly bounded."""

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        loc, log_scale = jnp.split(outputs, 2)
        return dist.Laplace(loc, jnp.exp(soft_bound(log_scale, -7.0, 4.0))).to_event(1)


class StudentT(AbstractFamily):
    """q(z | x) = prod_d StudentT(z_d; nu_d(x), mu_d(x), s_d(x)), nu above 2 so that the variance is finite.

    The derivative in nu is implicit: Figurnov et al. (2018), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 3 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        loc, log_scale, log_excess = jnp.split(outputs, 3)
        df = 2.05 + jnp.exp(soft_bound(log_excess + 2.0, -3.0, 7.0))
        return dist.StudentT(df, loc, jnp.exp(soft_bound(log_scale, -7.0, 4.0))).to_event(1)


class Deterministic(AbstractFamily):
    """z = f(x): no density, and so no KL and no bound; train it with the reconstruction objective.

    With a Normal fitted to its codes after training it can also generate, Ghosh et al. (2020), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "fitted-normal"
    has_density: ClassVar[bool] = False

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return dist.Delta(outputs, event_dim=1)
