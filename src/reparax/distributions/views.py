"""Examples that have several views of one thing, any of which may be missing: their layout and their density."""

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float
from numpyro.distributions import constraints

from reparax.errors import DataError
from reparax.summary import Summary


class ViewLayout(eqx.Module):
    """Where the views are in an example: the numbers of all views, one after the other, NaN for a missing view.

    Attributes:
        slices: Where each view starts and ends.
        shapes: The shape of each view.
        typical: Values that stand in for those of a missing view; what is computed from them is not used.
    """

    slices: tuple[tuple[int, int], ...] = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    typical: Float[Array, " d"]

    @classmethod
    def of(cls, summary: Summary, of_rows: Sequence[bool]) -> Self:
        """The layout of the data of a summary.

        Args:
            summary: A summary of data with views.
            of_rows: Which views are rows of a table, whose densities take missing cells.

        Raises:
            DataError: The data do not have views.
        """
        if not summary.views:
            raise DataError(
                expected="data with several views for the by-view likelihood",
                got=f"examples of shape {summary.event_shape}",
                cure="choose another --likelihood, or give the views: rx.Views({'one': ..., 'other': ...})",
            )
        summaries = [view for _, view in summary.views]
        ends = np.cumsum([view.size for view in summaries]).tolist()
        slices = tuple(zip([0, *ends[:-1]], ends, strict=True))
        typical = [
            np.full(view.size, np.nan) if rows else _typical(view)
            for view, rows in zip(summaries, of_rows, strict=True)
        ]
        shapes = tuple(view.event_shape for view in summaries)
        return cls(slices, shapes, jnp.asarray(np.concatenate(typical), jnp.float32))

    def split(self, x: Float[Array, " d"]) -> tuple[list[Array], Bool[Array, " v"]]:
        """The views in their shapes, with typical values in the place of a missing one; and which are present."""
        x = jnp.asarray(x, jnp.float32)
        present = present_views(x, self.slices)
        views = [
            jnp.where(seen, x[start:stop], self.typical[start:stop]).reshape(shape)
            for seen, (start, stop), shape in zip(present, self.slices, self.shapes, strict=True)
        ]
        return views, present

    def joined(self, views: Sequence[Array]) -> Float[Array, " d"]:
        """The inverse of `split`."""
        return jnp.concatenate([jnp.ravel(jnp.asarray(view, jnp.float32)) for view in views])


def present_views(x: Float[Array, " d"], slices: Sequence[tuple[int, int]]) -> Bool[Array, " v"]:
    """Which views of an example are not missing.

    Args:
        x: The numbers of all views.
        slices: Where each view starts and ends.
    """
    return jnp.stack([~jnp.all(jnp.isnan(x[start:stop])) for start, stop in slices])


def without_views(
    x: Float[Array, " d"], hidden: Bool[Array, " v"], slices: Sequence[tuple[int, int]]
) -> Float[Array, " d"]:
    """An example without some of its views.

    Args:
        x: The numbers of all views.
        hidden: Which views it is to lack.
        slices: Where each view starts and ends.
    """
    pieces = [jnp.where(gone, jnp.nan, x[start:stop]) for gone, (start, stop) in zip(hidden, slices, strict=True)]
    return jnp.concatenate(pieces)


def _typical(summary: Summary) -> np.ndarray:
    """The mean of each value, where only whole numbers have a density the nearest of these."""
    mean = np.broadcast_to(summary.mean, summary.event_shape).ravel()
    return mean if summary.kind == "real" else np.rint(mean)


class JointOfViews(dist.Distribution):
    """log p(x | z) = sum_v log p_v(x_v | z) over the views v that are not missing, independent given z; nats.

    The terms of missing views are exactly 0. Wu & Goodman (2018), "Multimodal generative models for scalable
    weakly-supervised learning", equation 2.

    Args:
        views: The distribution of each view.
        layout: Where the views are in x.
    """

    arg_constraints = {}
    pytree_data_fields = ("views", "layout")

    def __init__(
        self, views: tuple[dist.Distribution, ...], layout: ViewLayout, *, validate_args: bool | None = None
    ) -> None:
        self.views, self.layout = views, layout
        super().__init__(event_shape=(layout.slices[-1][1],), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    def log_prob_of_views(self, value: Float[Array, " d"]) -> Float[Array, " v"]:
        """The log density of each view; 0 for a missing one."""
        views, present = self.layout.split(value)
        terms = [view.log_prob(x) for view, x in zip(self.views, views, strict=True)]
        return jnp.where(present, jnp.stack(terms), 0.0)

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        if jnp.ndim(value) > 1:
            return jax.vmap(self.log_prob)(jnp.asarray(value))
        return jnp.sum(self.log_prob_of_views(value))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        keys = jax.random.split(key, len(self.views))
        pieces = [
            jnp.asarray(view.sample(each, sample_shape), jnp.float32).reshape(*sample_shape, -1)
            for view, each in zip(self.views, keys, strict=True)
        ]
        return jnp.concatenate(pieces, axis=-1)

    @property
    def mean(self) -> Float[Array, " d"]:
        """The means of the views."""
        return self.layout.joined([view.mean for view in self.views])
