"""Fits to a file that is read in blocks, with frequent checkpoints; for `test_streams.py`, which kills it."""

import hashlib
import sys

import jax
import numpy as np

import reparax as rx
from reparax.data.sources import describe, npy, stream
from reparax.training import _checkpoints, _feed, _schedule


def main(path: str, folder: str) -> None:
    stream.SAMPLE_ROWS, stream.FEWEST_SAMPLED, describe.MOST_LEVELS, describe.FEWEST_LEVELS = 900, 500, 500, 100
    stream.BUFFER_VALUES, npy.BLOCK_BYTES, _feed.MOST_STEPS = 1500, 4096, 13
    _schedule.FIRST_PIECE, _schedule.FASTEST_GROWTH, _checkpoints.LEAST_RATIO = 7, 1, 0
    fitted = rx.fit(
        path, memory=1, width=8, depth=1, latent_dim=2, epochs=25, batch_size=16, prior="standard-normal",
        likelihood="normal", relations="none", checkpoints=folder, checkpoint_seconds=0.0, resume=True,
    )  # fmt: skip
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fitted.model) if hasattr(leaf, "dtype")]
    history = repr([(each.step, each.train, each.valid) for each in fitted.history])
    print(hashlib.sha256(b"".join(leaves) + history.encode()).hexdigest(), fitted.status)


if __name__ == "__main__":
    main(*sys.argv[1:])
