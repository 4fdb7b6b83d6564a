"""The likelihood of examples with several views: a likelihood for each of them."""

from typing import NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Float

from reparax import registry
from reparax.distributions import JointOfViews, ViewLayout
from reparax.errors import DataError, RecipeError
from reparax.likelihoods import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.parts import option
from reparax.pytrees import Derived
from reparax.summary import Summary


class ByView(AbstractLikelihood):
    """log p(x | z) = sum_v log p_v(x_v | z) over the views v that are not missing, with a likelihood for each view.

    Wu & Goodman (2018), "Multimodal generative models for scalable weakly-supervised learning", equation 2.

    Args:
        views: The likelihood of each view, such as rna=negative-binomial,clinic=columns (of views that are not named,
            the one that suits the data).
    """

    views: str = option("")

    def of_each(self, names: tuple[str, ...]) -> tuple[AbstractLikelihood, ...]:
        """The likelihoods of the views with some names.

        Raises:
            RecipeError: A view lacks a likelihood, there is no such view or likelihood, or it is that of several views.
        """
        chosen = chosen_views(self.views)
        unlike = sorted(set(chosen) ^ set(names))
        if unlike:
            raise RecipeError(
                expected=f"a likelihood for each of the views {', '.join(names)}",
                got=f"{self.views!r}, which does not go with {', '.join(unlike)}",
                cure="write --likelihood.views NAME=LIKELIHOOD,...",
            )
        wrong = [name for name in names if chosen[name] == registry.part_name(ByView)]
        if wrong:
            raise RecipeError(
                expected=f"the likelihood of one view for {wrong[0]!r}", got=chosen[wrong[0]], cure="choose another"
            )
        return tuple(registry.load("likelihoods", chosen[name])() for name in names)

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> Likelihood:
        """Made by `reparax.tables.adapter_of`, which knows how each view enters a network."""
        raise DataError(
            expected="data with several views for the by-view likelihood",
            got=f"examples of shape {summary.event_shape}",
            cure="choose another --likelihood, or give the views: rx.Views({'one': ..., 'other': ...})",
        )


class ByViewDecoder(Likelihood):
    """The weights of `ByView`.

    Args:
        names: The names of the views.
        views: The likelihood of each.
        layout: Where the views are in an example.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    views: tuple[Likelihood, ...]
    layout: Derived

    def __call__(self, z: Float[Array, "*latent"]) -> JointOfViews:
        return JointOfViews(tuple(view(z) for view in self.views), self.layout.value)


class LayoutOf(NamedTuple):
    """Makes the layout of views from a summary.

    Attributes:
        of_rows: Which views are modeled as rows of a table, column by column.
    """

    of_rows: tuple[bool, ...]

    def __call__(self, summary: Summary) -> ViewLayout:
        return ViewLayout.of(summary, self.of_rows)


def chosen_views(text: str) -> dict[str, str]:
    """The likelihoods in ``rna=negative-binomial,clinic=columns``, by view.

    Raises:
        RecipeError: It is not written like that, or names a view twice.
    """
    pairs = [[side.strip() for side in part.split("=")] for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs) or len({pair[0] for pair in pairs}) < len(pairs):
        raise RecipeError(
            expected="the likelihoods of views as NAME=LIKELIHOOD,NAME=LIKELIHOOD", got=repr(text),
            cure="name each view once, with one likelihood",
        )  # fmt: skip
    return {pair[0]: pair[1] for pair in pairs}
