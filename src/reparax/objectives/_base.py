"""What an objective is: a number for one example that training makes large."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num

from reparax import registry
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.parts import Part
from reparax.pytrees import num_parameters

MOST_SAMPLES = 1_000_000_000


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


class AbstractObjective(Part):
    """A bound on log p(x) plus regularizers, for one example; nats, higher is better.

    Attributes:
        needs_density: Whether the posterior must have a density.
        trains_prior: Whether the weights of a prior have a gradient.
    """

    needs_density: eqx.AbstractClassVar[bool]
    trains_prior: eqx.AbstractClassVar[bool]

    @abstractmethod
    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The terms for one example at a training step."""


def check_objective(objective: AbstractObjective, model: Model) -> None:
    """Refuses a bound for a posterior that has no density, and weights that would have no gradient.

    Raises:
        RecipeError: The combination is not valid.
    """
    name = registry.part_name(type(objective))
    if objective.needs_density and not model.posterior.has_density:
        raise RecipeError(
            expected=f"a posterior with a density for the {name} objective",
            got=registry.part_name(type(model.posterior.part)),
            cure="choose --objective reconstruction (the deterministic autoencoder), or --posterior diagonal-normal",
        )
    if num_parameters(model.prior) and not objective.trains_prior:
        raise RecipeError(
            expected=f"a prior without weights for the {name} objective, which has no gradient in them",
            got=f"{registry.part_name(type(model.prior))}, which would stay as it was drawn",
            cure="choose --objective elbo, or a prior without weights, such as the one that is suggested",
        )
