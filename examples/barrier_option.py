"""The sensitivities of a barrier option, in the usual form: noise in q, and spot, volatility, barrier and strike in f.

An up-and-out call on 12 monitoring dates of a geometric Brownian motion pays max(S_T - strike, 0) unless the price is
at or above the barrier on one of the dates. Its payoff jumps where a price crosses the barrier, and the place of that
jump depends on three of the four parameters. Pathwise derivatives miss what the jump sweeps over, and so do score
functions, as q has no parameter at all; `boundary` has it. The referee is finite differences on common noise.

Prints the four sensitivities of every method with their standard errors, and the variances of one draw.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import reparax as rx
from reparax.estimators import AssumedContinuous

DATES, YEARS, RATE = 12, 1.0, 0.03
NAMES = ("spot", "volatility", "barrier", "strike")
THETA = jnp.array([100.0, 0.2, 125.0, 95.0])
# Wide enough for a small variance of the difference, small enough for a bias below its standard error.
STEPS = np.array([0.25, 0.0015, 0.25, 0.25])
SEEN_ONLY_BY_BOUNDARY = ("spot", "volatility", "barrier")


def payoff(noise: jax.Array, theta: jax.Array) -> jax.Array:
    """The discounted payoff on one path of 12 Normal numbers."""
    spot, volatility, barrier, strike = theta
    step = YEARS / DATES
    moves = (RATE - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * noise
    path = spot * jnp.exp(jnp.cumsum(moves))
    alive = jnp.max(path) < barrier
    return jnp.exp(-RATE * YEARS) * jnp.where(alive, jnp.maximum(path[-1] - strike, 0.0), 0.0)


def price(
    theta: jax.Array,
    key: jax.Array,
    estimator: str,
    num_samples: int,
    payoff: Callable[[jax.Array, jax.Array], jax.Array] = payoff,
) -> jax.Array:
    """The price, whose derivative is the named estimator's."""
    q = dist.Normal(jnp.zeros(DATES), 1.0).to_event(1)

    def f(noise: jax.Array) -> jax.Array:
        return payoff(noise, theta)

    # The other estimators refuse a jump whose location depends on a parameter. Wrapping f turns the check off, so that
    # this example can show what they miss.
    integrand = f if estimator == "boundary" else AssumedContinuous(f)
    return rx.expectation(integrand, q, key=key, num_samples=num_samples, estimator=estimator)


class Measured(NamedTuple):
    """Per parameter the mean, its standard error, and the variance of one draw."""

    mean: np.ndarray
    error: np.ndarray
    variance: np.ndarray


def estimated(estimator: str, draws: int, seed: int = 0) -> Measured:
    """The derivatives by an estimator; leave-one-out works with two draws at a time."""
    size = 2 if estimator == "leave-one-out" else 1
    keys = jax.random.split(jax.random.key(seed), draws // size)
    gradient = jax.grad(lambda theta, key: price(theta, key, estimator, size))
    run = jax.jit(lambda theta: jax.lax.map(lambda key: gradient(theta, key), keys, batch_size=250))
    found = np.asarray(run(THETA), np.float64)
    return _measured(found, size)


def differences(draws: int, seed: int = 1) -> Measured:
    """Central finite differences on common noise."""
    noise = jax.random.normal(jax.random.key(seed), (draws, DATES))
    run = jax.jit(lambda theta: jax.lax.map(lambda one: payoff(one, theta), noise, batch_size=10000))
    columns = []
    for unit in jnp.eye(len(THETA)) * jnp.asarray(STEPS, jnp.float32)[:, None]:
        up, down = (np.asarray(run(THETA + sign * unit), np.float64) for sign in (1, -1))
        width = float(jnp.sum((THETA + unit) - (THETA - unit)))
        columns.append((up - down) / width)
    return _measured(np.stack(columns, axis=1), 1)


def _measured(found: np.ndarray, size: int) -> Measured:
    spread = found.var(axis=0, ddof=1)
    return Measured(found.mean(axis=0), np.sqrt(spread / len(found)), spread * size)


def main(draws: int = 20_000, difference_draws: int = 4_000_000) -> dict[str, Measured]:
    """Measures and prints everything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = {
            "finite differences": differences(difference_draws),
            **{name: estimated(name, draws) for name in ("boundary", "pathwise", "leave-one-out")},
        }
    referee = found["finite differences"]
    print(f"{'':20s}" + "".join(f"{name:>26s}" for name in NAMES))
    for method, part in found.items():
        cells = [f"{m:10.4f} +- {e:.4f}" for m, e in zip(part.mean, part.error, strict=True)]
        print(f"{method:20s}" + "".join(f"{cell:>26s}" for cell in cells))
    print("variance of one draw")
    for method, part in found.items():
        print(f"{method:20s}" + "".join(f"{value:26.4g}" for value in part.variance))
    print("distance from finite differences, in standard errors of both")
    for method, part in list(found.items())[1:]:
        z = (part.mean - referee.mean) / np.maximum(np.hypot(part.error, referee.error), 1e-12)
        print(f"{method:20s}" + "".join(f"{value:26.2f}" for value in z))
    return found


if __name__ == "__main__":
    main()
