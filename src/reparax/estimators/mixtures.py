"""Mixtures: the component enumerated or scored, the draw from it pathwise."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._parameters import elements
from reparax.estimators.draws import is_distribution, normalized
from reparax.estimators.scores import scored_draws
from reparax.estimators.surrogate import along, boxed, evaluate_common, leave_one_out, mean
from reparax.reparameterization import parameter_rules, rsample
from reparax.reparameterization.mixture import draw_all

_Mixture = dist.MixtureSameFamily | dist.MixtureGeneral


class RaoBlackwellizedMixture(AbstractEstimator):
    """sum_k w_k f(z_k), z_k = g_k(eps) drawn from component k with noise common to all components.

    Exact in the choice of the component: the weights get an ordinary derivative. One evaluation of f per component.
    Casella & Robert (1996), section 2, applied to the index of the component.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "unbatched mixtures of reparameterizable components, and an f that is continuous in z"
    reference: ClassVar[str] = "Casella & Robert (1996), section 2"

    maximum_components: int = 256

    def refusal(self, q: dist.Distribution) -> str | None:
        if not isinstance(q, _Mixture):
            return f"{type(q).__name__} is not a mixture"
        if q.batch_shape:
            return f"a batch of mixtures {q.batch_shape} has too many joint components: vmap over them instead"
        if q.mixture_size > self.maximum_components:
            return f"{q.mixture_size} components, more than maximum_components={self.maximum_components}"
        refused = [rule for part in _parts(q) for rule in parameter_rules(part) if not rule.differentiable]
        return f"component {refused[0].parameter}: {refused[0].reason}" if refused else None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        sizes = [leaf.mixture_size for leaf in flat]
        choice = jnp.stack([grid.reshape(-1) for grid in jnp.meshgrid(*map(jnp.arange, sizes), indexing="ij")])
        probs = [normalized(leaf.mixing_distribution).probs[index] for leaf, index in zip(flat, choice, strict=True)]
        weights = functools.reduce(jnp.multiply, probs)

        def one(draw_key: jax.Array) -> Any:
            *keys, f_key = jax.random.split(draw_key, len(flat) + 1)
            draws = [_components(leaf, k)[i] for leaf, k, i in zip(flat, keys, choice, strict=True)]
            values = evaluate_common(f, jax.tree.unflatten(structure, draws), f_key)
            return jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), values)

        return mean(jax.vmap(one)(jax.random.split(key, num_samples)))

    def evaluations(self, q: Any, num_samples: int) -> int:
        total = num_samples
        for leaf in jax.tree.leaves(q, is_leaf=is_distribution):
            total *= leaf.mixture_size
        return total


def _parts(q: dist.Distribution) -> list[dist.Distribution]:
    return list(q.component_distributions) if isinstance(q, dist.MixtureGeneral) else [q.component_distribution]


def _components(q: dist.Distribution, key: jax.Array) -> Float[Array, "k *event"]:
    """One draw of every component, with common noise where the components can be taken apart."""
    if isinstance(q, dist.MixtureGeneral):
        return jnp.stack([rsample(part, key) for part in q.component_distributions])
    apart = elements(q.component_distribution)
    if apart is None:
        return rsample(q.component_distribution, key)
    parameters, rebuild = apart
    return jax.vmap(lambda p: rsample(rebuild(p), key))(parameters)


class MixtureIndexScore(AbstractEstimator):
    """(1/K) sum_i (f(z_i) - b_i) d log w_{k_i} + df(z_i), k_i ~ w, z_i = g_{k_i}(eps_i), b_i the mean over the others.

    The weights get the leave-one-out score of the index (Kool et al. 2019, eq. 8), the components an ordinary
    derivative through their draws: unbiased however far apart they lie. One evaluation of f per draw. In a batch of
    mixtures every index is scored with all of f: `vmap` over mixtures whose terms of f are separate.
    Schulman et al. (2015), "Gradient estimation using stochastic computation graphs", theorem 1.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "mixtures of reparameterizable components, and an f that is continuous in z"
    reference: ClassVar[str] = "Schulman et al. (2015), theorem 1; Kool et al. (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        if not isinstance(q, _Mixture):
            return f"{type(q).__name__} is not a mixture"
        parts = q.component_distributions if isinstance(q, dist.MixtureGeneral) else [q.component_distribution]
        refused = [rule for part in parts for rule in parameter_rules(part) if not rule.differentiable]
        return f"component {refused[0].parameter}: {refused[0].reason}" if refused else None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)

        def given(index: list[Array], k: jax.Array) -> Any:
            *keys, f_key = jax.random.split(k, len(flat) + 1)
            z = [_component(leaf, each, chosen) for leaf, each, chosen in zip(flat, keys, index, strict=True)]
            return f(jax.tree.unflatten(structure, z), f_key)

        indices = [leaf.mixing_distribution.expand(leaf.batch_shape) for leaf in flat]
        _, values, log_probs = scored_draws(given, indices, key, num_samples)
        return mean(boxed(values, log_probs, leave_one_out(values)))


def _component(q: dist.Distribution, key: jax.Array, index: Int[Array, "*batch"]) -> Float[Array, "*draw"]:
    """A draw of the chosen component."""
    same = not q.batch_shape and isinstance(q, dist.MixtureSameFamily)
    apart = elements(q.component_distribution) if same else None
    if apart is not None:
        parameters, rebuild = apart
        return rsample(rebuild({name: value[index] for name, value in parameters.items()}), key)
    every = draw_all(q, key, ())
    place = index.reshape(index.shape + (1,) * (1 + q.event_dim))
    return jnp.take_along_axis(every, place, index.ndim).squeeze(index.ndim)
