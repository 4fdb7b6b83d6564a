"""How long one epoch of a variational autoencoder takes, beside the least it could take; ratios from one run.

Three loops train the same model (784-512-16, GELU, Bernoulli, Adam, batch 128) on the same data, in turn, several
times:
reparax, a bare scanned JAX loop with nothing around it, and a careful PyTorch loop in an environment of its own
(``.venv-torch``; left out, with a word, where it is absent). Then the command line: ``--help``, and a first and a
second fit.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reparax.data import read
from reparax.likelihoods.bounded import BernoulliDecoder
from reparax.model import Model
from reparax.networks.mlp import MLP
from reparax.objectives import ELBO
from reparax.posteriors import DiagonalNormal, Encoder
from reparax.priors import StandardNormal
from reparax.recipe import Units
from reparax.training._program import Program
from reparax.training._schedule import Plan

ROOT = Path(__file__).resolve().parents[1]
MNIST = ROOT.parent / "shared" / "data" / "mnist" / "train-images-idx3-ubyte.gz"
BATCH, HIDDEN, LATENT, PIXELS = 128, 512, 16, 784


def images() -> np.ndarray:
    """60,000 binary images: MNIST cut at the middle where it is at hand, else as many random ones."""
    if MNIST.exists():
        return (read(str(MNIST)).values > 127).astype(np.uint8)
    print("MNIST is not beside the repository: random images of its size are used")
    return (np.random.default_rng(0).random((60_000, 28, 28, 1)) < 0.13).astype(np.uint8)


def reparax_epoch(data: np.ndarray) -> Callable[[], None]:
    """The training program of `reparax.fit`, an epoch at a call."""
    units = Units.of(read(data).schema)
    architecture, keys = MLP(HIDDEN, 1), jax.random.split(jax.random.key(0), 4)
    posterior = Encoder(DiagonalNormal(), architecture.encoder((28, 28, 1), 2 * LATENT, key=keys[0]), LATENT)
    likelihood = BernoulliDecoder(architecture.decoder(LATENT, (1, 28, 28, 1), key=keys[2]))
    model = Model(posterior, StandardNormal(), likelihood)
    program = Program.of(model, ELBO(), optax.adam(1e-3), units.transform)
    plan = Plan(len(data), BATCH, 1)
    stored = jnp.asarray(units.trained_on(data))
    carry = program.start(model, stored, BATCH)

    def epoch() -> None:
        nonlocal carry
        step = 0
        while step < plan.steps:
            look = plan.next_look(step)
            chunk = plan.chunk(jax.random.key(1), step, look - step)
            carry, healthy = program.chunk(carry, stored, chunk, jax.random.key(2))
            assert healthy
            carry, step = carry.looked_at(), look

    return epoch


def bare_epoch(data: np.ndarray) -> Callable[[], None]:
    """The same model with nothing around it: arrays in tuples, one batch of noise, one scan."""
    stored = jnp.asarray(data.reshape(len(data), -1), jnp.float32)
    steps = len(data) // BATCH
    initialize = jax.nn.initializers.lecun_normal()
    sizes = ((PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS))
    keys = jax.random.split(jax.random.key(0), 4)
    parameters = [(initialize(k, size), jnp.zeros(size[1])) for k, size in zip(keys, sizes, strict=True)]
    optimizer = optax.adam(1e-3)

    def loss(parameters, x, key):
        (w1, b1), (w2, b2), (w3, b3), (w4, b4) = parameters
        mean, log_variance = jnp.split(jax.nn.gelu(x @ w1 + b1) @ w2 + b2, 2, axis=1)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        logits = jax.nn.gelu(z @ w3 + b3) @ w4 + b4
        reconstruction = jnp.sum(x * logits - jax.nn.softplus(logits), axis=1)
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=1)
        return jnp.mean(kl - reconstruction)

    @jax.jit
    def run(parameters, state, key):
        shuffled, noise = jax.random.split(key)
        order = jax.random.permutation(shuffled, len(data))[: steps * BATCH].reshape(steps, BATCH)

        def step(carry, inputs):
            parameters, state = carry
            rows, key = inputs
            value, gradient = jax.value_and_grad(loss)(parameters, stored[rows], key)
            updates, state = optimizer.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, updates), state), value

        (parameters, state), values = jax.lax.scan(step, (parameters, state), (order, jax.random.split(noise, steps)))
        return parameters, state, values.mean()

    carry = [parameters, optimizer.init(parameters)]

    def epoch() -> None:
        carry[0], carry[1], value = run(carry[0], carry[1], jax.random.key(1))
        float(value)

    return epoch


class TorchLoop:
    """A PyTorch process that trains one epoch whenever it is asked to, and says how long it took."""

    def __init__(self, data: np.ndarray) -> None:
        python = ROOT / ".venv-torch" / "bin" / "python"
        self.process = None
        if not python.exists():
            print("no PyTorch to compare with: `make .venv-torch` installs it")
            return
        with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
            np.save(file, data.reshape(len(data), -1))
        self.process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / "torch_vae.py"), file.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.process.stdout.readline()
        os.unlink(file.name)

    def epoch(self) -> float:
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bench_epochs(repeats: int) -> None:
    data = images()
    ours, bare, torch = reparax_epoch(data), bare_epoch(data), TorchLoop(data)
    ours(), bare()
    loops: dict[str, Callable[[], float]] = {"reparax": lambda: seconds(ours), "bare JAX": lambda: seconds(bare)}
    if torch.process is not None:
        loops["PyTorch"] = torch.epoch
    times: dict[str, list[float]] = {name: [] for name in loops}
    for repeat in range(repeats):
        # Whoever comes first in a round finds caches and clocks as the last one left them: they take turns.
        names = [*list(loops)[repeat % len(loops) :], *list(loops)[: repeat % len(loops)]]
        for name in names:
            times[name].append(loops[name]())
    torch.close()
    print(f"one epoch, MNIST MLP 784-{HIDDEN}-{LATENT}, batch {BATCH}, median of {repeats}:")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["reparax"], found, strict=True))
        print(f"  {name:10s} {statistics.median(found):7.2f} s   reparax / {name}: {ratio:.2f}")


def bench_command_line() -> None:
    command = [sys.executable, "-m", "reparax"]
    helps = [seconds(lambda: subprocess.run([*command, "--help"], capture_output=True, check=True)) for _ in range(7)]
    print(f"reparax --help: {statistics.median(helps):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        fit = [*command, "fit", "builtin:digits", "--out", f"{folder}/model", "--epochs", "4", "--quiet"]
        first, second = (
            seconds(lambda: subprocess.run(fit, env=environment, capture_output=True, check=True)) for _ in range(2)
        )
    print(f"a first fit {first:.1f} s, a second one of the same shape {second:.1f} s: ratio {second / first:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    bench_epochs(arguments.repeats)
    bench_command_line()
