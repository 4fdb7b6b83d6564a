"""Gauss-Legendre rules on the unit interval, as constants of the program."""

from functools import lru_cache
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Number = TypeVar("Number", int, float)


@lru_cache(maxsize=16)
def _unit_rule(num_points: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def gauss_legendre(num_points: int, dtype: DTypeLike) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1].

    Args:
        num_points: The number of nodes n; polynomials up to degree 2n - 1 are integrated exactly.
        dtype: The floating type of both arrays.
    """
    nodes, weights = _unit_rule(num_points)
    return jnp.asarray(nodes, dtype), jnp.asarray(weights, dtype)


def gauss_legendre_floats(num_points: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same rule as Python floats, for a sum unrolled into one fused elementwise program."""
    nodes, weights = _unit_rule(num_points)
    return tuple(nodes.tolist()), tuple(weights.tolist())


def by_precision(dtype: DTypeLike, single: Number, double: Number) -> Number:
    """The setting for single precision, or the one for double."""
    return double if jnp.finfo(dtype).bits > 32 else single
