"""Pathwise derivatives, also called the reparameterization trick."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import is_distribution
from reparax.estimators._surrogate import evaluate, mean
from reparax.reparameterization import parameter_rules, rsample


class Pathwise(AbstractEstimator):
    """d/dtheta E[f(z)] = E[f'(g(eps, theta)) dg/dtheta] with z = g(eps, theta), `rsample`.

    Kingma & Welling (2014), eq. 4; Mohamed et al. (2020), section 5; Figurnov et al. (2018), eq. 5, for implicit paths.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "a reparameterizable distribution and an f that is continuous in z"
    reference: ClassVar[str] = "Kingma & Welling (2014), eq. 4; Mohamed et al. (2020), section 5"

    def refusal(self, q: dist.Distribution) -> str | None:
        refused = [rule for rule in parameter_rules(q) if not rule.differentiable]
        return f"{refused[0].parameter}: {refused[0].reason}" if refused else None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        draw_key, f_key = jax.random.split(key)
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        keys = jax.random.split(draw_key, len(flat))
        draws = [rsample(leaf, k, (num_samples,)) for leaf, k in zip(flat, keys, strict=True)]
        z = jax.tree.unflatten(structure, draws)
        return mean(evaluate(f, z, jax.random.split(f_key, num_samples)))
