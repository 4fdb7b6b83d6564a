"""Importance-weighted autoencoders of MNIST with one and two stochastic layers.

Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", table 1: negative log-likelihoods of MNIST
with K = 1, 5, 50 samples in training, 86.76 / 85.54 / 84.78 with one layer of latent variables and 85.33 / 83.89 /
82.90 with two, in the runs of the published code.

Protocol of `published`: 60,000 training images, bits drawn anew in each step, 3280 epochs in batches of 20, 50 latent
dimensions behind two hidden layers of 200 units; with two layers 100 and 50; the negative log-likelihood of the test
images by 5000 samples. Not the paper's: GELU instead of tanh, and the recipe's schedule of the learning rate, which
begins at 0.001, instead of a staircase.

`reduced` is for two cores: 10,000 training images, 20 epochs in batches of 100, the first 1,000 test images by 1000
samples. What can be compared is the order: a larger K is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from record import Record, Row, by_seed, finish, mnist, parser

import reparax as rx

PUBLISHED = {
    (1, 1): "86.76", (1, 5): "85.54", (1, 50): "84.78", (2, 1): "85.33", (2, 5): "83.89", (2, 50): "82.90"
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is trained and evaluated."""

    train: int
    epochs: int
    batch_size: int
    tested: int
    samples: int
    cases: tuple[tuple[int, int], ...]


SIZES = {
    "reduced": Size(10_000, 20, 100, 1_000, 1000, ((1, 1), (1, 5), (1, 50))),
    "published": Size(60_000, 3280, 20, 10_000, 5000, tuple(PUBLISHED)),
}


def parts(layers: int, num_samples: int) -> dict[str, Any]:
    """The choices for one or two layers of latent variables, and K samples in training."""
    objective = {"name": "iwae", "num_samples": num_samples} if num_samples > 1 else "elbo"
    if layers == 1:
        return {"objective": objective, "latent_dim": 50}
    posterior = {"name": "bottom-up", "num_layers": layers, "ratio": 0.5, "hidden_units": 100}
    return {"objective": objective, "posterior": posterior, "latent_dim": 150}


def negative_log_likelihood(
    images: np.ndarray, tested: np.ndarray, layers: int, num_samples: int, size: Size, seed: int
) -> float:
    """Of the test images, in nats."""
    fitted = rx.fit(
        images[: size.train], width=200, depth=2, binarize="dynamic", epochs=size.epochs, batch_size=size.batch_size,
        learning_rate=1e-3, patience=size.epochs, seed=seed, **parts(layers, num_samples),
    )  # fmt: skip
    found = rx.evaluate(fitted, tested[: size.tested], num_samples=size.samples)
    assert found.iwae is not None
    return -found.iwae


def measure(seeds: Sequence[int], images: np.ndarray, tested: np.ndarray, name: str, size: Size) -> Record:
    rows = []
    for layers, k in size.cases:
        found = by_seed(
            lambda seed, of=layers, k=k: negative_log_likelihood(images, tested, of, k, size, seed), seeds
        )  # fmt: skip
        rows.append(
            Row(f"{layers} layer{'s' * (layers > 1)}, K = {k}", PUBLISHED[layers, k], tuple(found), tuple(seeds), 2)
        )
    return Record(tuple(rows), settings=name)


def main() -> None:
    options = parser(__doc__, 1)
    options.add_argument("size", choices=list(SIZES), nargs="?", default="reduced")
    options.add_argument("--epochs", type=int, help="instead of those of the size")
    given = options.parse_args()
    size = SIZES[given.size]
    size = size if given.epochs is None else replace(size, epochs=given.epochs)
    data = mnist("train")[0], mnist("t10k")[0]
    script = "iwae" if given.size == "reduced" else f"iwae_{given.size}"
    finish(script, lambda: measure(given.seeds, *data, given.size, size), keep=given.keep)


if __name__ == "__main__":
    main()
