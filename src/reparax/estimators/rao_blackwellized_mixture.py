"""Mixtures: the components enumerated, each reparameterized with the same noise."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import is_distribution, normalized
from reparax.estimators._parameters import elements
from reparax.estimators._surrogate import along, evaluate_common, mean
from reparax.reparameterization import parameter_rules, rsample

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
