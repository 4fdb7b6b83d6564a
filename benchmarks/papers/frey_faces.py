"""The bound during training on Frey faces, for several latent dimensions.

Kingma & Welling (2014), "Auto-encoding variational Bayes", section 5 and figure 2: the evidence lower bound on Frey
faces (1,965 images of 28 x 20 pixels) after 10^5 to 10^8 training samples, with 2, 5, 10 and 20 latent dimensions.
The paper shows curves, so the published column is empty; it says of them that superfluous latent dimensions did not
overfit.

Protocol: one hidden layer of 200 units, means and scales of the pixels from the decoder (`likelihood="normal"` with
`scale="decoder"`), batches of 100, one draw of z, a fifth of the images held out at random. Not the paper's: GELU
instead of tanh, means that are not squashed into (0, 1), Adam with the recipe's schedule and no weight decay instead
of Adagrad with one, and 10^7 samples instead of 10^8. Values are those of the images in (0, 1), and the density is
one of real numbers, although pixels have 230 levels: such a bound says nothing of a model of the levels. Bounds of
training images are means over the steps since the look before.

The images are not part of this repository: save them as one array of shape (1965, 28, 20) and type uint8. Many
copies, such as `freyfaces.pkl` of github.com/jmtomczak/vae_vampprior, are pickles: read those with an unpickler that
knows arrays alone.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from record import Record, Row, by_seed, finish, parser

import reparax as rx


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    dims: tuple[int, ...] = (2, 5, 10, 20)
    looks: tuple[int, ...] = (10**5, 10**6, 10**7)
    width: int = 200
    batch: int = 100


def bounds(images: np.ndarray, dim: int, size: Size, seed: int) -> np.ndarray:
    """The bounds of training and held-out images after so many training samples, shape (looks, 2), in nats."""
    num_trained = len(images) - round(0.2 * len(images))
    fitted = rx.fit(
        images, likelihood={"name": "normal", "scale": "decoder"}, latent_dim=dim, width=size.width, depth=1,
        batch_size=size.batch, epochs=round(size.looks[-1] / num_trained), patience=10**6, warmup_epochs=0, valid=0.2,
        seed=seed,
    )  # fmt: skip
    seen = np.array([record.epoch * num_trained for record in fitted.history])
    places = [int(np.argmin(np.abs(np.log(seen / look)))) for look in size.looks]
    return np.array([[fitted.history[at].train["bound"], fitted.history[at].valid["bound"]] for at in places])


def measure(seeds: Sequence[int], images: np.ndarray, size: Size = Size()) -> Record:
    rows = []
    for dim in size.dims:
        found = np.array(by_seed(partial(bounds, images, dim, size), seeds))
        rows += [
            Row(f"{dim} dimensions, {look:,} samples, {part}", "", tuple(found[:, at, of].tolist()), tuple(seeds), 0)
            for at, look in enumerate(size.looks)
            for of, part in enumerate(("training", "held out"))
        ]
    return Record(tuple(rows), best(rows, size))


def best(rows: Sequence[Row], size: Size) -> tuple[str, ...]:
    """After how many samples the mean held-out bound is highest."""
    means = {row.what: np.mean(row.values) for row in rows}
    lines = []
    for dim in size.dims:
        look = max(size.looks, key=lambda one, d=dim: means[f"{d} dimensions, {one:,} samples, held out"])
        lines.append(f"{dim} dimensions: the held-out bound is highest after {look:,} samples.")
    return tuple(lines)


def options() -> argparse.ArgumentParser:
    made = parser(__doc__, 1)
    made.add_argument("file", type=Path, help="an .npy file of the images")
    return made


def main() -> None:
    given = options().parse_args()
    images = np.load(given.file, allow_pickle=False)[..., None] / np.float32(255)
    finish("frey_faces", lambda: measure(given.seeds, images), keep=given.keep)


if __name__ == "__main__":
    main()
