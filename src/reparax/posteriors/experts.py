"""Posteriors of examples with several views, from what each view says alone: the views are experts."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from reparax.errors import RecipeError
from reparax.networks import Network, of_each_view
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.posteriors.real import LOG_VARIANCE_BOUNDS
from reparax.pytrees import soft_bound

MOST_VIEWS = 8
"""The most views of which all subsets are experts: 255 of them."""
ABSENT = -1e9
"""The logit of an expert that is absent: finite, and of probability 0."""


class AbstractExperts(AbstractPosterior):
    """A posterior from one diagonal Normal for each view, q_v(z | x_v) = N(z; m_v, diag(s_v^2)).

    An example without a view lacks its expert. Data without views are one view.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    has_density: ClassVar[bool] = True

    @abstractmethod
    def combined(
        self, mean: Float[Array, "v d"], variance: Float[Array, "v d"], present: Bool[Array, " v"]
    ) -> dist.Distribution:
        """The distribution of z given the experts that are present."""

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "Experts":
        """The posterior with a network for each view."""
        network = make_encoder(2 * latent_dim, key=key)
        return Experts(part=self, network=network, latent_shape=(latent_dim,))


class Experts(Posterior):
    """The weights of an `AbstractExperts`.

    Args:
        part: How the experts are combined.
        network: From each view to mean and log variance of its expert.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        assert isinstance(self.part, AbstractExperts)
        outputs, present = of_each_view(self.network, x)
        mean, log_variance = jnp.split(outputs, 2, axis=1)
        return self.part.combined(mean, jnp.exp(soft_bound(log_variance, *LOG_VARIANCE_BOUNDS)), present)


class ProductOfExperts(AbstractExperts):
    """q(z | x) proportional to N(z; 0, I) prod_v q_v(z | x_v), a Normal: precisions, and means times these, add up.

    The standard Normal is the expert of a prior. Wu & Goodman (2018), "Multimodal generative models for scalable
    weakly-supervised learning", section 2.2 (MVAE).
    """

    def combined(
        self, mean: Float[Array, "v d"], variance: Float[Array, "v d"], present: Bool[Array, " v"]
    ) -> dist.Distribution:
        loc, scale = _product(mean, variance, present[None], of_prior=1.0)
        return dist.Normal(loc[0], scale[0]).to_event(1)


class MixtureOfExperts(AbstractExperts):
    """q(z | x) = 1/V sum_v q_v(z | x_v) over the V views that are present; bounds sum over the views exactly.

    Shi et al. (2019), "Variational mixture-of-experts autoencoders for multi-modal deep generative models", section 3
    (MMVAE).
    """

    trains_each_view: ClassVar[bool] = True

    def combined(
        self, mean: Float[Array, "v d"], variance: Float[Array, "v d"], present: Bool[Array, " v"]
    ) -> dist.Distribution:
        return _mixture(mean, jnp.sqrt(variance), present)


class MixtureOfProducts(AbstractExperts):
    """q(z | x) = 1/S sum_s q_s(z | x), q_s proportional to prod_(v in s) q_v(z | x_v), over the S subsets s of views.

    The subsets are those of the views that are present, except the empty one. Sutter, Daunhawer & Vogt (2021),
    "Generalized multimodal ELBO", definition 1 (MoPoE).
    """

    trains_each_view: ClassVar[bool] = True

    def combined(
        self, mean: Float[Array, "v d"], variance: Float[Array, "v d"], present: Bool[Array, " v"]
    ) -> dist.Distribution:
        members = subsets(len(mean))
        loc, scale = _product(mean, variance, jnp.asarray(members) & present[None], of_prior=0.0)
        return _mixture(loc, scale, jnp.all(present[None] | ~members, axis=1))


def subsets(num_views: int) -> Bool[np.ndarray, "s v"]:
    """Which views are in each subset that is not empty.

    Raises:
        RecipeError: There are too many views.
    """
    if num_views > MOST_VIEWS:
        raise RecipeError(
            expected=f"at most {MOST_VIEWS} views, of which all subsets are experts", got=f"{num_views}",
            cure="choose --posterior product-of-experts or mixture-of-experts",
        )  # fmt: skip
    numbers = np.arange(1, 2**num_views)
    return (numbers[:, None] >> np.arange(num_views)[None]) % 2 == 1


def _product(
    mean: Float[Array, "v d"], variance: Float[Array, "v d"], members: Bool[Array, "s v"], of_prior: float
) -> tuple[Float[Array, "s d"], Float[Array, "s d"]]:
    """Mean and standard deviation of the product of some Normals, and of a standard Normal to a power of 0 or 1.

    Of no Normals at all, the product is the standard Normal.
    """
    weights = members[:, :, None] / variance[None]
    nothing = jnp.where(jnp.any(members, axis=1), of_prior, 1.0)[:, None]
    precision = jnp.sum(weights, axis=1) + nothing
    return jnp.sum(weights * mean[None], axis=1) / precision, precision**-0.5


def _mixture(loc: Float[Array, "k d"], scale: Float[Array, "k d"], present: Bool[Array, " k"]) -> dist.Distribution:
    """The Normals that are present, with equal weights; a standard Normal stands in for the others."""
    seen = present[:, None]
    parts = dist.Normal(jnp.where(seen, loc, 0.0), jnp.where(seen, scale, 1.0)).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(logits=jnp.where(present, 0.0, ABSENT)), parts)
