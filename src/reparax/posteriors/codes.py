"""Posteriors of codes: indices of vectors in a codebook, chosen by rounding or drawn.

A code is laid out as in `reparax.distributions.codes`: the indices first, then the embedding, which alone the
likelihood sees.
"""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.distributions.codes import Embedding, RoundedCodes, independent_codes
from reparax.errors import RecipeError
from reparax.networks import Network
from reparax.parts import option
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.pytrees import soft_bound

MOST_CODES = 65_536
LARGEST = 10.0
"""Latent numbers before they are rounded are softly bounded to this size."""


class CodePosterior(Posterior):
    """A posterior of codes.

    Attributes:
        part: The part that created it.
        latent_shape: The shape of one z.
    """

    @property
    @abstractmethod
    def codebooks(self) -> Float[Array, "m k d"]:
        """The vectors that the indices stand for, of each of the M stages of a position."""

    @property
    def num_positions(self) -> int:
        """L, the number of vectors that the likelihood sees."""
        stages, _, width = self.codebooks.shape
        return self.latent_shape[0] // (stages + width)

    @property
    def num_indices(self) -> int:
        """P, the number of indices: that of the positions times that of the stages."""
        return self.num_positions * self.codebooks.shape[0]

    @property
    def num_codes(self) -> int:
        """K, the number of values of an index."""
        return self.codebooks.shape[1]

    @property
    def num_decoded(self) -> int:
        """The size of the embedding."""
        return self.latent_shape[0] - self.num_indices

    @property
    def latent_names(self) -> tuple[str, ...]:
        """code0, code1 and so on for the indices, then z0, z1 and so on for the embedding."""
        indices = (f"code{index}" for index in range(self.num_indices))
        return (*indices, *(f"z{index}" for index in range(self.num_decoded)))

    def embedded(self, indices: Float[Array, " p"]) -> Float[Array, " z"]:
        """The code with these indices, which must be whole numbers from 0 to K - 1."""
        one_hot = jax.nn.one_hot(jnp.asarray(indices, jnp.int32), self.num_codes)
        return Embedding(self.codebooks).forward_and_log_det(one_hot)[0]


class FSQ(AbstractPosterior):
    """Numbers between -1 and 1, each rounded to the nearest of a few levels: finite scalar quantization.

    Mentzer et al. (2024), "Finite scalar quantization: VQ-VAE made simple", section 3.1, with levels that are spaced
    equally around 0 also where their number is even. A position is one number for each of the levels given, and its
    code one of their product; there is no codebook to learn, and so none to collapse. q(z | x) is the point that x is
    rounded to, and the KL is -log p(z). Trained by the straight-through estimator, which is biased.

    Args:
        levels: The number of levels of each number of a position, with commas between them.
    """

    latent_space: ClassVar[LatentSpace] = "codes"
    default_prior: ClassVar[str] = "uniform-codes"
    has_density: ClassVar[bool] = True
    is_rounded: ClassVar[bool] = True
    levels: str = option("8,6,5")

    def __check_init__(self) -> None:
        self.numbers  # noqa: B018

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of levels.

        Raises:
            RecipeError: They are no numbers from 2 up, or their product is too large.
        """
        words = str(self.levels).split(",")
        numbers = tuple(int(word) for word in words if word.strip().isdecimal())
        if len(numbers) != len(words) or min(numbers) < 2 or int(np.prod(numbers, dtype=object)) > MOST_CODES:
            raise RecipeError(
                expected=f"levels to be whole numbers from 2 up, with commas between them, of a product of at most "
                f"{MOST_CODES:,}",
                got=repr(self.levels),
                cure="choose for example levels 8,6,5",
            )
        return numbers

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "LatticeEncoder":
        width = len(self.numbers)
        encoder = make_encoder(latent_dim * width, key=key)
        return LatticeEncoder(part=self, network=encoder, latent_shape=(latent_dim * (1 + width),))


class LatticeEncoder(CodePosterior):
    """The weights of `FSQ`.

    Args:
        part: The posterior's options.
        network: The encoder.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of levels."""
        assert isinstance(self.part, FSQ)
        return self.part.numbers

    @property
    def codebooks(self) -> Float[Array, "1 k d"]:
        """All points of the lattice, the last number of a position varying fastest."""
        axes = [np.linspace(-1.0, 1.0, count) for count in self.numbers]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(axes))
        return jnp.asarray(points, jnp.float32)

    def __call__(self, x: Float[Array, "*event"]) -> RoundedCodes:
        numbers = self.numbers
        top = jnp.asarray(np.asarray(numbers) - 1, jnp.float32)
        strides = jnp.asarray(np.cumprod([1, *numbers[:0:-1]])[::-1].copy(), jnp.float32)
        latents = jnp.tanh(self.network(x)).reshape(-1, len(numbers))
        level = jnp.floor(jax.lax.stop_gradient(latents + 1) * (top / 2)[None] + 0.5)
        indices = jnp.asarray(jnp.sum(level * strides[None], axis=-1), jnp.int32)
        embedding = self.codebooks[0][indices]
        return RoundedCodes(
            indices.astype(latents.dtype), jnp.ravel(embedding), jnp.ravel(latents), num_codes=int(np.prod(numbers))
        )


class VQ(AbstractPosterior):
    """The vectors of a learned codebook that are nearest to the encoder's outputs: vector quantization.

    van den Oord, Vinyals & Kavukcuoglu (2017), "Neural discrete representation learning", equations 1 to 3. q(z | x) is
    that point, and the KL is -log p(z): L log K for equally probable codes. Trained by the straight-through estimator,
    which is biased. In training alone, the squared distance of the vectors to the encoder's outputs is subtracted from
    any objective (equation 3): the codebook follows by gradient and not by a moving average, which would be a state
    outside of the weights.

    Args:
        num_codes: K, the number of vectors in the codebook, which all positions share.
        code_dim: The size of a vector.
        commitment: The weight of the term that draws the encoder's outputs to the codebook.
    """

    latent_space: ClassVar[LatentSpace] = "codes"
    default_prior: ClassVar[str] = "uniform-codes"
    has_density: ClassVar[bool] = True
    is_rounded: ClassVar[bool] = True
    num_codes: int = option(64, low=2, high=MOST_CODES)
    code_dim: int = option(4, low=1, high=10_000)
    commitment: float = option(1.0, low=0, high=1e6)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "CodebookEncoder":
        return _quantizer(self, make_encoder, latent_dim, (1, self.num_codes, self.code_dim), self.commitment, key)


class ResidualVQ(AbstractPosterior):
    """Sums of vectors of several learned codebooks, each nearest to what those before it leave.

    Zeghidour et al. (2021), "SoundStream", algorithm 1; Lee et al. (2022), "Autoregressive image generation using
    residual quantization", equations 3 to 6. The decoder sees the sum; the KL is -log p(z), with one index for each
    stage of each position. Trained as `VQ` is.

    Args:
        num_codes: K, the number of vectors in each codebook.
        num_stages: The number of codebooks.
        code_dim: The size of a vector.
        commitment: The weight of the term that draws the encoder's outputs to the codebooks.
    """

    latent_space: ClassVar[LatentSpace] = "codes"
    default_prior: ClassVar[str] = "uniform-codes"
    has_density: ClassVar[bool] = True
    is_rounded: ClassVar[bool] = True
    num_codes: int = option(16, low=2, high=MOST_CODES)
    num_stages: int = option(2, low=1, high=100)
    code_dim: int = option(4, low=1, high=10_000)
    commitment: float = option(1.0, low=0, high=1e6)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "CodebookEncoder":
        shape = self.num_stages, self.num_codes, self.code_dim
        return _quantizer(self, make_encoder, latent_dim, shape, self.commitment, key)


class CodebookEncoder(CodePosterior):
    """The weights of `VQ` and of `ResidualVQ`.

    Args:
        part: The posterior's options.
        network: The encoder.
        vectors: The codebooks.
        latent_shape: The shape of one z.
        commitment: The weight of the term that draws the encoder's outputs to the codebooks.
    """

    part: AbstractPosterior
    network: Network
    vectors: Float[Array, "m k d"]
    latent_shape: tuple[int, ...] = eqx.field(static=True)
    commitment: float = eqx.field(static=True)

    @property
    def codebooks(self) -> Float[Array, "m k d"]:
        """The learned vectors."""
        return self.vectors

    def __call__(self, x: Float[Array, "*event"]) -> RoundedCodes:
        latents = self._latents(x)
        stages = self._stages(latents)
        indices = jnp.stack([chosen for chosen, _ in stages], axis=1)
        embedding = sum(vectors for _, vectors in stages)
        return RoundedCodes(
            jnp.ravel(indices).astype(latents.dtype), jnp.ravel(embedding), jnp.ravel(latents), self.num_codes
        )

    def penalty(self, x: Float[Array, "*event"]) -> Float[Array, ""]:
        """|sg(e) - c|^2 + commitment |e - sg(c)|^2, summed over positions and stages; sg stops the derivative."""
        constant = jax.lax.stop_gradient
        left, total = self._latents(x), jnp.zeros(())
        for _, vectors in self._stages(left):
            drawn_to_codes = self.commitment * jnp.sum((left - constant(vectors)) ** 2)
            total += jnp.sum((constant(left) - vectors) ** 2) + drawn_to_codes
            left = left - constant(vectors)
        return total

    def _latents(self, x: Float[Array, "*event"]) -> Float[Array, "l d"]:
        return soft_bound(self.network(x), -LARGEST, LARGEST).reshape(-1, self.vectors.shape[2])

    def _stages(self, latents: Float[Array, "l d"]) -> list[tuple[Int[Array, " l"], Float[Array, "l d"]]]:
        """The index and the vector of each position, stage by stage."""
        left, stages = jax.lax.stop_gradient(latents), []
        for codebook in self.vectors:
            chosen = nearest(left, jax.lax.stop_gradient(codebook))
            stages.append((chosen, codebook[chosen]))
            left = left - jax.lax.stop_gradient(codebook[chosen])
        return stages


class CategoricalCodebook(AbstractPosterior):
    """q(k | x) = softmax(-|e(x) - c_k|^2 / temperature): codes that are drawn by their distance, with a true gradient.

    The probabilities of Roy et al. (2018), "Theory and experiments on vector quantized autoencoders", section 3, and of
    Sonderby, Poole & Mnih (2017), "Continuous relaxation training of discrete latent variable image models", section 2.
    The evidence lower bound is exact in what it says, and its gradients are unbiased: they come from enumeration or a
    score-function estimator, and for the codebook from the path. `encode` gives the most probable code.

    Args:
        num_codes: K, the number of vectors in the codebook, which all positions share.
        code_dim: The size of a vector.
        temperature: In units of squared distances.
    """

    latent_space: ClassVar[LatentSpace] = "codes"
    default_prior: ClassVar[str] = "uniform-codes"
    has_density: ClassVar[bool] = True
    num_codes: int = option(64, low=2, high=MOST_CODES)
    code_dim: int = option(4, low=1, high=10_000)
    temperature: float = option(1.0, low=1e-6, high=1e6)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "CategoricalEncoder":
        first, second = jax.random.split(key)
        encoder = make_encoder(latent_dim * self.code_dim, key=first)
        vectors = jax.random.normal(second, (1, self.num_codes, self.code_dim))
        size = latent_dim * (1 + self.code_dim)
        return CategoricalEncoder(
            part=self, network=encoder, vectors=vectors, latent_shape=(size,), temperature=self.temperature
        )


class CategoricalEncoder(CodePosterior):
    """The weights of `CategoricalCodebook`.

    Args:
        part: The posterior's options.
        network: The encoder.
        vectors: The codebook.
        latent_shape: The shape of one z.
        temperature: In units of squared distances.
    """

    part: AbstractPosterior
    network: Network
    vectors: Float[Array, "1 k d"]
    latent_shape: tuple[int, ...] = eqx.field(static=True)
    temperature: float = eqx.field(static=True)

    @property
    def codebooks(self) -> Float[Array, "1 k d"]:
        """The learned vectors."""
        return self.vectors

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return independent_codes(self.logits(x), self.vectors)

    def code(self, x: Float[Array, "*event"]) -> Float[Array, " z"]:
        """The most probable code: the mean of an index would say nothing."""
        return self.embedded(jnp.argmax(self.logits(x), axis=-1))

    def logits(self, x: Float[Array, "*event"]) -> Float[Array, "p k"]:
        """Minus the squared distances over the temperature."""
        latents = soft_bound(self.network(x), -LARGEST, LARGEST).reshape(-1, self.vectors.shape[2])
        return -jnp.sum((latents[:, None] - self.vectors) ** 2, axis=-1) / self.temperature


def nearest(points: Float[Array, "n d"], codebook: Float[Array, "k d"]) -> Int[Array, " n"]:
    """The index of the vector that is nearest to each point; the first of equally near ones."""
    # Without |point|^2, which is the same for all vectors.
    return jnp.argmin(jnp.sum(codebook**2, axis=1)[None] - 2 * points @ codebook.T, axis=1)


def _quantizer(
    part: AbstractPosterior,
    make_encoder: MakeEncoder,
    latent_dim: int,
    shape: tuple[int, int, int],
    commitment: float,
    key: jax.Array,
) -> CodebookEncoder:
    """The quantizer with its first weights; vectors of later stages are smaller, as less is left for them."""
    first, second = jax.random.split(key)
    stages, _, width = shape
    vectors = jax.random.normal(second, shape) * 0.5 ** jnp.arange(stages)[:, None, None]
    size = latent_dim * (stages + width)
    encoder = make_encoder(latent_dim * width, key=first)
    return CodebookEncoder(part=part, network=encoder, vectors=vectors, latent_shape=(size,), commitment=commitment)
