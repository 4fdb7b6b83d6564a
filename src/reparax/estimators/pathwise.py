"""Pathwise derivatives, also called the reparameterization trick: with independent noise, or with designed noise."""

import warnings
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from scipy.stats import qmc

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._quantiles import VALID_FOR, designed, no_quantile, standard_noise
from reparax.estimators.draws import is_distribution
from reparax.estimators.surrogate import evaluate, mean
from reparax.reparameterization import parameter_rules, rsample

_BITS = 23


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


class Antithetic(AbstractEstimator):
    """Pathwise with pairs z = F^{-1}(u), z~ = F^{-1}(1 - u): exact for the odd part of f in a symmetric q.

    Draws are made in pairs: an odd num_samples is rounded up. Owen (2013), "Monte Carlo theory", section 8.2.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = VALID_FOR
    reference: ClassVar[str] = "Owen (2013), section 8.2"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, _pairs, key, num_samples + num_samples % 2)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + num_samples % 2


def _pairs(key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
    u = standard_noise(key, (num_samples // 2, dimensions), dtype)
    return jnp.concatenate([u, 1 - u])


class LatinHypercube(AbstractEstimator):
    """Pathwise with u_ij = (permutation_j(i) + noise) / K: removes the variance of the additive part of f.

    McKay, Beckman & Conover (1979), eq. 2.1; Owen (2013), "Monte Carlo theory", section 10.3.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = VALID_FOR
    reference: ClassVar[str] = "McKay, Beckman & Conover (1979)"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, _strata, key, num_samples)


def _strata(key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
    order_key, noise_key = jax.random.split(key)
    columns = jax.random.split(order_key, dimensions)
    order = jax.vmap(lambda k: jax.random.permutation(k, num_samples), out_axes=1)(columns)
    return (order.astype(dtype) + standard_noise(noise_key, order.shape, dtype)) / num_samples


class Sobol(AbstractEstimator):
    """Pathwise with K points of a Sobol sequence, freshly scrambled: variance falls faster than 1/K for smooth f.

    The scramble is a random linear matrix per dimension and a digital shift (Matousek 1998), so that every point is
    uniform. Best with K a power of two. Up to 21201 dimensions (Joe & Kuo 2008). Owen (1997), theorem 2;
    Buchholz, Wenzel & Mandt (2018), section 3.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = VALID_FOR
    reference: ClassVar[str] = "Buchholz, Wenzel & Mandt (2018), section 3; Matousek (1998)"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, _scrambled, key, num_samples)


def _scrambled(key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
    matrix_key, shift_key, noise_key = jax.random.split(key, 3)
    points = jnp.asarray(_digits(num_samples, dimensions))
    lower = jax.random.bernoulli(matrix_key, 0.5, (dimensions, _BITS, _BITS)).astype(jnp.float32)
    matrix = jnp.tril(lower, -1) + jnp.eye(_BITS, dtype=jnp.float32)[None]
    shift = jax.random.bernoulli(shift_key, 0.5, (dimensions, _BITS)).astype(jnp.float32)
    digits = jnp.mod(jnp.einsum("djk,ndk->ndj", matrix, points) + shift[None], 2).astype(dtype)
    weights = jnp.asarray(0.5 ** np.arange(1, _BITS + 1), dtype)
    return digits @ weights + standard_noise(noise_key, (num_samples, dimensions), dtype) * 0.5**_BITS


def _digits(num_samples: int, dimensions: int) -> np.ndarray:
    """The binary digits of the unscrambled points, the most significant first, as float32."""
    with warnings.catch_warnings():
        # scipy warns where num_samples is not a power of two: balance is lost, not unbiasedness.
        warnings.simplefilter("ignore")
        points = qmc.Sobol(dimensions, scramble=False, bits=_BITS).random(num_samples)
    integers = np.round(points * 2**_BITS).astype(np.int64)
    return ((integers[..., None] >> np.arange(_BITS - 1, -1, -1)) & 1).astype(np.float32)
