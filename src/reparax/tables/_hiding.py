"""Training with cells of tables, or views, hidden from the encoder, so that it learns to do without them."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from reparax.distributions import present_views, without_views
from reparax.tables._features import hiding

EVERY = 4
"""Cells are hidden in one of this many steps; in every step, a fit would take twice as long."""


class HidingCells(eqx.Module):
    """An objective, plus, in every fourth step, the same with some cells hidden from the encoder.

    Up to ``share`` of a row's cells are hidden, at random, while the likelihood accounts for all of them. Only the
    encoder is trained by it: it learns q(z | some of the cells), from which imputation draws. Prior and likelihood
    learn from complete rows only, as the wider posteriors would blur them.

    Attributes:
        objective: The objective.
        share: The largest fraction of hidden cells.
    """

    objective: Any
    share: float

    def __call__(self, model: Any, x: Float[Array, " d"], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one row at a training step; those reported are for the complete row."""
        for_whole, for_share, for_cells, for_hidden = jax.random.split(key, 4)
        share = self.share * jax.random.uniform(for_share)
        hidden = jax.random.uniform(for_cells, x.shape) < share
        terms = self.objective(model, x, key=for_whole, step=step)
        nothing = _gradient_alone(model, self.objective, x, hidden, for_hidden, step)
        return replace(terms, objective=terms.objective + nothing)


class HidingViews(eqx.Module):
    """An objective of examples with several views, plus, in every fourth step, that of the same without some views.

    One view is kept, at random, and each other one is left out with a probability. Only the encoder is trained by it:
    it learns q(z | some of the views) from the bound on log p(some of the views). Wu & Goodman (2018), section 2.2,
    who train all parts by it.

    Attributes:
        objective: The objective.
        share: The probability.
        slices: Where each view is in an example.
    """

    objective: Any
    share: float
    slices: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __call__(self, model: Any, x: Float[Array, " d"], *, key: jax.Array, step: Int[Array, ""]) -> Any:
        """The terms for one example at a training step; those reported are for all of its views."""
        for_all, for_kept, for_hidden, for_some = jax.random.split(key, 4)
        present = present_views(x, self.slices)
        kept = jnp.argmax(jnp.where(present, jax.random.uniform(for_kept, present.shape), -1.0))
        hidden = jax.random.uniform(for_hidden, present.shape) < self.share
        some = without_views(x, hidden & (jnp.arange(present.size) != kept), self.slices)
        terms = self.objective(model, x, key=for_all, step=step)
        nothing = _gradient_alone(model, self.objective, some, None, for_some, step)
        return replace(terms, objective=terms.objective + nothing)


@eqx.filter_custom_jvp
def _gradient_alone(
    model: Any,
    objective: Any,
    x: Float[Array, " d"],
    hidden: Bool[Array, " d"] | None,
    key: jax.Array,
    step: Int[Array, ""],
) -> Float[Array, ""]:
    """0, with the gradient of the objective for a row with hidden cells: nothing to compute without a gradient."""
    return jnp.zeros(())


@_gradient_alone.def_jvp
def _of_hidden(primals: tuple, tangents: tuple) -> tuple[Float[Array, ""], Float[Array, ""]]:
    model, objective, x, hidden, key, step = primals

    def value(model: Any) -> Float[Array, ""]:
        encoder = replace(
            model,
            posterior=model.posterior if hidden is None else hiding(model.posterior, hidden),
            prior=_constant(model.prior),
            likelihood=_constant(model.likelihood),
        )
        return objective(encoder, x, key=key, step=step).objective

    def added(model: Any) -> Float[Array, ""]:
        return jax.lax.cond(step % EVERY == 0, lambda: value(model), lambda: jnp.zeros(()))

    return jnp.zeros(()), eqx.filter_jvp(added, (model,), (tangents[0],))[1]


def _constant(part: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, part)
