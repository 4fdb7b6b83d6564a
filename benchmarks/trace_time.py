"""How long `rx.expectation` takes to trace with the continuity check and without it (``AssumedContinuous``); one run.

Cold is a function that was never seen, as at the first call; warm is the same function again, as at every eager call.
Both are timed in turns, and the medians are compared.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import reparax as rx
from reparax.estimators import AssumedContinuous

WIDTH = 32
Function = Callable[[jax.Array], jax.Array]


def integrands() -> dict[str, Callable[[], Function]]:
    """Makers of functions of a vector; every call makes one that was never seen."""
    return {
        "quadratic": lambda: lambda z: jnp.sum(z**2),
        "one where (Huber)": lambda: lambda z: jnp.sum(jnp.where(jnp.abs(z) < 1, z**2, 2 * jnp.abs(z) - 1)),
        "3 layers with where": lambda: network(3),
        "10 layers with where": lambda: network(10),
        "10 layers, tanh": lambda: smooth_network(10),
        "scan of 50 steps": lambda: recurrent,
    }


def weights(layers: int) -> list[jax.Array]:
    return list(jax.random.normal(jax.random.key(0), (layers, WIDTH, WIDTH)) / WIDTH**0.5)


def network(layers: int) -> Function:
    matrices = weights(layers)

    def f(z: jax.Array) -> jax.Array:
        for matrix in matrices:
            a = matrix @ z
            z = jnp.where(a > 0, a, 0.1 * a)
        return jnp.sum(z)

    return f


def smooth_network(layers: int) -> Function:
    matrices = weights(layers)

    def f(z: jax.Array) -> jax.Array:
        for matrix in matrices:
            z = jnp.tanh(matrix @ z)
        return jnp.sum(z)

    return f


def recurrent(z: jax.Array) -> jax.Array:
    (matrix,) = weights(1)
    return jnp.sum(jax.lax.scan(lambda h, _: (jnp.maximum(matrix @ h, 0.1 * h), None), z, None, length=50)[0])


def trace(f: Callable[..., jax.Array]) -> float:
    """Seconds to trace value and gradient in the parameters of q."""

    def loss(loc: jax.Array, key: jax.Array) -> jax.Array:
        return rx.expectation(f, dist.Normal(loc, 1.0).to_event(1), key=key, num_samples=4, estimator="pathwise")

    loc, key = jnp.zeros(WIDTH), jax.random.key(0)
    start = time.perf_counter()
    jax.make_jaxpr(jax.value_and_grad(loss))(loc, key)
    return time.perf_counter() - start


def report(repeats: int = 5) -> None:
    """Prints the table."""
    heads = ("without", "cold", "warm", "cold/without", "warm/without")
    print(f"\n{'milliseconds to trace':24s}" + "".join(f"{head:>14s}" for head in heads))
    for name, make in integrands().items():
        trace(AssumedContinuous(make()))
        seconds: dict[str, list[float]] = {"without": [], "cold": [], "warm": []}
        for _ in range(repeats):
            f = make()
            seconds["without"].append(trace(AssumedContinuous(make())))
            seconds["cold"].append(trace(f))
            seconds["warm"].append(trace(f))
        middle = {kind: 1e3 * statistics.median(times) for kind, times in seconds.items()}
        print(
            f"{name:24s}{middle['without']:14.1f}{middle['cold']:14.1f}{middle['warm']:14.1f}"
            f"{middle['cold'] / middle['without']:14.2f}{middle['warm'] / middle['without']:14.2f}",
            flush=True,
        )


if __name__ == "__main__":
    report()
