"""Posteriors on intervals, on the simplex and on positive numbers."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bounded import LogisticNormal as LogisticNormalDistribution
from reparax.errors import RecipeError
from reparax.posteriors._base import AbstractFamily, LatentSpace
from reparax.pytrees import soft_bound


class AbstractUnitInterval(AbstractFamily):
    """Independent variables on the unit interval with two shapes: the network gives their logarithms, softly bounded.

    Attributes:
        kind: The distribution of one variable, given its two shapes.
        log_bounds: The bounds of the logarithms of the shapes.
    """

    latent_space: ClassVar[LatentSpace] = "unit interval"
    default_prior: ClassVar[str] = "uniform"
    kind: eqx.AbstractClassVar[type[dist.Distribution]]
    log_bounds: eqx.AbstractClassVar[tuple[float, float]]

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        a, b = jnp.split(jnp.exp(soft_bound(outputs, *self.log_bounds)), 2)
        return self.kind(a, b).to_event(1)


class Beta(AbstractUnitInterval):
    """q(z | x) = prod_d Beta(z_d; a_d(x), b_d(x)), the network giving log a and log b, softly bounded.

    The derivatives are implicit: Figurnov et al. (2018), section 4.
    """

    kind: ClassVar[type[dist.Distribution]] = dist.Beta
    log_bounds: ClassVar[tuple[float, float]] = (-4.0, 8.0)


class Kumaraswamy(AbstractUnitInterval):
    """q(z | x) = prod_d Kumaraswamy(z_d; a_d(x), b_d(x)), z = (1 - (1 - u)^(1/b))^(1/a).

    Nalisnick & Smyth (2017), section 3.1. The network gives log a and log b, softly bounded.
    """

    kind: ClassVar[type[dist.Distribution]] = dist.Kumaraswamy
    log_bounds: ClassVar[tuple[float, float]] = (-3.0, 6.0)


class Dirichlet(AbstractFamily):
    """q(z | x) = Dirichlet(z; alpha(x)) on the simplex of ``latent_dim`` proportions, log alpha softly bounded.

    The derivative is implicit: Figurnov et al. (2018), section 4 (there with latent Dirichlet allocation).
    """

    latent_space: ClassVar[LatentSpace] = "simplex"
    default_prior: ClassVar[str] = "uniform-dirichlet"

    def num_outputs(self, latent_dim: int) -> int:
        if latent_dim < 2:
            raise RecipeError(
                expected="two proportions or more, which add up to 1", got=f"a latent_dim of {latent_dim}",
                cure="choose --latent-dim 2, or --posterior logistic-normal, which has one proportion more",
            )  # fmt: skip
        return latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return dist.Dirichlet(jnp.exp(soft_bound(outputs, -4.0, 8.0)))


class LogisticNormal(AbstractFamily):
    """z = softmax((y, 0)) with y ~ N(mu(x), diag(sigma(x)^2)): ``latent_dim`` + 1 proportions.

    Srivastava & Sutton (2017), section 3.2, in the basis of log ratios.
    """

    latent_space: ClassVar[LatentSpace] = "simplex"
    default_prior: ClassVar[str] = "standard-logistic-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        loc, log_scale = jnp.split(outputs, 2)
        return LogisticNormalDistribution(loc, jnp.exp(soft_bound(log_scale, -5.0, 2.0)))


class Gamma(AbstractFamily):
    """q(z | x) = prod_d Gamma(z_d; alpha_d(x), beta_d(x)), the network giving log alpha and log beta, softly bounded.

    The derivative in alpha is implicit: Figurnov et al. (2018), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "positive"
    default_prior: ClassVar[str] = "unit-exponential"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        log_concentration, log_rate = jnp.split(outputs, 2)
        # Below a concentration of about 0.2, draws underflow to 0 in float32, where the density is infinite.
        concentration = jnp.exp(soft_bound(log_concentration, -1.5, 8.0))
        return dist.Gamma(concentration, jnp.exp(soft_bound(log_rate, -8.0, 8.0))).to_event(1)
