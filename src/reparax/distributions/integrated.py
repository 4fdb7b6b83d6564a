"""An ordinary differential equation, integrated in steps that are invertible: a map whose density is exact."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.distributions.maps import Mapped

Velocity = Callable[[Float[Array, " d"], Float[Array, ""]], Float[Array, " d"]]
"""From a value and a time between 0 and 1 to the direction in which it moves."""

LARGEST_STEP = 0.75
"""The Lipschitz constant of what a step adds; below 1, so that the step is invertible and its inverse is found soon."""
MOST_ITERATIONS = 200
TOLERANCE = 1e-6
NUM_SQUARINGS = 4
LEAST_TRACE = 1e-12
"""So that the bound of a matrix of zeros has a derivative."""


class Integrated(eqx.Module):
    """z = T(e), T^-1 going back along dz/dt = v(z, t) from t = 1 to 0 in equal steps of the midpoint rule.

    A step is z -> z - h v(z - h/2 v(z, t), t - h/2). It is invertible if what it subtracts has a Lipschitz constant
    below 1 (Behrmann et al. 2019, "Invertible residual networks", theorem 1), which holds for a velocity whose
    constant is `largest_slope`. So the steps, and not their limit, are the map, and its density is exact for any number
    of them: one pass with the derivatives in all directions. T itself solves each step by its fixed point.

    Attributes:
        velocity: v, whose Lipschitz constant in z is at most `largest_slope` of the number of steps.
        num_steps: The number of steps, 1 / h.
    """

    velocity: Velocity
    num_steps: int = eqx.field(static=True)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> Mapped:
        """The value whose way back ends at e, and the log-determinant."""
        z, _ = jax.lax.scan(lambda z, t: (self._step(z, t), None), e, self._times())
        return z, -self.inverse_and_log_det(z)[1]

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> Mapped:
        """Where the way back from z ends, and the log-determinant of that map."""

        def back(z: Array) -> tuple[Array, Array]:
            e, _ = jax.lax.scan(lambda z, t: (z - self._moved(z, t), None), z, self._times(), reverse=True)
            return e, e

        jacobian, e = jax.jacfwd(back, has_aux=True)(z)
        return e, jnp.linalg.slogdet(jacobian)[1]

    def _times(self) -> Float[Array, " n"]:
        """The ends of the steps."""
        return jnp.arange(1, self.num_steps + 1) / self.num_steps

    def _moved(self, z: Float[Array, " d"], t: Float[Array, ""]) -> Float[Array, " d"]:
        """What the step that ends at z, at the time t, has added."""
        size = 1.0 / self.num_steps
        return size * self.velocity(z - 0.5 * size * self.velocity(z, t), t - 0.5 * size)

    def _step(self, start: Float[Array, " d"], t: Float[Array, ""]) -> Float[Array, " d"]:
        """The z at the time t with z - moved(z) = start; its derivative is that of the implicit function."""

        def linear(g: Callable[[Array], Array], b: Array) -> Array:
            return jax.lax.custom_linear_solve(g, b, _solved_linear, _solved_linear)

        return jax.lax.custom_root(lambda z: z - self._moved(z, t) - start, start, _root, linear)


def _root(excess: Callable[[Array], Array], start: Float[Array, " d"]) -> Float[Array, " d"]:
    """Where a function that is the identity minus a contraction is 0: z <- z - excess(z)."""

    def goes_on(state: tuple[Array, Array, Array]) -> Array:
        z, left, count = state
        return (jnp.max(jnp.abs(left)) > TOLERANCE * (1 + jnp.max(jnp.abs(z)))) & (count < MOST_ITERATIONS)

    def improve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        z, left, count = state
        return z - left, excess(z - left), count + 1

    z, left, _ = jax.lax.while_loop(goes_on, improve, (start, excess(start), jnp.int32(0)))
    return z - left


def _solved_linear(g: Callable[[Array], Array], b: Float[Array, " d"]) -> Float[Array, " d"]:
    return _root(lambda x: g(x) - b, b)


def largest_slope(num_steps: int) -> float:
    """The Lipschitz constant of a velocity with which each of the steps is invertible.

    With c = L h, a midpoint step adds something of the constant c + c^2 / 2 at most, which is `LARGEST_STEP`.
    """
    return (math.sqrt(1 + 2 * LARGEST_STEP) - 1) * num_steps


def spectral_bound(matrix: Float[Array, "n m"]) -> Float[Array, ""]:
    """An upper bound on the largest singular value, the Schatten norm (tr (A A^T)^k)^(1 / 2k) with k = 16.

    It is at most r^(1 / 32) times as large, r the rank.
    """
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    log_bound = jnp.zeros((), matrix.dtype)
    for index in range(NUM_SQUARINGS + 1):
        size = jnp.trace(gram) + LEAST_TRACE
        log_bound = log_bound + jnp.log(size) / 2**index
        gram = (gram / size) @ (gram / size)
    return jnp.exp(0.5 * log_bound)
