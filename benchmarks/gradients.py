"""How fast value and gradient of E[x^2] come through reparameterized samples, beside numpyro and PyTorch; one run.

Every case is timed in turn by all of them, several times, and the medians are compared: only the ratios mean anything.
Neither PyTorch nor numpyro has differentiable samples of VonMises, which is compared with Gamma instead. numpyro's own
samples are timed on fewer draws, as they are slow. PyTorch runs in an environment of its own (``.venv-torch``; left
out, with a word, where it is absent). The same run ends with the time that tracing takes with and without the check of
continuity (trace_time.py).
"""

import argparse
import math
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from numpyro import distributions as dist
from trace_time import report

from reparax.reparameterization import rsample

ROOT = Path(__file__).resolve().parents[1]
TORCH = ROOT / ".venv-torch" / "bin" / "python"
Case = tuple[list[jax.Array], Callable[..., dist.Distribution], int]


def cases(n: int) -> dict[str, Case]:
    mixed = jnp.exp(jax.random.uniform(jax.random.key(0), (n,), minval=-3.0, maxval=6.9))

    def of(*values: float) -> list[jax.Array]:
        return [jnp.float32(value) for value in values]

    return {
        "Normal": (of(0.3, 1.2), dist.Normal, n),
        "Gamma(2)": (of(2.0), lambda a: dist.Gamma(a, 1.0), n),
        "Gamma, mixed shapes": ([mixed], lambda a: dist.Gamma(a, 1.0), n),
        "Beta(2, 3)": (of(2.0, 3.0), dist.Beta, n),
        "Beta, mixed shapes": ([mixed, mixed[::-1]], dist.Beta, n),
        "Dirichlet(0.7 x 10)": ([jnp.full((10,), 0.7, jnp.float32)], dist.Dirichlet, n // 10),
        "StudentT(8)": (of(8.0), lambda df: dist.StudentT(df, 0.0, 1.0), n),
        "VonMises(2)": (of(2.0), lambda kappa: dist.VonMises(0.0, kappa), n),
    }


# Nor can numpyro's own draws of these be differentiated.
OURS_ALONE = ("VonMises(2)",)


def bare_normal(n: int) -> Callable[..., jax.Array]:
    def draw(key: jax.Array, mu: jax.Array, sigma: jax.Array) -> jax.Array:
        return mu + sigma * jax.random.normal(key, (n,))

    return draw


def draws_of(case: Case, sampler: Callable[..., jax.Array], n: int) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    """The draws of a case at n scalar draws, and the parameters cut to that size."""
    parameters, family, size = case
    vector = parameters[0].ndim == 1 and parameters[0].size == size
    cut = [parameter[:n] for parameter in parameters] if vector else parameters
    shape = () if vector else (min(size, n),)

    def draw(key: jax.Array, *parameters: jax.Array) -> jax.Array:
        return sampler(family(*parameters), key, shape)

    return draw, cut


def timer(draw: Callable[..., jax.Array], parameters: list[jax.Array]) -> Callable[[], float]:
    """A function that runs value and gradient once, already compiled, and returns the seconds it took."""

    def objective(parameters: list[jax.Array], key: jax.Array) -> jax.Array:
        return (draw(key, *parameters) ** 2).sum()

    run = jax.jit(jax.value_and_grad(objective))
    keys = iter(jax.random.split(jax.random.key(1), 10_000))
    jax.block_until_ready(run(parameters, next(keys)))

    def once() -> float:
        key = next(keys)
        start = time.perf_counter()
        jax.block_until_ready(run(parameters, key))
        return time.perf_counter() - start

    return once


def torch_timers(n: int, names: list[str]) -> dict[str, Callable[[], float]]:
    if not TORCH.exists():
        print("PyTorch is left out: there is no .venv-torch (make bench-gradients creates it)")
        return {}
    worker = subprocess.Popen(
        [str(TORCH), str(ROOT / "benchmarks" / "torch_gradients.py"), str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if worker.stdout is None or worker.stdin is None or worker.stdout.readline().strip() != "ready":
        raise SystemExit("the PyTorch side did not start; its message is above")
    requests, answers = worker.stdin, worker.stdout

    def once(name: str) -> float:
        requests.write(name + "\n")
        requests.flush()
        return float(answers.readline())

    for name in names:
        once(name)
    return {name: lambda name=name: once(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="scalar draws in a call")
    parser.add_argument("--numpyro-size", type=int, default=20_000, help="the same for numpyro's own samples")
    parser.add_argument("--repeats", type=int, default=9, help="turns, of which the median counts")
    options = parser.parse_args()

    table = cases(options.size)
    torch = torch_timers(options.size, [name for name in table if name not in OURS_ALONE])
    rates: dict[str, float] = {}
    print(f"{'million scalar draws/s':24s}{'reparax':>9s}{'numpyro':>9s}{'torch':>9s}{'/numpyro':>10s}{'/torch':>8s}")
    for name, case in table.items():
        own_size = options.size if name == "Normal" else options.numpyro_size
        per_case = own_size // 10 if name.startswith("Dirichlet") else own_size
        runners = {"reparax": (options.size, timer(*draws_of(case, rsample, case[2])))}
        if name not in OURS_ALONE:
            own = draws_of(case, lambda q, key, shape: q.sample(key, shape), per_case)
            runners["numpyro"] = (own_size, timer(*own))
        if name in torch:
            runners["torch"] = (options.size, torch[name])
        if name == "Normal":
            runners["bare"] = (options.size, timer(bare_normal(options.size), case[0]))
        seconds: dict[str, list[float]] = {runner: [] for runner in runners}
        for _ in range(options.repeats):
            for runner, (_, once) in runners.items():
                seconds[runner].append(once())
        rate = {runner: runners[runner][0] / statistics.median(seconds[runner]) / 1e6 for runner in runners}
        torch_rate, numpyro_rate = rate.get("torch", math.nan), rate.get("numpyro", math.nan)
        rates[name] = rate["reparax"]
        print(
            f"{name:24s}{rate['reparax']:9.2f}{numpyro_rate:9.2f}{torch_rate:9.2f}"
            f"{rate['reparax'] / numpyro_rate:10.2f}{rate['reparax'] / torch_rate:8.2f}",
            flush=True,
        )
        if "bare" in rate:
            # Each turn against its own neighbor: the machine's load cancels.
            pairs = zip(seconds["reparax"], seconds["bare"], strict=True)
            ratio = statistics.median(ours / bare for ours, bare in pairs)
            print(f"{'':24s}time beside a bare mu + sigma * eps: {ratio:.3f}", flush=True)
    print(f"time of VonMises(2) beside Gamma(2): {rates['Gamma(2)'] / rates['VonMises(2)']:.2f}", flush=True)
    report()


if __name__ == "__main__":
    main()
