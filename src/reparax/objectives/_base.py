"""What an objective is: a number for one example that training makes large."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num

from reparax import registry
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.posteriors import AbstractPosterior


class Terms(eqx.Module):
    """An objective and what it is made of, for one example, in nats.

    Attributes:
        objective: What training maximizes.
        bound: The bound on log p(x) without weights or free bits (for a posterior without a density, the
        reconstruction):
            what models are chosen by.
        reconstruction: E_q[log p(x | z)].
        kl: KL(q(z | x) || p(z)), or its estimate; 0 for a posterior without a density.
    """

    objective: Float[Array, ""]
    bound: Float[Array, ""]
    reconstruction: Float[Array, ""]
    kl: Float[Array, ""]


class Schedule(eqx.Module):
    """A function of the training step: from ``start`` to ``end`` in a straight line over ``steps``, then ``end``.

    Attributes:
        start: The value at step 0.
        end: The value from ``steps`` on.
        steps: How many training steps the change takes; 0 for a constant.
    """

    start: float
    end: float
    steps: int = 0

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a step."""
        share = jax.numpy.clip(jax.numpy.asarray(step, jax.numpy.float32) / max(self.steps, 1), 0.0, 1.0)
        return jax.numpy.where(self.steps > 0, self.start + (self.end - self.start) * share, self.end)


def constant(value: float) -> Schedule:
    """The schedule that is ``value`` at every step."""
    return Schedule(value, value)


class ObjectiveDials(NamedTuple):
    """What a recipe can set of an objective; each objective takes what it has.

    Attributes:
        beta: Weight of the KL at the end of the warm-up; 1 is the evidence lower bound.
        warmup_steps: Steps over which the weight rises from 0 to ``beta``.
        free_bits: Nats per latent dimension below which the KL is not pressed.
        num_samples: Samples of z per example and step (K of the importance-weighted bound).
        estimator: The gradient estimator, by name, or ``"auto"``.
    """

    beta: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    num_samples: int = 1
    estimator: str = "auto"


class AbstractObjective(eqx.Module):
    """A bound on log p(x) plus regularizers, for one example; nats, higher is better.

    Attributes:
        needs_density: Whether the posterior must have a density.
    """

    needs_density: ClassVar[bool]

    @classmethod
    @abstractmethod
    def create(cls, dials: ObjectiveDials) -> Self:
        """Builds the objective from a recipe's dials."""

    @abstractmethod
    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The terms for one example at a training step."""


def check_objective(objective: type[AbstractObjective], posterior: type[AbstractPosterior]) -> None:
    """Refuses a bound for a posterior that has no density.

    Raises:
        RecipeError: The combination is not valid.
    """
    if objective.needs_density and posterior.latent_space == "point":
        raise RecipeError(
            expected=f"a posterior with a density for the {registry.part_name(objective)} objective",
            got=registry.part_name(posterior),
            cure="choose --objective reconstruction (the deterministic autoencoder), or --posterior diagonal-normal",
        )
