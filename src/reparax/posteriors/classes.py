"""Posteriors of a class and of numbers given the class."""

from typing import ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.distributions import NormalOf, bounded_scale
from reparax.distributions.classes import ClassNormal as ClassNormalDistribution
from reparax.networks import Network, beside_context
from reparax.networks.mlp import Perceptron
from reparax.parts import option
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.posteriors.layered import Corrected
from reparax.pytrees import soft_bound

LARGEST = 10.0
"""What the encoder says of an example is softly bounded to this size."""


class ClassNormal(AbstractPosterior):
    """q(y, u | x) = Categorical(y; softmax(logits(x))) N(u; m(x, y), diag(s(x, y)^2)); z = (y, u), y one-hot.

    Kingma et al. (2014), "Semi-supervised learning with deep generative models", equations 4 and 5 (M2). Expectations
    are exact in y, as the gradient engine enumerates the classes. Without labels the classes are clusters.

    Args:
        num_classes: The number of classes; for the semi-supervised objective, by default that of the labels.
        hidden_units: Units of the hidden layer from (x, y) to u, and the numbers that the encoder gives besides logits.
    """

    latent_space: ClassVar[LatentSpace] = "class and real"
    default_prior: ClassVar[str] = "uniform-class"
    has_density: ClassVar[bool] = True
    num_classes: int = option(10, low=1, high=1000)
    hidden_units: int = option(128, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "ClassNormalEncoder":
        one, two = jax.random.split(key)
        encoder = make_encoder(self.num_classes + self.hidden_units, key=one)
        width = self.hidden_units
        given = Perceptron(self.num_classes + width, (width,), (2, latent_dim), key=two)
        return ClassNormalEncoder(
            part=self, network=encoder, of_class=given, latent_shape=(self.num_classes + latent_dim,)
        )


class ClassNormalEncoder(Posterior):
    """The weights of `ClassNormal`.

    Args:
        part: The posterior's options.
        network: The encoder: the logits, and what the second network gets to know of the example.
        of_class: From that and a class to mean and log standard deviation of u.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    of_class: Network
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        assert isinstance(self.part, ClassNormal)
        return self.part.num_classes

    def __call__(self, x: Float[Array, "*event"]) -> ClassNormalDistribution:
        logits, seen = jnp.split(self.network(x), (self.num_classes,))
        seen = soft_bound(seen, -LARGEST, LARGEST)

        def moments(y: Float[Array, " k"]) -> Float[Array, "2 d"]:
            return self.of_class(jnp.concatenate([y, seen]))

        of_classes = jax.vmap(moments)(jnp.eye(self.num_classes))
        scale = jnp.exp(soft_bound(of_classes[:, 1], -6.0, 4.0))
        return ClassNormalDistribution(soft_bound(logits, -30.0, 30.0), of_classes[:, 0], scale)


@runtime_checkable
class HasClasses(Protocol):
    """A posterior that is made with the prior of u given a class."""

    @property
    def of_classes(self) -> Float[Array, "k 2 d"]:
        """Mean and log standard deviation of u for each class."""
        ...


class CodebookLadder(AbstractPosterior):
    """q(k, u | x) = softmax(-|e(x) - c_k|^2)_k N(u; p(u | c_k) corrected by x): a ladder with a codebook on top.

    The deepest layer is one of the vectors c_k of a learned codebook, drawn by its distance to what the encoder says as
    in Roy et al. (2018), "Theory and experiments on vector quantized autoencoders", section 3; the layer below is a
    Normal, that of the prior corrected by the example as in `Ladder` (Sonderby et al. 2016, section 2). Codes are
    enumerated, so that bounds, gradients and the KL are exact in k. z = (k, u), k one-hot; the likelihood sees u.

    Args:
        num_classes: The number of vectors in the codebook.
        code_dim: The size of a vector.
        hidden_units: Units of the hidden layer from c_k to p(u | c_k).
    """

    latent_space: ClassVar[LatentSpace] = "class and real"
    default_prior: ClassVar[str] = "class-top-down"
    has_density: ClassVar[bool] = True
    num_classes: int = option(10, low=1, high=1000)
    code_dim: int = option(4, low=1, high=10_000)
    hidden_units: int = option(128, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "CodebookLadderEncoder":
        one, two, three = jax.random.split(key, 3)
        encoder, width = make_encoder(self.code_dim + 2 * latent_dim, key=one), self.hidden_units
        given = beside_context(
            lambda size: Perceptron(size, (width,), (2, latent_dim), key=two), self.code_dim, encoder
        )
        codebook = jax.random.normal(three, (self.num_classes, self.code_dim))
        return CodebookLadderEncoder(
            part=self, network=encoder, codebook=codebook, generative=NormalOf(given),
            latent_shape=(self.num_classes + latent_dim,),
        )  # fmt: skip


class CodebookLadderEncoder(Posterior):
    """The weights of `CodebookLadder`.

    Args:
        part: The posterior's options.
        network: The encoder: e, and what it says of u.
        codebook: The vectors.
        generative: From a vector to p(u | c_k).
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    codebook: Float[Array, "k c"]
    generative: NormalOf
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def num_classes(self) -> int:
        """The number of vectors."""
        return len(self.codebook)

    @property
    def num_decoded(self) -> int:
        """The dimensions of u."""
        return self.latent_shape[0] - len(self.codebook)

    @property
    def shares_layers(self) -> bool:
        """The prior of u given k belongs to both."""
        return True

    @property
    def of_classes(self) -> Float[Array, "k 2 d"]:
        """Mean and log standard deviation of p(u | c_k)."""
        return jax.vmap(self.generative)(self.codebook)

    def __call__(self, x: Float[Array, "*event"]) -> ClassNormalDistribution:
        said, seen = jnp.split(soft_bound(self.network(x), -LARGEST, LARGEST), (self.codebook.shape[1],))
        corrected = Corrected(self.generative, bounded_scale(seen.reshape(2, -1)))
        loc, log_scale = jnp.moveaxis(jax.vmap(corrected)(self.codebook), 1, 0)
        logits = -jnp.sum((said[None] - self.codebook) ** 2, axis=1)
        return ClassNormalDistribution(logits, loc, jnp.exp(log_scale))
