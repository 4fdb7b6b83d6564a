"""Operations of JAX that no graph has, written with those that it has; float32."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LARGEST_UNROLLED = 64
"""The largest triangular matrix that is solved entry by entry."""


def _lgamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log |Gamma(x)| for x > 0; Stirling's series from 8 on, below it log Gamma(x + 8) - log(x (x + 1) ... (x + 7)).

    Abramowitz & Stegun (1964), 6.1.41.
    """
    small = x < 8.0
    y = jnp.where(small, x + 8.0, x)
    inverse = 1.0 / y
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 * (1 / 1260 - inverse**2 / 1680)))
    stirling = (y - 0.5) * (jnp.log(y) - 1.0) - 0.5 + 0.9189385332046727 + series
    product = x
    for step in range(1, 8):
        product = product * (jnp.where(small, x, 0.0) + step)
    lost = jnp.log(jnp.where(small, product, 1.0))
    near = _near_one(x)
    return jnp.where(jnp.abs(x - 1.5) < 0.75, near, stirling - jnp.where(small, lost, 0.0))


def _near_one(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log Gamma(x) from 0.75 to 2.25 without cancellation: (x - 1) (x - 2) times a fitted polynomial."""
    t = (jnp.clip(x, 0.75, 2.25) - 1.5) / 0.75
    quotient = jnp.zeros_like(t)
    for coefficient in QUOTIENT:
        quotient = quotient * t + coefficient
    return (x - 1.0) * (x - 2.0) * quotient


def _quotient() -> tuple[float, ...]:
    """The coefficients of a polynomial in t, highest power first, that is log Gamma(x) / ((x - 1) (x - 2))."""
    from scipy.special import gammaln

    t = np.cos(np.pi * (np.arange(41) + 0.5) / 41)
    x = 1.5 + 0.75 * t
    values = gammaln(x) / ((x - 1) * (x - 2))
    chebyshev = np.polynomial.chebyshev.chebfit(t, values, 15)
    return tuple(np.polynomial.chebyshev.cheb2poly(chebyshev)[::-1].tolist())


QUOTIENT = _quotient()


def _log1p(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + x) for small x too: Kahan's correction of what 1 + x loses."""
    sum_, smallest = 1.0 + x, x == 0.0
    lost = jnp.log(sum_) * (x / jnp.where(sum_ == 1.0, 1.0, sum_ - 1.0))
    large = jnp.abs(x) > 1e30
    return jnp.where(large, jnp.log(jnp.where(large, x, 1.0)), jnp.where((sum_ == 1.0) | smallest, x, lost))


def _expm1(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), without cancellation for small x."""
    small = jnp.abs(x) < 1.0
    kept = jnp.where(small, x, 0.0)
    return jnp.where(small, jnp.tanh(0.5 * kept) * (jnp.exp(kept) + 1.0), jnp.exp(x) - 1.0)


def _atan2(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The angle of (x, y): 2 atan(y / (r + x)), or what y r - x gives where x is negative."""
    r = jnp.sqrt(x * x + y * y)
    angle = 2.0 * _atan(jnp.where(x >= 0, y / jnp.where(x >= 0, r + x, 1.0), (r - x) / jnp.where(y == 0, 1.0, y)))
    return jnp.where(r == 0, 0.0, jnp.where((x < 0) & (y == 0), jnp.float32(np.pi), angle))


def _atan(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """atan by halving the angle three times and a series."""
    t = x
    for _ in range(3):
        t = t / (1.0 + jnp.sqrt(1.0 + t * t))
    square = t * t
    series = t * (1.0 - square * (1 / 3 - square * (1 / 5 - square * (1 / 7 - square * (1 / 9 - square / 11)))))
    return 8.0 * series


def _erf_inv(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The inverse of erf: Giles (2010), "Approximating the erfinv function", table 5 (single precision)."""
    w = -jnp.log((1.0 - x) * (1.0 + x))
    central, tail = w - 2.5, jnp.sqrt(jnp.maximum(w, 5.0)) - 3.0
    p, q = jnp.zeros_like(w), jnp.zeros_like(w)
    for a in (
        2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
        0.246640727, 1.50140941,
    ):  # fmt: skip
        p = p * central + a
    for b in (
        -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
        1.00167406, 2.83297682,
    ):  # fmt: skip
        q = q * tail + b
    return jnp.where(w < 5.0, p, q) * x


def _cholesky(a: Float[Array, "n n"], **params: Any) -> list[Float[Array, "n n"]]:
    """The lower triangular factor of one small matrix, entry by entry."""
    size = _require_small(a)
    low: list[list[Any]] = [[jnp.zeros(()) for _ in range(size)] for _ in range(size)]
    for j in range(size):
        low[j][j] = jnp.sqrt(a[j, j] - sum((low[j][k] * low[j][k] for k in range(j)), jnp.zeros(())))
        for i in range(j + 1, size):
            rest = sum((low[i][k] * low[j][k] for k in range(j)), jnp.zeros(()))
            low[i][j] = (a[i, j] - rest) / low[j][j]
    return [jnp.stack([jnp.stack(row) for row in low])]


def _triangular_solve(
    a: Float[Array, "n n"], b: Float[Array, "..."], *, left_side: bool, lower: bool, transpose_a: bool,
    conjugate_a: bool, unit_diagonal: bool,
) -> Float[Array, "..."]:  # fmt: skip
    """The solution of a x = b or x a = b for one triangular matrix, row by row."""
    size = _require_small(a)
    if not left_side:
        b = b.T
    # From here, m x = b.
    transposed = transpose_a == left_side
    m = a.T if transposed else a
    is_lower = lower != transposed
    x: list[Any] = [None] * size
    for i in range(size) if is_lower else reversed(range(size)):
        known = range(i) if is_lower else range(i + 1, size)
        rest = sum((m[i, k] * x[k] for k in known), jnp.zeros_like(b[i]))
        x[i] = (b[i] - rest) / (1.0 if unit_diagonal else m[i, i])
    solved = jnp.stack(x)
    return solved if left_side else solved.T


def _require_small(a: Float[Array, "n n"]) -> int:
    if a.ndim != 2 or a.shape[0] > LARGEST_UNROLLED:
        raise NotImplementedError(f"matrices of shape {a.shape}")
    return a.shape[0]


REWRITES: dict[str, Callable[..., Any]] = {
    "lgamma": _lgamma,
    "log1p": lambda x, **params: _log1p(x),
    "expm1": lambda x, **params: _expm1(x),
    "atan2": _atan2,
    "atan": lambda x, **params: _atan(x),
    "erf_inv": _erf_inv,
    "exp2": lambda x, **params: jnp.exp(x * 0.6931471805599453),
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
}
"""Functions that stand for operations, by name; of arrays, with the operation's parameters."""
