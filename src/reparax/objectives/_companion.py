"""What is trained beside a model and is no part of it: a critic, a classifier."""

from abc import abstractmethod
from typing import Any, Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Num, PyTree

from reparax.model import Model
from reparax.networks import given
from reparax.objectives._base import AbstractObjective, Terms


class Accompanied(eqx.Module):
    """A model and its companion, trained together.

    Attributes:
        model: The model.
        companion: What an objective trains beside it.
    """

    model: Model
    companion: PyTree

    def given(self, context: Float[Array, " c"]) -> Self:
        """Both for one context."""
        return given(self, context)


class AbstractCompanionObjective(AbstractObjective):
    """An objective with weights of its own, which are trained and saved with the model, and not served.

    What a companion is to make small, such as the error of a critic that the model makes large, is written as one
    objective: gradients into the companion are turned around by a `jax.custom_vjp`, or stopped on one side.
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
