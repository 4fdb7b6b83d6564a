"""A learned mixture of diagonal Normals as prior."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.pytrees import soft_bound
from reparax.summary import Summary


class NormalMixture(AbstractPrior):
    """p(z) = sum_k pi_k N(z; m_k, diag(s_k^2)), all learned; Tomczak & Welling (2018), section 3.1 ("MoG")."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"real"})
    logits: Float[Array, " k"]
    loc: Float[Array, "k d"]
    log_scale: Float[Array, "k d"]

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        shape = (num_components, *posterior.latent_shape)
        return cls(jnp.zeros(num_components), jax.random.normal(key, shape), jnp.zeros(shape))

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        scale = jnp.exp(soft_bound(self.log_scale, -6.0, 4.0))
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), dist.Normal(self.loc, scale).to_event(1))
