"""Measure-valued, or weak, derivatives with coupled draws."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import draw, is_distribution, leaves, log_prob
from reparax.estimators._surrogate import as_floating, evaluate, evaluate_common, with_gradient
from reparax.estimators._weak_derivatives import KNOWN, Family, Pair, family_of
from reparax.reparameterization import innermost


class MeasureValued(AbstractEstimator):
    """dE[f]/dtheta_j = c_j (E[f(z+)] - E[f(z-)]), where dq/dtheta_j = c_j (p+ - p-), z+ and z- coupled.

    Valid for any f, with little variance, at two evaluations of f per parameter element.
    Mohamed et al. (2020), section 6 and table 1 (Normal: Weibull pair in the location; double-sided Maxwell minus
    Normal in the scale; Poisson: a shift by one; Exponential and Gamma: one more Exponential added).
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    family: ClassVar[str] = "weak derivatives"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = f"{KNOWN}, and any f"
    reference: ClassVar[str] = "Mohamed et al. (2020), section 6, table 1"

    def refusal(self, q: dist.Distribution) -> str | None:
        known = family_of(q) is not None
        return None if known else f"no weak derivative is known here for {type(innermost(q)).__name__}"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        families = _families(q)
        parameters = [family.parameters for family in families]
        structure = jax.tree.structure(q, is_leaf=is_distribution)
        draw_key, pair_key, f_key = jax.random.split(key, 3)
        z = draw(leaves(q), draw_key, num_samples)
        keys = jax.random.split(f_key, num_samples)

        def g(values: list[Array], k: jax.Array) -> Any:
            return f(jax.tree.unflatten(structure, values), k)

        def slopes(values: list[Array], k: jax.Array, inner: jax.Array) -> Any:
            constant = jax.lax.stop_gradient(parameters)
            found = [
                _differences(g, values, place, pair, inner)
                for place, family in enumerate(families)
                for pair in family.pairs(constant[place], values[place], jax.random.fold_in(k, place))
            ]
            return jax.tree.map(lambda *parts: list(parts), *found)

        def density(flat: list[Array], values: list[Array]) -> Array:
            rest = iter(flat)
            rebuilt = [family.rebuild([next(rest) for _ in family.parameters]) for family in families]
            return log_prob(rebuilt, values)

        gradients = jax.vmap(slopes)(z, jax.random.split(pair_key, num_samples), keys)
        flat = [parameter for group in parameters for parameter in group]
        return with_gradient(evaluate(g, z, keys), density, z, flat, gradients)

    def evaluations(self, q: Any, num_samples: int) -> int:
        elements = sum(parameter.size for family in _families(q) for parameter in family.parameters)
        return num_samples * (1 + 2 * elements)


def _families(q: Any) -> list[Family]:
    return [family for leaf in leaves(q) if (family := family_of(leaf)) is not None]


def _differences(g: Integrand, values: list[Array], place: int, pair: Pair, key: jax.Array) -> Any:
    """c_j (f(z+) - f(z-)) for every element j of one variable, the others held at the draw."""
    value = values[place]
    if not value.size:
        outputs = jax.eval_shape(lambda: as_floating(g(values, key)))
        return jax.tree.map(lambda output: jnp.zeros(value.shape + output.shape, output.dtype), outputs)

    def replaced(element: Array, new: Array) -> list[Array]:
        changed = value.reshape(-1).at[element].set(new.reshape(-1)[element]).reshape(value.shape)
        return [changed if i == place else other for i, other in enumerate(values)]

    elements = jnp.arange(value.size)
    plus = evaluate_common(g, jax.vmap(lambda e: replaced(e, pair.plus))(elements), key)
    minus = evaluate_common(g, jax.vmap(lambda e: replaced(e, pair.minus))(elements), key)
    constant = pair.constant.reshape(-1)

    def weighted(a: Array, b: Array) -> Array:
        difference = a - b
        weight = constant.reshape(constant.shape + (1,) * (difference.ndim - 1)).astype(difference.dtype)
        return (weight * difference).reshape(value.shape + difference.shape[1:])

    return jax.tree.map(weighted, plus, minus)
