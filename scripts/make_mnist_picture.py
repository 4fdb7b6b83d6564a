"""Writes docs/images/mnist.png: held-out digits, their reconstructions, and digits drawn from a fitted model.

python scripts/make_mnist_picture.py MODEL t10k-images-idx3-ubyte.gz
"""

import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import reparax as rx
from reparax.data import grid

COLUMNS, ROWS = 20, 3
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "mnist.png"


def main(model: str, data: str) -> None:
    """Draws the three bands and saves them."""
    fitted = rx.load(model)
    held_out = rx.read(data)
    chosen = held_out.take(np.arange(COLUMNS * ROWS))
    originals = chosen.values.astype(np.float32) / 255
    reconstructions = rx.reconstruct(fitted, chosen)
    drawn = rx.sample_means(fitted, COLUMNS * ROWS, key=jax.random.key(0))
    bands = [grid(images, low=0, high=1, columns=COLUMNS) for images in (originals, reconstructions, drawn)]
    gap = np.full((12, *bands[0].shape[1:]), 255, np.uint8)
    picture = np.concatenate([bands[0], gap, bands[1], gap, bands[2]])
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.squeeze()).save(PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
