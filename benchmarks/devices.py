"""Two processes with a core each beside one process with one core: seconds of a step of a convolutional VAE.

python benchmarks/devices.py

Both train the same model on the same batches; the two processes divide each batch and sum their gradients, over the
network interface of the machine itself. Each process is a fit of its own on a core that is given to it. The time of a
step is that between the first look at the held-out data and the last one, looks included, compilation not. Ratios are
of runs that follow each other. Other work on the machine makes them smaller, as each process waits for the other; the
ratio of the times for which a core was busy is about what they would be on a machine without any.
"""

import json
import os
import socket
import subprocess
import sys
from statistics import median

REPEATS = 3
SIZES = {"28x28x1": (28, 28, 1), "32x32x3": (32, 32, 3)}
BATCHES = (128,)
JOB = """
import json, os, sys, time
shape, batch, number, count, port = json.loads(sys.argv[1])
os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[number]])
import jax
if count > 1:
    jax.distributed.initialize(f"localhost:{port}", count, number, cluster_detection_method="deactivate")
import numpy as np
import reparax as rx
marks = []
rng = np.random.default_rng(0)
codes, pattern = rng.normal(size=(11 * batch, 4)), rng.normal(size=(4, np.prod(shape)))
images = (255 / (1 + np.exp(-codes @ pattern))).astype(np.uint8).reshape(-1, *shape)
fitted = rx.fit(images, network="convolutional", likelihood="continuous-bernoulli", batch_size=batch, epochs=20,
                valid=0.09, patience=100, warmup_epochs=0,
                progress=lambda record: marks.append((time.perf_counter(), time.process_time(), record.step)))
wall, busy, steps = np.subtract(marks[-1], marks[0]).tolist()
print(json.dumps([wall / steps, busy / steps, fitted.history[-1].valid["bound"]]))
"""


def trained(shape: tuple[int, ...], batch: int, count: int) -> tuple[float, float, float]:
    """Of a step in so many processes: its seconds, and those for which a core was busy; and the last held-out bound."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", JOB, json.dumps([shape, batch, number, count, port])],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for number in range(count)
    ]  # fmt: skip
    wall, busy, bound = zip(*(json.loads(each.communicate()[0].splitlines()[-1]) for each in processes), strict=True)
    return max(wall), max(busy), bound[0]


def main() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        print("devices: not run, as there is one core")
        return
    for name, shape in SIZES.items():
        for batch in BATCHES:
            pairs = [(trained(shape, batch, 1), trained(shape, batch, 2)) for _ in range(REPEATS)]
            one, two = (median(pair[place][0] for pair in pairs) for place in (0, 1))
            wall, busy = (sorted(alone[of] / both[of] for alone, both in pairs) for of in (0, 1))
            apart = max(abs(alone[2] - both[2]) for alone, both in pairs)
            print(
                f"{name} batch {batch:4}: one process {one * 1e3:.0f} ms a step, two {two * 1e3:.0f} ms; ratio "
                f"{median(wall):.2f} ({wall[0]:.2f} to {wall[-1]:.2f}), of busy cores {median(busy):.2f} "
                f"({busy[0]:.2f} to {busy[-1]:.2f}); held-out bounds {apart:.2g} nats apart",
                flush=True,
            )


if __name__ == "__main__":
    main()
