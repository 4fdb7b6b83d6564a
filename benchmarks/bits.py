"""Binary variables: variance times evaluations of f against the number of draws, relative to DisARM; and learned dials.

Functions of d bits: linear, pairwise, a network; probabilities of a half, easy ones (logits of scale 1) and hard ones
(of scale 4). The first table decides what "auto" takes for how many draws. The second has REBAR and RELAX as they come
and adapted (`reparax.estimators.adapt`), each evaluation of f between the values of b counted as one.
"""

import argparse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import reparax as rx
from reparax.estimators import REBAR, RELAX, AbstractEstimator, adapt
from reparax.estimators._plan import named

NAMES = ("leave-one-out", "arms", "disarm")
COUNTS = (2, 4, 8, 16, 32, 64)
Cost = Callable[[jax.Array], jax.Array]


def costs(bits: int) -> dict[str, Cost]:
    keys = jax.random.split(jax.random.key(1), 5)
    linear = jax.random.normal(keys[0], (bits,))
    pairs = jax.random.normal(keys[1], (bits, bits)) / bits**0.5
    first, second = jax.random.normal(keys[2], (bits, 32)) * 2 / bits**0.5, jax.random.normal(keys[3], (32, 32)) / 3
    last = jax.random.normal(keys[4], (32,))
    return {
        "linear": lambda b: b @ linear,
        "pairwise": lambda b: b @ pairs @ b,
        "even": lambda b: (b - 0.5) @ pairs @ (b - 0.5),
        "network": lambda b: jnp.tanh(jnp.tanh(b @ first) @ second) @ last,
        "toy": lambda b: jnp.mean((b - 0.45) ** 2),
    }


def probabilities(bits: int) -> dict[str, jax.Array]:
    noise = jax.random.normal(jax.random.key(2), (bits,))
    return {"half": jnp.zeros(bits), "easy": noise, "hard": 4 * noise}


def work(f: Cost, logits: jax.Array, estimator: AbstractEstimator, count: int, repeats: int) -> float:
    """The variance of one gradient, summed over the logits, times evaluations of f."""

    def loss(at: jax.Array, key: jax.Array) -> Any:
        q = dist.Bernoulli(logits=at).to_event(1)
        return rx.expectation(
            lambda b: f(b.astype(float)), q, key=key, num_samples=count, estimator=estimator
        )  # fmt: skip

    keys = jax.random.split(jax.random.key(3), repeats)
    run = jax.jit(lambda at: jax.lax.map(lambda key: jax.grad(loss)(at, key), keys, batch_size=250))
    made = max(count, estimator.minimum_samples)
    return float(jnp.var(run(logits), axis=0).sum()) * estimator.evaluations(dist.Bernoulli(logits=logits), made)


def by_draws(bits: int, repeats: int) -> None:
    print(f"\n{bits} bits, variance x evaluations relative to DisARM\n")
    print(f"{'f':10s}{'p':6s}{'estimator':15s}" + "".join(f"{f'K = {count}':>9s}" for count in COUNTS))
    for cost in ("linear", "pairwise", "even", "network"):
        for kind, logits in probabilities(bits).items():
            f = costs(bits)[cost]
            base = [work(f, logits, named("disarm"), count, repeats) for count in COUNTS]
            for name in NAMES[:-1]:
                found = [work(f, logits, named(name), count, repeats) for count in COUNTS]
                ratios = "".join(f"{_ratio(a, b):>9s}" for a, b in zip(found, base, strict=True))
                print(f"{cost:10s}{kind:6s}{name:15s}{ratios}", flush=True)


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}" if base > 1e-4 * value else "inf"


class Network(eqx.Module):
    """The control variate of RELAX."""

    layers: eqx.nn.MLP

    def __call__(self, noisy: jax.Array) -> jax.Array:
        return self.layers(jax.nn.sigmoid(2 * noisy))


def learned(bits: int, repeats: int, count: int = 4) -> None:
    print(f"\n{bits} bits, easy probabilities, {count} draws, variance x evaluations relative to DisARM\n")
    print(f"{'f':10s}{'REBAR':>9s}{'adapted':>9s}{'RELAX':>9s}{'adapted':>9s}")
    logits = probabilities(bits)["easy"]
    q = dist.Bernoulli(logits=logits).to_event(1)
    for cost in ("toy", "linear", "network"):
        f = costs(bits)[cost]
        base = work(f, logits, named("disarm"), count, repeats)
        network = Network(eqx.nn.MLP(bits, "scalar", 32, 1, key=jax.random.key(4)))
        cells = []
        for start in (REBAR(), RELAX(network)):
            tuned = adapt(start, lambda b, f=f: f(b.astype(float)), q, key=jax.random.key(5), num_samples=count)
            cells += [work(f, logits, part, count, repeats) / base for part in (start, tuned)]
        print(f"{cost:10s}" + "".join(f"{cell:9.3f}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bits", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--repeats", type=int, default=1000, help="gradients per variance")
    options = parser.parse_args()
    for bits in options.bits:
        by_draws(bits, options.repeats)
    for bits in options.bits:
        learned(bits, options.repeats)


if __name__ == "__main__":
    main()
