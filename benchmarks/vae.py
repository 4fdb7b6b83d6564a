"""How long a step of training takes in `reparax.fit`, held-out looks and all, beside the least it could take.

python benchmarks/vae.py                          all of the below, on the CPU
python benchmarks/vae.py mlp --repeats 6          a perceptron on MNIST (784-512-16, GELU, Bernoulli, Adam, batch 128)
python benchmarks/vae.py convolutional            4x4 convolutions of stride 2 and back, at two sizes and three batches
python benchmarks/vae.py command-line             ``--help``, and a first and a second fit
python benchmarks/vae.py --device gpu             the models on a GPU, in float32, TF32 and bfloat16, and a sweep of 16

Other loops train the same model on the same data, in turn, several times: a bare scanned JAX loop with nothing around
it (the perceptron), and careful PyTorch loops in an environment of their own (``.venv-torch``; left out, with a word,
where it is absent): eager, compiled, and on a GPU captured as a CUDA graph. All ratios are within one run. Compilation
does not count.
"""

import argparse
import json
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

import reparax as rx
from reparax.data import read

ROOT = Path(__file__).resolve().parents[1]
MNIST = ROOT.parent / "shared" / "data" / "mnist" / "train-images-idx3-ubyte.gz"
TORCH = ROOT / ".venv-torch" / "bin" / "python"
BATCH, HIDDEN, LATENT, PIXELS = 128, 512, 16, 784
SIZES, BATCHES = ((28, 28, 1), (32, 32, 3)), (32, 128, 1024)
PRECISIONS = {"cpu": ("float32",), "gpu": ("float32", "tensorfloat32", "bfloat16")}
MODES = {"cpu": ("eager", "compiled"), "gpu": ("eager", "compiled", "graph")}


def digits() -> np.ndarray:
    """60,000 binary images: MNIST cut at the middle where it is at hand, else as many random ones."""
    if MNIST.exists():
        return (read(str(MNIST)).values > 127).astype(np.uint8)
    print("MNIST is not beside the repository: random images of its size are used")
    return (np.random.default_rng(0).random((60_000, 28, 28, 1)) < 0.13).astype(np.uint8)


def patterns(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Binary images with something to learn."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 4)) @ rng.normal(size=(4, np.prod(shape)))
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8).reshape(-1, *shape)


def fit_steps(images: np.ndarray, device: str, **chosen: object) -> Callable[[], float]:
    """The seconds of a step of `reparax.fit`, from before the first step to after the last look."""

    def steps() -> float:
        asked, looks = [], []

        def stop() -> bool:
            asked.append(time.perf_counter())
            return False

        fitted = rx.fit(
            images, likelihood="bernoulli", latent_dim=LATENT, epochs=3, patience=100, warmup_epochs=0, device=device,
            stop=stop, progress=lambda record: looks.append(time.perf_counter()), **chosen,
        )  # fmt: skip
        return (looks[-1] - asked[0]) / fitted.history[-1].step

    return steps


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


class Torch:
    """A PyTorch process that makes steps of training whenever it is asked to, and says how long they took."""

    def __init__(self, images: np.ndarray, network: str, batch: int, mode: str, device: str, precision: str) -> None:
        with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
            np.save(file, images)
        settings = json.dumps([file.name, network, batch, mode, "cuda" if device == "gpu" else device, precision])
        self.process = subprocess.Popen(
            [str(TORCH), str(ROOT / "benchmarks" / "torch_vae.py"), settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.process.stdout.readline()
        os.unlink(file.name)

    def seconds(self, steps: int) -> float:
        """The seconds of a step."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / steps

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(title: str, loops: dict[str, Callable[[], float]], repeats: int) -> None:
    """Prints the milliseconds of a step of each loop, and the ratios of the first one to the others."""
    for once in loops.values():
        once()
    times: dict[str, list[float]] = {name: [] for name in loops}
    for repeat in range(repeats):
        # Whoever comes first in a round finds caches and clocks as the last one left them: they take turns.
        names = [*list(loops)[repeat % len(loops) :], *list(loops)[: repeat % len(loops)]]
        for name in names:
            times[name].append(loops[name]())
    print(f"{title}, median of {repeats} (least to most):")
    ours = next(iter(times.values()))
    for name, of_loop in times.items():
        ratios = sorted(a / b for a, b in zip(ours, of_loop, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {name:24s} {1e3 * statistics.median(of_loop):8.2f} ms a step   reparax / it: {spread}", flush=True)


def bench(network: str, images: np.ndarray, batch: int, device: str, repeats: int) -> None:
    """Compares all loops of a model, in each precision of the device."""
    steps = max(1, (len(images) - 1000) // batch)
    of_network = {"width": HIDDEN, "depth": 1} if network == "mlp" else {"width": 32, "depth": 2}
    chosen = {"network": network, "batch_size": batch, **of_network}
    shape = "x".join(map(str, images.shape[1:]))
    for precision in PRECISIONS[device]:
        loops = {"reparax.fit": fit_steps(images, device, precision=precision, **chosen)}
        if network == "mlp" and precision == "float32":
            epoch = bare_epoch(images.reshape(len(images), -1)[: steps * batch])
            loops["bare JAX"] = lambda epoch=epoch: seconds(epoch) / steps
        torch: list[Torch] = []
        for mode in MODES[device] if TORCH.exists() else ():
            torch.append(Torch(images, network, batch, mode, device, precision))
            loops[f"PyTorch, {mode}"] = lambda loop=torch[-1]: loop.seconds(steps)
        compare(f"{network} {shape}, batch {batch}, {precision} on the {device}", loops, repeats)
        for loop in torch:
            loop.close()


def mlp(device: str, repeats: int) -> None:
    bench("mlp", digits(), BATCH, device, repeats)


def convolutional(device: str, repeats: int) -> None:
    for shape in SIZES:
        images = patterns(11_000, shape)
        for batch in BATCHES:
            bench("convolutional", images, batch, device, repeats)


def sweep(device: str, repeats: int) -> None:
    """16 models of width 64 at once beside one of them, compiled: a small table's worth of examples."""
    images = digits()[:2000]
    settings = [{"seed": seed} for seed in range(16)]
    common = {"network": "mlp", "width": 64, "depth": 2, "likelihood": "bernoulli", "epochs": 30, "patience": 100}

    def one() -> object:
        return rx.fit(images, device=device, **common)

    def many() -> object:
        return rx.fit_many(images, settings, **common)

    one(), many()
    pairs = [(seconds(one), seconds(many)) for _ in range(repeats)]
    ratios = sorted(together / (16 * alone) for alone, together in pairs)
    print(f"16 models at once, of 16 fits: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def command_line(device: str, repeats: int) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {"mlp": mlp, "convolutional": convolutional, "sweep": sweep, "command-line": command_line}
    parser.add_argument("job", nargs="?", choices=jobs, help="what to measure (default: all)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device == "gpu" and jax.default_backend() != "gpu":
        print("not run: jax sees no GPU")
        return
    if not TORCH.exists():
        print("no PyTorch to compare with: `make .venv-torch/.installed` installs it")
    left_out = {"command-line"} if options.device == "gpu" else {"sweep"}  # on a CPU, benchmarks/many.py has it
    for name, job in jobs.items():
        if options.job == name or (options.job is None and name not in left_out):
            job(options.device, options.repeats)


if __name__ == "__main__":
    main()
