"""What dynamic binarization costs: steps with bits that are drawn anew beside steps with bits that are fixed.

python benchmarks/binarization.py

MNIST-sized pictures, the default network, batches of 128; fits of both kinds take turns, and the ratio is that of the
examples per second after the first look, compilation and looks left out.
"""

import numpy as np

import reparax as rx

RUNS = 4


def speed(images: np.ndarray, binarize: str) -> float:
    """The examples per second of the steps of one fit, median over its looks."""
    fitted = rx.fit(images, binarize=binarize, network="mlp", batch_size=128, epochs=8, patience=8, seed=0)
    return float(np.median([record.examples_per_second for record in fitted.history[1:]]))


def main() -> None:
    rng = np.random.default_rng(0)
    images = np.where(rng.random((6000, 28, 28, 1)) < 0.8, 0, rng.integers(0, 256, (6000, 28, 28, 1))).astype(np.uint8)
    ratios = []
    for _ in range(RUNS):
        fixed, drawn = speed(images, "threshold"), speed(images, "dynamic")
        ratios.append(fixed / drawn)
        print(f"fixed bits {fixed:,.0f} examples/s, drawn bits {drawn:,.0f}: {ratios[-1]:.3f} times the time")
    print(f"dynamic binarization: {np.median(ratios):.3f} times the step ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
