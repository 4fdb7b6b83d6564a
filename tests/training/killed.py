"""Trains small models, slowly and with a checkpoint after every few steps; for `test_kills.py`, which kills it.

The process imports everything once, and forks for each run that it is asked for, before anything runs in it.
"""

import hashlib
import os
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from reparax.pytrees import Frozen
from reparax.training import Checkpoints, FitResult, Run, _checkpoints, _schedule, fit, fit_many


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


def squares(model: dict, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    value = -jnp.sum((model["w"] - x - 0.1 * jax.random.normal(key, x.shape)) ** 2)
    # Some steps are not finite, so that the states of recovery are saved and resumed too; of several models those of
    # the first one, which goes on alone.
    return Terms(jnp.where((step % 83 == 50) & model["trouble"].value, jnp.nan, value), value)


def say(line: str) -> None:
    """Writes a line at once, so that a killed process leaves no half of one."""
    os.write(1, f"{line}\n".encode())


def train(folder: str, resume: bool, pause: float, count: int) -> None:
    _schedule.FIRST_PIECE, _schedule.FASTEST_GROWTH, _checkpoints.LEAST_RATIO = 23, 1, 0
    data = np.random.default_rng(0).normal(1.0, 1.0, (40, 200)).astype(np.float32)

    def stop() -> bool:
        say("going")
        time.sleep(pause)
        return False

    checkpoints = Checkpoints(folder, seconds=0.0, resume=resume)
    runs = [
        Run(
            {"w": jnp.zeros(200), "trouble": Frozen(jnp.asarray(number == 0))}, squares, data, jax.random.key(number),
            optax.adam(0.02), 120, 8, valid=data[:9] - 0.7,
        )
        for number in range(count)
    ]  # fmt: skip
    if count == 1:
        results = [fit(**vars(runs[0]), stop=stop, checkpoints=checkpoints)]
    else:
        results = fit_many(runs, stop=stop, checkpoints=checkpoints)
    bits = b""
    for result in results:
        assert isinstance(result, FitResult)
        history = repr([(record.step, record.train, record.valid, record.skipped) for record in result.history])
        bits += np.asarray(result.model["w"]).tobytes() + history.encode()
        bits += f"{result.status} {result.best_step}".encode()
    say(f"done {hashlib.sha256(bits).hexdigest()}")


def serve() -> None:
    """Runs what a line of the input asks for, ``FOLDER RESUME PAUSE COUNT``, in a child, and says when it has ended."""
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for line in sys.stdin:
        folder, resume, pause, count = line.split()
        child = os.fork()
        if child == 0:
            train(folder, resume == "resume", float(pause), int(count))
            os._exit(0)
        say(f"child {child}")
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        say("ended")
        # Until it has been collected, nobody else gets its number, and a late signal hits nobody.
        sys.stdin.readline()
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve()
