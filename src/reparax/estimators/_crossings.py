"""Whether a value jumps where a step function changes: random points on either side, brought together."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reparax.estimators._program import Program, Step

_TRIES, _ROUNDS, _ENOUGH = 60, 60, 5
_SCALES = (1.0, 0.2, 5.0, 30.0)
Run = Callable[[Sequence[Any]], list[np.ndarray]]


def continuous_across(program: Program, cause: Step, target: int) -> bool:
    """Whether a variable is continuous where the step function ``cause`` changes; unknown counts as not.

    The slice of the program is run on random values of whatever it starts from. Between two points at which the step
    function differs, bisection finds the place where it changes; the target is compared on both sides of it.
    """
    with jax.ensure_compile_time_eval():
        run, avals = program.runner((*cause.inputs, cause.outputs[0], target))
        noise = np.random.default_rng(0)
        crossed = 0
        for attempt in range(_TRIES):
            first, second = (_random(noise, avals, attempt) for _ in range(2))
            verdict = _bisect(lambda point: _pattern(cause, run(point)), first, second)
            if verdict is None:
                continue
            crossed += 1
            if not verdict:
                return False
            if crossed == _ENOUGH:
                return True
        return crossed > 0


def _pattern(cause: Step, found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The whole-number value of the step function, and the target."""
    *inputs, output, target = found
    # A remainder is not whole, but the quotient that it leaves is.
    whole = np.floor(inputs[0] / inputs[1]) if cause.name == "rem" else output
    return whole, target.astype(np.float64)


def _random(noise: np.random.Generator, avals: Sequence[Any], attempt: int) -> list[Any]:
    scale = _SCALES[attempt % len(_SCALES)]
    return [_random_value(noise, aval, scale, positive=attempt % 3 == 2) for aval in avals]


def _random_value(noise: np.random.Generator, aval: Any, scale: float, *, positive: bool) -> Any:
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), aval.shape)
    if not jnp.issubdtype(aval.dtype, jnp.floating):
        return jnp.zeros(aval.shape, aval.dtype)
    draw = scale * noise.standard_normal(aval.shape)
    return jnp.asarray(np.abs(draw) if positive else draw, aval.dtype)


def _bisect(
    look: Callable[[Sequence[Any]], tuple[np.ndarray, np.ndarray]], low: list[Any], high: list[Any]
) -> bool | None:
    (start, _), (end, _) = look(low), look(high)
    changes = np.argwhere(start != end)
    if not len(changes):
        return None
    place = tuple(changes[0])
    for _ in range(_ROUNDS):
        middle = [_between(a, b) for a, b in zip(low, high, strict=True)]
        if look(middle)[0][place] == start[place]:
            low = middle
        else:
            high = middle
    one, other = look(low)[1], look(high)[1]
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    # Bisection ends within rounding of the change, where continuous values differ by rounding alone.
    return bool(np.all(np.abs(one - other) <= 2e-3 * (1 + np.abs(one) + np.abs(other))))


def _between(a: Any, b: Any) -> Any:
    return (a + b) / 2 if jnp.issubdtype(a.dtype, jnp.floating) else a
