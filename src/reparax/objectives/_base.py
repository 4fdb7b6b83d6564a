"""What an objective is: a function of one example, of an example in its context, or of a model with a companion."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num, PyTree

from reparax import registry
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.networks import given
from reparax.parts import Part
from reparax.pytrees import num_parameters

MOST_SAMPLES = 1_000_000_000


class Terms(eqx.Module):
    """An objective and its terms, for one example, in nats.

    Attributes:
        objective: What training maximizes.
        bound: The bound on log p(x) without weights or free bits, by which models are selected (for a posterior without
            a density, the reconstruction).
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
        takes_labels: Whether labels are known classes of some examples; the posterior then needs a class.
        differentiates_draws: Whether draws of z are differentiated, which those of discrete variables cannot be.
    """

    needs_density: eqx.AbstractClassVar[bool]
    trains_prior: eqx.AbstractClassVar[bool]
    takes_labels: ClassVar[bool] = False
    differentiates_draws: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The terms for one example at a training step."""


def check_objective(objective: AbstractObjective, model: Model) -> None:
    """Refuses a bound for a posterior without a density, and a prior whose weights would have no gradient.

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
    if objective.takes_labels and model.posterior.latent_space != "class and real":
        raise RecipeError(
            expected=f"a posterior with a class for the {name} objective, of which labels are values",
            got=registry.part_name(type(model.posterior.part)),
            cure="choose --posterior class-normal, or another objective",
        )
    if objective.differentiates_draws and model.posterior.latent_space in DISCRETE:
        raise RecipeError(
            expected=f"a posterior of continuous variables for the {name} objective, which differentiates draws",
            got=registry.part_name(type(model.posterior.part)),
            cure="choose --posterior diagonal-normal, or --objective elbo",
        )
    _check_relaxed_codes(objective, model)
    if num_parameters(model.prior) and not objective.trains_prior:
        raise RecipeError(
            expected=f"a prior without weights for the {name} objective, which does not train them",
            got=f"{registry.part_name(type(model.prior))}, whose weights would keep their random initial values",
            cure="choose --objective elbo, or a prior without weights, such as the default",
        )


DISCRETE = frozenset({"binary", "class and real", "codes", "count", "one-hot"})
"""The spaces with discrete variables, alone or among others."""
RELAXING = frozenset({"gumbel-softmax", "rebar", "straight-through"})
"""Estimators that evaluate, or differentiate, between the values of a discrete variable."""
CLOSED_KL = frozenset({"elbo", "reconstruction"})
"""Objectives that need no density of drawn codes where the KL of independent codes is closed."""


def _check_relaxed_codes(objective: AbstractObjective, model: Model) -> None:
    """Refuses estimators that relax drawn codes where the density of codes is needed, which is 0 between them.

    Raises:
        RecipeError: The objective has such an estimator.
    """
    posterior, name = model.posterior.part, getattr(objective, "estimator", "auto")
    if posterior.latent_space != "codes" or posterior.is_rounded or name not in RELAXING:
        return
    if not model.prior.is_autoregressive and registry.part_name(type(objective)) in CLOSED_KL:
        return
    raise RecipeError(
        expected="an estimator that needs the density of codes at codes alone",
        got=f"{name} with {registry.part_name(type(model.prior))} and {registry.part_name(type(objective))}",
        cure="leave the estimator out, or choose leave-one-out",
    )


def estimator_for(name: str, model: Model) -> str:
    """The estimator of an objective: "auto" is the straight-through estimator for codes that x is rounded to.

    That one is biased, so that `reparax.expectation` uses it by its name only. Here the user chose such a posterior.
    """
    return "straight-through" if name == "auto" and model.posterior.part.is_rounded else name


class Penalized(eqx.Module):
    """An objective minus the penalty of the posterior, such as the distances to its codebook; the bound is unchanged.

    Attributes:
        objective: The objective.
    """

    objective: Any

    def __call__(self, model: Any, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one example at a training step."""
        terms = self.objective(model, x, key=key, step=step)
        return replace(terms, objective=terms.objective - plain_model(model).posterior.penalty(x))


class InContext(eqx.Module):
    """An objective of (x, context): that of x under the plain model for the context.

    Attributes:
        objective: The objective of one example.
    """

    objective: Any

    def __call__(
        self,
        model: Any,
        x: tuple[Num[Array, "*event"], Float[Array, " c"]],
        *,
        key: jax.Array,
        step: Int[Array, ""],
    ) -> Any:
        """The terms for one example in its context."""
        values, context = x
        return self.objective(model.given(context), values, key=key, step=step)


class Accompanied(eqx.Module):
    """A model and its companion, trained together.

    Attributes:
        model: The model.
        companion: What the objective trains in addition.
    """

    model: Model
    companion: PyTree

    def given(self, context: Float[Array, " c"]) -> Self:
        """Both for one context."""
        return given(self, context)


def plain_model(trained: Model | Accompanied) -> Model:
    """What is trained, without its companion."""
    return trained.model if isinstance(trained, Accompanied) else trained


class AbstractCompanionObjective(AbstractObjective):
    """An objective with additional weights, the companion, which is trained and saved with the model, but not served.

    If the companion minimizes what the model maximizes, such as the error of a critic, both are written as one
    objective: the gradient in the companion is reversed by a `jax.custom_vjp`, or stopped on one side.
    """

    @abstractmethod
    def companion(self, model: Model, *, key: jax.Array) -> PyTree:
        """The companion with its first weights: any pytree, such as an equinox module."""

    @abstractmethod
    def terms(
        self, model: Model, companion: PyTree, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]
    ) -> Terms:
        """The terms for one example at a training step."""

    def __call__(self, model: Any, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The terms for one example at a training step, of a model with its companion."""
        return self.terms(model.model, model.companion, x, key=key, step=step)
