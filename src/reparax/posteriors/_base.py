"""What a posterior is: a conditional distribution of the latent variable given one example."""

import math
from abc import abstractmethod
from typing import ClassVar, Literal, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Layered, Slices
from reparax.estimators import code_of
from reparax.networks import Network
from reparax.parts import Part

LatentSpace = Literal[
    "real",
    "binary",
    "one-hot",
    "positive",
    "unit interval",
    "simplex",
    "sphere",
    "ball",
    "count",
    "class and real",
    "codes",
]


class MakeEncoder(Protocol):
    """Makes a network from one example to a vector; every call draws its weights from the key."""

    def __call__(self, out_size: int, *, key: jax.Array) -> Network: ...


class Posterior(eqx.Module):
    """q(z | x) for one example x: the probabilistic encoder.

    Attributes:
        part: The part that created it, with its options.
        latent_shape: The shape of one z.
    """

    latent_shape: eqx.AbstractVar[tuple[int, ...]]
    part: eqx.AbstractVar["AbstractPosterior"]

    @property
    def latent_space(self) -> LatentSpace:
        """The space of z; a prior must be a distribution on the same space."""
        return self.part.latent_space

    @property
    def has_density(self) -> bool:
        """Whether q(z | x) has a density, without which there is no KL and no bound."""
        return self.part.has_density

    @property
    def layer_slices(self) -> Slices:
        """Where the layers of z start and end, the deepest first; a single layer, unless it is a chain of layers."""
        return ((0, math.prod(self.latent_shape)),)

    @property
    def num_decoded(self) -> int:
        """How many numbers of z, its last ones, the likelihood sees."""
        return math.prod(self.latent_shape)

    @property
    def latent_names(self) -> tuple[str, ...]:
        """A name for each number of z: z0, z1 and so on."""
        return tuple(f"z{index}" for index in range(math.prod(self.latent_shape)))

    @property
    def shares_layers(self) -> bool:
        """Whether it is made with layers of the prior."""
        return False

    @property
    def top_down(self) -> Layered:
        """The layers of the prior that it is made with; in a conditional model, those of the context that is given."""
        raise NotImplementedError

    @abstractmethod
    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        """The distribution of z given x, with event shape ``latent_shape``."""

    def penalty(self, x: Float[Array, "*event"]) -> Float[Array, ""]:
        """What training subtracts from any objective, such as the distance to a codebook; no part of a bound."""
        return jnp.zeros(())

    def code(self, x: Float[Array, "*event"]) -> Float[Array, "*latent"]:
        """One z that represents x, without sampling: the mean of q(z | x), or that of its base, pushed forward.

        Raises:
            NoClosedForm: Neither is known.
        """
        return code_of(self(x))


class AbstractPosterior(Part):
    """A kind of posterior, with its options.

    A family of distributions whose parameters are the outputs of a network is an `AbstractFamily`. A posterior with
    additional weights creates a `Posterior`.

    Attributes:
        latent_space: The space of z; a prior must be a distribution on the same space.
        default_prior: The name of the prior that is used if none is chosen.
        has_density: Whether q(z | x) has a density.
        is_rounded: Whether z is what x is rounded to, without noise: all draws are equal, and objectives use the
            straight-through estimator, which is biased.
        trains_each_view: Whether, of an example with several views, any one of them alone is also trained to give z.
    """

    latent_space: eqx.AbstractClassVar[LatentSpace]
    default_prior: eqx.AbstractClassVar[str]
    has_density: eqx.AbstractClassVar[bool]
    is_rounded: ClassVar[bool] = False
    trains_each_view: ClassVar[bool] = False

    @abstractmethod
    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> Posterior:
        """The posterior with its first weights.

        Args:
            make_encoder: Makes a network with a given number of outputs.
            latent_dim: The number of latent dimensions.
            key: Draws the weights.
        """


class AbstractFamily(AbstractPosterior):
    """A family of distributions whose parameters are the outputs of a network.

    To add one, write one class with the number of outputs and the distribution that they parametrize; it then appears
    on the command line, in the contract tests and in the documentation.
    """

    has_density: ClassVar[bool] = True

    @abstractmethod
    def num_outputs(self, latent_dim: int) -> int:
        """The number of outputs of the network for ``latent_dim`` latent dimensions."""

    @abstractmethod
    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        """The distribution of z with these outputs as parameters."""

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "Encoder":
        """The posterior with a network of the right size."""
        return Encoder(self, make_encoder(self.num_outputs(latent_dim), key=key), latent_dim)


class Encoder(Posterior):
    """q(z | x), a family of distributions with parameters from a network.

    Args:
        part: The family.
        network: Maps one example to the vector of the family's parameters.
        latent_dim: The number of latent dimensions.
    """

    part: AbstractPosterior
    network: Network
    latent_dim: int = eqx.field(static=True)
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, part: AbstractFamily, network: Network, latent_dim: int) -> None:
        self.part = part
        self.network = network
        self.latent_dim = latent_dim
        outputs = jax.ShapeDtypeStruct((part.num_outputs(latent_dim),), jnp.float32)
        shape = jax.eval_shape(lambda some: jnp.zeros(part.distribution(some, latent_dim).event_shape), outputs).shape
        self.latent_shape = shape

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        assert isinstance(self.part, AbstractFamily)
        return self.part.distribution(self.network(x), self.latent_dim)
