"""Codes: whole numbers, each of which stands for a vector of a codebook.

A code of one example is z = (k_1..k_P, embedding): P indices, and the embedding that they determine, which is what a
decoder sees. There are L positions of M stages, P = L M, the stages of a position one after the other; the embedding of
a position is the sum of the vectors of its stages, and the embeddings of the positions follow one another. Densities
are probabilities of the indices (nats, with respect to counting); the embedding adds nothing to them.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro.distributions import constraints

from reparax.distributions.discrete import OneHotCategorical
from reparax.distributions.flows import Pushforward

CERTAIN = 1e9
"""A logit that makes a probability 0 or 1, and is finite, so that 0 times a log probability is 0."""


class Embedding(eqx.Module):
    """The map from one-hot vectors of P indices to z = (indices, embedding), and back.

    Attributes:
        codebooks: The vectors of each stage.
    """

    codebooks: Float[Array, "m k d"]

    def forward_and_log_det(self, e: Float[Array, "p k"]) -> tuple[Float[Array, " z"], Float[Array, ""]]:
        """z of one-hot vectors, or of mixtures of them; atoms have no volume."""
        stages, count, _ = self.codebooks.shape
        e = jnp.asarray(e, self.codebooks.dtype)
        embedding = jnp.einsum("lmk,mkd->ld", e.reshape(-1, stages, count), self.codebooks)
        return jnp.concatenate(
            [jnp.sum(e * jnp.arange(count, dtype=e.dtype)[None], axis=-1), jnp.ravel(embedding)]
        ), jnp.zeros((), e.dtype)

    def inverse_and_log_det(self, z: Float[Array, " z"]) -> tuple[Float[Array, "p k"], Float[Array, ""]]:
        """The one-hot vectors of the indices in z; infinite, so that their probability is 0, if one is no index."""
        count = self.codebooks.shape[1]
        indices = z[: num_indices(len(z), self.codebooks)]
        is_index = (indices >= 0) & (indices < count) & (indices == jnp.floor(indices))
        one_hot = jax.nn.one_hot(jnp.asarray(indices, jnp.int32), count, dtype=z.dtype)
        return jnp.where(jnp.all(is_index), one_hot, jnp.inf), jnp.zeros((), z.dtype)


def num_indices(size: int, codebooks: Float[Array, "m k d"]) -> int:
    """P, the number of indices in a z of a size."""
    stages, _, width = codebooks.shape
    return size // (stages + width) * stages


def independent_codes(logits: Float[Array, "p k"], codebooks: Float[Array, "m k d"]) -> Pushforward:
    """The distribution of codes with independent indices, P(k_p = k) = softmax(logits_p)_k.

    As an expectation over one-hot vectors (`reparax.estimators.base_of`), every estimator of these is valid, and
    codebooks are differentiated along the path.
    """
    stages, _, width = codebooks.shape
    size = len(logits) + len(logits) // stages * width
    return Pushforward(OneHotCategorical(logits).to_event(1), Embedding(codebooks), event_shape=(size,))


class RoundedCodes(dist.Distribution):
    """The one code to which latent numbers were rounded: a point mass, so that log q(z) = 0.

    Its draw is a step function of the latent numbers, whose derivative is 0 almost everywhere. There is therefore no
    unbiased estimator of a useful derivative; `reparax.estimators.StraightThrough` is biased.

    Args:
        indices: The indices, as floating-point numbers.
        embedding: What they stand for.
        latents: The numbers that were rounded, one for each of the embedding.
        num_codes: K, the number of values of an index.
    """

    arg_constraints = {"latents": constraints.real_vector}
    pytree_data_fields = ("indices", "embedding", "latents")
    pytree_aux_fields = ("num_codes",)

    def __init__(
        self,
        indices: Float[Array, " p"],
        embedding: Float[Array, " e"],
        latents: Float[Array, " e"],
        num_codes: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.indices, self.embedding, self.latents = indices, embedding, latents
        self.num_codes = num_codes
        super().__init__(event_shape=(len(indices) + len(latents),), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    def straight_through(self) -> Float[Array, " z"]:
        """z, its derivative that of the latent numbers in place of the embedding: Bengio et al. (2013), section 4."""
        constant = jax.lax.stop_gradient
        # The difference of equal numbers is exactly 0, so that the value is that of the codebook to the last bit.
        moved = constant(self.embedding) + (self.latents - constant(self.latents))
        return jnp.concatenate([constant(self.indices), moved])

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s z"]:
        return jnp.broadcast_to(self.mean, (*sample_shape, *self.event_shape))

    def log_prob(self, value: Float[Array, "*s z"]) -> Float[Array, "*s"]:
        same = value[..., : len(self.indices)] == jax.lax.stop_gradient(self.indices)
        return jnp.where(jnp.all(same, axis=-1), 0.0, -jnp.inf).astype(self.latents.dtype)

    @property
    def mean(self) -> Float[Array, " z"]:
        """The code."""
        return jax.lax.stop_gradient(jnp.concatenate([self.indices, self.embedding]))

    @property
    def variance(self) -> Float[Array, " z"]:
        """Zeros."""
        return jnp.zeros(self.event_shape, self.latents.dtype)


class AutoregressiveCodes(dist.Distribution):
    """p(z) = prod_p p(k_p | k_1..k_(p-1)), each a softmax of logits that a masked network computes; nats.

    Germain et al. (2015), "MADE", equation 2.

    Args:
        network: From the one-hot vectors of all indices, flattened so that the positions vary fastest, to the logits in
            the same layout; the logits of an index depend only on the indices before it.
        codebooks: The vectors that the indices stand for.
        count: P, the number of indices.
    """

    arg_constraints = {}
    pytree_data_fields = ("network", "codebooks")
    pytree_aux_fields = ("count",)

    def __init__(
        self,
        network: Callable[[Array], Array],
        codebooks: Float[Array, "m k d"],
        count: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.network, self.codebooks, self.count = network, codebooks, count
        stages, _, width = codebooks.shape
        super().__init__(event_shape=(count + count // stages * width,), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    def log_prob(self, value: Float[Array, "*s z"]) -> Float[Array, "*s"]:
        flat = jnp.reshape(value, (-1, *self.event_shape))
        return jax.vmap(self._log_prob)(flat).reshape(value.shape[:-1])

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s z"]:
        keys = jax.random.split(key, math.prod(sample_shape))
        drawn = jax.lax.stop_gradient(jax.vmap(self._draw)(keys))
        return drawn.reshape(*sample_shape, *self.event_shape)

    def _logits(self, one_hot: Float[Array, "p k"]) -> Float[Array, "p k"]:
        return jax.nn.log_softmax(self.network(jnp.ravel(one_hot.T)).reshape(one_hot.T.shape).T, axis=-1)

    def _log_prob(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        one_hot, _ = Embedding(self.codebooks).inverse_and_log_det(z)
        is_code = jnp.all(jnp.isfinite(one_hot))
        one_hot = jnp.where(is_code, one_hot, 0.0)
        return jnp.where(is_code, jnp.sum(one_hot * self._logits(one_hot)), -jnp.inf)

    def _draw(self, key: jax.Array) -> Float[Array, " z"]:
        _, count, _ = self.codebooks.shape

        def one(drawn: Float[Array, "p k"], place: tuple[Int[Array, ""], jax.Array]) -> tuple[Array, None]:
            position, of_position = place
            index = jax.random.categorical(of_position, self._logits(drawn)[position])
            return drawn.at[position].set(jax.nn.one_hot(index, count, dtype=drawn.dtype)), None

        start = jnp.zeros((self.count, count), self.codebooks.dtype)
        drawn, _ = jax.lax.scan(one, start, (jnp.arange(self.count), jax.random.split(key, self.count)))
        return Embedding(self.codebooks).forward_and_log_det(drawn)[0]


def factors(q: dist.Distribution) -> OneHotCategorical | None:
    """The indices of a code as independent one-hot vectors; None for another distribution.

    A divergence between codes of one codebook is that between their indices.
    """
    if isinstance(q, RoundedCodes):
        indices = jnp.asarray(jax.lax.stop_gradient(q.indices), jnp.int32)
        return OneHotCategorical(CERTAIN * (jax.nn.one_hot(indices, q.num_codes, dtype=q.latents.dtype) - 1.0))
    if isinstance(q, Pushforward) and isinstance(q.transform, Embedding):
        base = q.base
        while isinstance(base, dist.Independent):
            base = base.base_dist
        return base if isinstance(base, OneHotCategorical) else None
    return None
