"""Trains a small model, slowly and with a checkpoint after every few steps; for `test_kills.py`, which kills it.

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

from reparax.training import Checkpoints, _checkpoints, _schedule, fit


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


def squares(model: jax.Array, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    value = -jnp.sum((model - x - 0.1 * jax.random.normal(key, x.shape)) ** 2)
    # Some steps are not finite, so that the states of recovery are saved and resumed too.
    return Terms(jnp.where(step % 83 == 50, jnp.nan, value), value)


def say(line: str) -> None:
    """Writes a line at once, so that a killed process leaves no half of one."""
    os.write(1, f"{line}\n".encode())


def train(folder: str, resume: bool, pause: float) -> None:
    _schedule.FIRST_PIECE, _schedule.FASTEST_GROWTH, _checkpoints.LEAST_RATIO = 23, 1, 0
    data = np.random.default_rng(0).normal(1.0, 1.0, (40, 200)).astype(np.float32)

    def stop() -> bool:
        say("going")
        time.sleep(pause)
        return False

    result = fit(
        jnp.zeros(200), squares, data, key=jax.random.key(0), optimizer=optax.adam(0.02), epochs=120, batch_size=8,
        valid=data[:9] - 0.7, stop=stop, checkpoints=Checkpoints(folder, seconds=0.0, resume=resume),
    )  # fmt: skip
    history = repr([(record.step, record.train, record.valid, record.skipped) for record in result.history])
    bits = np.asarray(result.model).tobytes() + history.encode() + f"{result.status} {result.best_step}".encode()
    say(f"done {hashlib.sha256(bits).hexdigest()}")


def serve() -> None:
    """Runs what each line of the input asks for, ``FOLDER RESUME PAUSE``, in a child, and says when it has ended."""
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for line in sys.stdin:
        folder, resume, pause = line.split()
        child = os.fork()
        if child == 0:
            train(folder, resume == "resume", float(pause))
            os._exit(0)
        say(f"child {child}")
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        say("ended")
        # Until it has been collected, nobody else gets its number, and a late signal hits nobody.
        sys.stdin.readline()
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve()
