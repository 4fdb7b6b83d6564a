"""A ladder of five layers of latent variables on MNIST, beside one layer and a bottom-up posterior.

Sønderby, Raiko, Maaløe, Sønderby & Winther (2016), "Ladder variational autoencoders": with five layers, a posterior
that corrects the prior layer by layer has a higher log-likelihood than a bottom-up one, and uses its upper layers.

Protocol of `published`: 60,000 training images, bits drawn anew in each step, 2000 epochs in batches of 256 with 200
epochs of warm-up, layers of 64, 32, 16, 8 and 4 dimensions, the log-likelihood of the test images by 5000 samples. Not
the paper's: two hidden layers of 512 units before the first layer of latent variables and 64 units between the others,
GELU and no batch normalization. `reduced` is for a trial on two cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from record import Record, Row, by_seed, finish, mnist, parser

import reparax as rx

LAYERS, DIMENSIONS, RATIO = 5, 124, 0.5


@dataclass(frozen=True)
class Size:
    """How much is trained and evaluated."""

    train: int
    epochs: int
    warmup_epochs: int
    batch_size: int
    tested: int
    samples: int


SIZES = {"reduced": Size(10_000, 20, 5, 100, 1_000, 500), "published": Size(60_000, 2000, 200, 256, 10_000, 5000)}
POSTERIORS: dict[str, dict[str, Any]] = {
    "one layer": {"latent_dim": 64},
    **{
        f"five layers, {name}": {
            "posterior": {"name": name, "num_layers": LAYERS, "ratio": RATIO}, "latent_dim": DIMENSIONS
        }
        for name in ("bottom-up", "ladder")
    },
}  # fmt: skip


def log_likelihood(images: np.ndarray, tested: np.ndarray, chosen: dict[str, Any], size: Size, seed: int) -> float:
    """Of the test images, in nats."""
    fitted = rx.fit(
        images[: size.train], width=512, depth=2, binarize="dynamic", epochs=size.epochs, learning_rate=1e-3,
        batch_size=size.batch_size, warmup_epochs=size.warmup_epochs, patience=size.epochs, seed=seed, **chosen,
    )  # fmt: skip
    found = rx.evaluate(fitted, tested[: size.tested], num_samples=size.samples)
    assert found.iwae is not None
    return found.iwae


def measure(seeds: Sequence[int], images: np.ndarray, tested: np.ndarray, name: str, size: Size) -> Record:
    rows = []
    for what, chosen in POSTERIORS.items():
        found = by_seed(lambda seed, of=chosen: log_likelihood(images, tested, of, size, seed), seeds)
        rows.append(Row(what, "", tuple(found), tuple(seeds), 2))
    return Record(tuple(rows), settings=name)


def main() -> None:
    options = parser(__doc__, 1)
    options.add_argument("size", choices=list(SIZES), nargs="?", default="reduced")
    options.add_argument("--epochs", type=int, help="instead of those of the size")
    given = options.parse_args()
    size = SIZES[given.size]
    if given.epochs is not None:
        size = replace(size, epochs=given.epochs, warmup_epochs=min(size.warmup_epochs, given.epochs // 4))
    data = mnist("train")[0], mnist("t10k")[0]
    script = "ladder" if given.size == "reduced" else f"ladder_{given.size}"
    finish(script, lambda: measure(given.seeds, *data, given.size, size), keep=given.keep)


if __name__ == "__main__":
    main()
