"""How a model takes examples with several views: each view as a model of this view alone would."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, PyTree

from reparax.distributions import JointOfViews
from reparax.errors import RecipeError
from reparax.estimators import code_of
from reparax.likelihoods import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network, OfViews
from reparax.priors import AbstractPrior
from reparax.pytrees import Derived
from reparax.summary import Summary
from reparax.tables._adapter import Adapter, MakeNetwork
from reparax.tables.views import ByView, ByViewDecoder


class OfView(NamedTuple):
    """Computes what follows from the summary of one of several views.

    Attributes:
        place: Which view it is.
        make: Computes it from the summary of the view.
    """

    place: int
    make: Callable[[Summary], PyTree[Array]]

    def __call__(self, summary: Summary) -> PyTree[Array]:
        return self.make(summary.views[self.place][1])


@dataclass(frozen=True)
class ViewsAdapter(Adapter):
    """How a model takes several views, any of which may be missing.

    Attributes:
        names: The names of the views.
        views: How each of them is taken.
        layout: Where they are in an example.
    """

    names: tuple[str, ...]
    views: tuple[Adapter, ...]
    layout: Derived

    @property
    def allows_missing(self) -> frozenset[str]:
        return frozenset(name for name, view in zip(self.names, self.views, strict=True) if view.is_table)

    def require_gaps(self) -> None:
        pass

    def check_prior(self, prior: AbstractPrior) -> None:
        if prior.has_pseudo_examples:
            raise RecipeError(
                expected="a prior without pseudo-examples for data with several views",
                got="vamp, whose pseudo-examples would have all of the views",
                cure="choose --prior normal-mixture or coupling-flow",
            )

    def encoder(self, make: MakeNetwork, summary: Summary) -> OfViews:
        networks = [
            view.encoder(partial(make, number=place), one)
            for place, (view, (_, one)) in enumerate(zip(self.views, summary.views, strict=True))
        ]
        return OfViews(tuple(networks), self.layout)

    def likelihood(
        self, part: AbstractLikelihood, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array
    ) -> ByViewDecoder:
        assert isinstance(part, ByView)
        made = [
            view.likelihood(of_view, _shaped(make_decoder, one), one, key=each)
            for view, of_view, (_, one), each in zip(
                self.views, part.of_each(self.names), summary.views, jax.random.split(key, len(self.views)), strict=True
            )
        ]
        return ByViewDecoder(self.names, tuple(made), self.layout)

    def log_prob_of_columns(self, distribution: dist.Distribution, x: Array) -> Float[Array, " v"]:
        assert isinstance(distribution, JointOfViews)
        return distribution.log_prob_of_views(x)

    def observed(self, values: np.ndarray) -> np.ndarray:
        """Which views are present: all of their values are missing, or the view is there."""
        slices = self.layout.value.slices
        return np.stack([~np.isnan(values[:, start:stop]).all(axis=1) for start, stop in slices], axis=1)

    def log_prob_of_cells(self, distribution: dist.Distribution, x: Array) -> Float[Array, ""]:
        assert isinstance(distribution, JointOfViews)
        views, present = self.layout.value.split(x)
        terms = [
            adapter.log_prob_of_cells(one, view) if adapter.is_table else one.log_prob(view)
            for adapter, one, view in zip(self.views, distribution.views, views, strict=True)
        ]
        return jnp.sum(jnp.where(present, jnp.stack(terms), 0.0))

    def statistics(self, likelihood: Likelihood, z: Array, log_weights: Array) -> list[PyTree[Array]]:
        """Those of each table; of any other view, the weighted mean of E[x | z]."""
        assert isinstance(likelihood, ByViewDecoder)
        return [
            adapter.statistics(part, z, log_weights) if adapter.is_table else _expected(part, z, log_weights)
            for adapter, part in zip(self.views, likelihood.views, strict=True)
        ]

    def typical(self, statistics: PyTree[Array]) -> Float[Array, " d"]:
        pairs = zip(self.views, statistics, strict=True)
        return self.layout.value.joined([view.typical(one) if view.is_table else one for view, one in pairs])

    def drawn(
        self, likelihood: Likelihood, z: Array, log_weights: Array, num_draws: int, keys: Sequence[Array]
    ) -> Float[Array, "n d"]:
        """Random examples: all views of one are drawn given the same z."""
        assert isinstance(likelihood, ByViewDecoder)
        for_choice, for_x = keys
        chosen = z[jax.random.categorical(for_choice, log_weights, shape=(num_draws,))]

        def one(z: Array, key: Array) -> Array:
            pairs = zip(self.views, likelihood(z).views, jax.random.split(key, len(self.views)), strict=True)
            return self.layout.value.joined([
                view.sample_given(law, each, jnp.ones(law.event_shape, bool)) if view.is_table else law.sample(each)
                for view, law, each in pairs
            ])  # fmt: skip

        return jax.vmap(one)(chosen, jax.random.split(for_x, num_draws))


def _expected(likelihood: Likelihood, z: Array, log_weights: Array) -> Float[Array, "*event"]:
    means = jax.vmap(lambda one: jnp.asarray(code_of(likelihood(one)), jnp.float32))(z)
    return jnp.tensordot(jax.nn.softmax(log_weights), means, axes=1)


def _shaped(make_decoder: MakeDecoder, summary: Summary) -> MakeDecoder:
    """Makes decoders of one of several views."""

    def shaped(parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array) -> Network:
        return make_decoder(parameters, summary.event_shape if shape is None else shape, key=key)

    return shaped
