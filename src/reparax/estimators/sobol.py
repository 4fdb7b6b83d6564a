"""Scrambled Sobol draws: randomized quasi-Monte Carlo."""

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

_BITS = 23


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
    whole = np.round(points * 2**_BITS).astype(np.int64)
    return ((whole[..., None] >> np.arange(_BITS - 1, -1, -1)) & 1).astype(np.float32)
