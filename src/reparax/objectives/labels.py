"""Bounds of models with a class as latent variable, of which some examples are labeled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, Num

from reparax.distributions import ClassNormal, with_class
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.objectives._base import AbstractObjective, Terms
from reparax.objectives.bounds import ELBO
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors import Prior

MOST = 1_000_000_000


class SemiSupervised(AbstractObjective):
    """The evidence lower bound, with the class known where an example is labeled, plus weighted log q(label | x).

    Kingma et al. (2014), "Semi-supervised learning with deep generative models", equations 6 to 9. An unlabeled example
    has the bound on log p(x), summed over all classes; a labeled one that on log p(x, y). Where labels are rare,
    labeled examples are repeated, and the weight of the bound of each copy is divided by the number of copies.

    Args:
        weight: The weight of the mean of log q(label | x) over the labeled examples, beside the mean of all bounds:
            alpha over the number of examples, which is 0.1 in the paper. The default was chosen on the digits of
            scikit-learn.
        repeats: How often a labeled example is seen; 0 for as often that a tenth of what is seen is labeled.
        num_rows: The number of examples of the fit; 0 for that of the data.
        num_labeled: The number of labeled ones; 0 for that of the data.
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    takes_labels: ClassVar[bool] = True
    weight: float = option(10.0, low=0, high=1e6)
    repeats: int = option(0, low=0, high=MOST)
    num_rows: int = option(0, low=0, high=MOST)
    num_labeled: int = option(0, low=0, high=MOST)

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The bound of an example without a label."""
        return ELBO()(model, x, key=key, step=step)


class OfLabel(eqx.Module):
    """The objective of one example with its label.

    Attributes:
        objective: The semi-supervised objective of the fit.
        label: The number of the class; negative for an example without a label.
    """

    objective: SemiSupervised
    label: Int[Array, ""]

    def __call__(self, model: Model, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]) -> Terms:
        """The terms; the bound is that on log p(x, y) where y is known."""
        objective, is_labeled = self.objective, self.label >= 0
        # The prior stays that of all classes, also one that is made of the posterior.
        prior = MadeOf(prior=model.prior, posterior=model.posterior)
        known = replace(model, posterior=KnownClass.of(model.posterior, self.label), prior=prior)
        terms = ELBO()(known, x, key=key, step=step)
        log_probs = jax.nn.log_softmax(classes_of(model.posterior(x)).logits)
        right = log_probs[jnp.maximum(self.label, 0)]
        copies = max(1, objective.repeats)
        weight = objective.weight * objective.num_rows / max(1, objective.num_labeled * copies)
        of_bound = terms.objective / jnp.where(is_labeled, float(copies), 1.0)
        return replace(terms, objective=of_bound + jnp.where(is_labeled, weight * right, 0.0))


class WithLabels(eqx.Module):
    """An objective of (x, label).

    Attributes:
        objective: The semi-supervised objective of the fit.
        wrap: Makes, of an objective of x, another one, such as one that hides cells.
    """

    objective: SemiSupervised
    wrap: Any = eqx.field(static=True)

    def __call__(self, model: Any, x: tuple[Any, Int[Array, ""]], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one example with its label."""
        values, label = x
        return self.wrap(OfLabel(self.objective, label))(model, values, key=key, step=step)


class KnownClass(Posterior):
    """A posterior whose class is known.

    Attributes:
        posterior: The posterior.
        label: The number of the class; negative if it is not known.
    """

    posterior: Posterior
    label: Int[Array, ""]
    part: Any
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, posterior: Posterior, label: Int[Array, ""]) -> "KnownClass":
        """The posterior with this class."""
        return cls(posterior=posterior, label=label, part=posterior.part, latent_shape=posterior.latent_shape)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return with_class(classes_of(self.posterior(x)), self.label)


class MadeOf(Prior):
    """A prior of one posterior, whichever it is asked for: p(y, u) is the same whether y is known or not.

    Attributes:
        prior: The prior.
        posterior: The posterior whose pseudo-inputs or layers it has, if any.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"class and real"})
    prior: Prior
    posterior: Posterior

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return self.prior(self.posterior)


def check_classes(model: Model, x: Num[Array, "*event"], names: Sequence[str]) -> None:
    """Refuses a posterior with other classes than the labels, some of which would be none or have no name.

    Args:
        model: The model; a plain one for some context.
        x: Any example.
        names: The classes of the labels.

    Raises:
        RecipeError: Their numbers differ.
    """
    logits = eqx.filter_eval_shape(lambda some: classes_of(some.posterior(x)).logits, model)
    if logits.shape[-1] != len(names):
        raise RecipeError(
            expected=f"as many classes as the labels have, {len(names)}: {', '.join(names[:12])}",
            got=f"a posterior with {logits.shape[-1]}", cure="leave num_classes (--posterior.num-classes) out",
        )  # fmt: skip


def classes_of(q: dist.Distribution) -> ClassNormal:
    """A posterior distribution with a class.

    Raises:
        RecipeError: It has none.
    """
    if isinstance(q, ClassNormal):
        return q
    raise RecipeError(
        expected="a posterior with a class, for labels", got=type(q).__name__, cure="choose --posterior class-normal"
    )
