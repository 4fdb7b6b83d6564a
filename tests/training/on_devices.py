"""Small fits on some devices of a CPU, or in one of two processes; `test_devices.py` compares what it prints.

The arguments are ``quick``, or ``full FOLDER``, or ``process NUMBER PORT DEVICES FOLDER``.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from reparax.errors import RecipeError
from reparax.pytrees import BATCH
from reparax.training import Checkpoints, Devices, Private, Run, Streamed, _devices, fit, fit_many
from reparax.training._program import _CHUNK
from reparax.training._schedule import Pace
from reparax.training._state import TrainState

IN_PROCESS = sys.argv[1] == "process"
jax.config.update("jax_num_cpu_devices", int(sys.argv[4]) if IN_PROCESS else 3)

BATCH_SIZE, FEATURES, HIDDEN = 32, 7, 5
DATA = np.random.default_rng(0).normal(1.0, 1.0, (101, FEATURES)).astype(np.float32)


def model(hidden=HIDDEN):
    a, b = jax.random.split(jax.random.key(0))
    return {"a": jax.random.normal(a, (hidden, FEATURES)), "b": jax.random.normal(b, (FEATURES, hidden))}


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


def reconstruction(model, x, *, key, step):
    noisy = x + 0.1 * jax.random.normal(key, x.shape)
    value = -jnp.sum((model["b"] @ jnp.tanh(model["a"] @ noisy) - x) ** 2)
    return Terms(value, value)


def centered(model, x, *, key, step):
    """Sees its batch: the mean and the largest code of all its examples matter."""
    code = jnp.tanh(model["a"] @ x)
    of_batch = jnp.sum(jax.lax.pmean(code, BATCH) ** 2 + jax.lax.all_gather(code, BATCH).max(0))
    value = -jnp.sum((model["b"] @ code - x) ** 2) - of_batch
    return Terms(value, value)


def at_times_infinite(model, x, *, key, step):
    terms = reconstruction(model, x, key=key, step=step)
    return Terms(jnp.where(step == 4, jnp.nan, terms.objective), terms.bound)


class Blocks(Streamed):
    """The examples as if they were read in blocks, each epoch in the same order."""

    num_examples = len(DATA)

    def some(self):
        return DATA[:10]

    def opened(self, seed):
        return self

    def read(self, epoch, start, stop):
        return DATA[start:stop]


SETTINGS = {
    "plain": {},
    "a remainder": {"batch_size": 20},
    "an odd batch": {"batch_size": 21},
    "fewer examples than devices": {"batch_size": 2},
    "a batch that is seen": {"objective": centered},
    "a step that is not finite": {"objective": at_times_infinite},
    "private": {"private": Private(1.0, 0.5, BATCH_SIZE, len(DATA), 64)},
    "read in blocks": {"data": Blocks()},
}


def settings(**changed):
    return {
        "objective": reconstruction, "data": DATA, "key": jax.random.key(2), "optimizer": optax.sgd(0.003), "epochs": 3,
        "batch_size": BATCH_SIZE, "valid": DATA[:40] * 0.9, **changed,
    }  # fmt: skip


def trained(devices, **changed):
    return fit(model(), **settings(**changed), devices=devices if isinstance(devices, Devices) else Devices.of(devices))


def in_parts(devices, folder, hidden=12):
    """A fit whose weights are divided among devices: what it gives, what each device keeps, and both gone on with."""
    _devices.LARGE, kept = 64, _devices.LARGE
    devices = devices if isinstance(devices, Devices) else Devices.of(devices)
    common = settings(optimizer=optax.adam(0.003), devices=devices, epochs=20)
    task = Run(model(hidden), **common).task()
    state = TrainState.first(task.program.start(model(hidden), task.data, task.plan.batch_size))
    shapes = [leaf.addressable_shards[0].data.shape for leaf in jax.tree.leaves(state.carry)]
    for _ in range(2):
        state = task.steps(state, Pace())
    after = [leaf.addressable_shards[0].data.shape for leaf in jax.tree.leaves(state.carry)]
    whole = fit(model(hidden), **common)
    calls = iter([False, True])
    places = Checkpoints(folder / f"{devices.count} parts", seconds=0.0)
    first = fit(model(hidden), **common, stop=lambda: next(calls), checkpoints=places)
    again = fit(model(hidden), **common, checkpoints=Checkpoints(places.folder, seconds=0.0, resume=True))
    runs = [Run(model(hidden), **common), Run(model(hidden), **common | {"key": jax.random.key(5)})]
    members = [] if IN_PROCESS else fit_many(runs)[:1]  # many models are of one process
    _devices.LARGE = kept
    found = [numbers(result) for result in (whole, again, *members)]
    return {"shapes": shapes, "after": after, "status": first.status, "numbers": found}


def numbers(result):
    """The weights and the last held-out bound."""
    return [np.ravel(leaf).tolist() for leaf in jax.tree.leaves(result.model)], result.history[-1].valid["bound"]


def together(devices):
    runs = [Run(model(), **settings(key=jax.random.key(seed)), devices=Devices.of(devices)) for seed in (2, 3)]
    return numbers(fit_many(runs)[0])


def resumed(folder, before, after):
    """A fit that is stopped after its first steps on some devices, and goes on on others."""
    places = Checkpoints(folder / f"{before} {after}", seconds=0.0)
    calls = iter([False, False, True])
    longer = {"epochs": 60, "checkpoints": places}
    first = trained(before, stop=lambda: next(calls), **longer)
    rest = trained(after, **longer | {"checkpoints": Checkpoints(places.folder, seconds=0.0, resume=True)})
    return first.status, numbers(rest)


def shapes_in_program(devices):
    """The shapes of all arrays of the program that each device runs."""
    task = Run(model(), **settings(), devices=Devices.of(devices)).task()
    state = TrainState.first(task.program.start(model(), task.data, task.plan.batch_size))
    data, chunk = task.feed.chunk(task.plan, task.keys[0], 0, 3)
    arguments = (task.program, data, jax.tree.map(jnp.asarray, chunk), task.keys[1]), state.carry
    return _CHUNK["little"].lower(*arguments).compile().compiled.as_text()


def refused(devices):
    try:
        Devices.of(devices)
    except RecipeError as error:
        return str(error)


def quick():
    equal = {name: [numbers(trained(n, **SETTINGS[name])) for n in (1, 3)] for name in ("a batch that is seen",)}
    with TemporaryDirectory() as folder:
        parts = [in_parts(n, Path(folder)) for n in (1, 3)]
    return {"equal": equal, "program": shapes_in_program(2), "refused": [refused(n) for n in (0, 4)], "parts": parts}


def full(folder):
    folder = Path(folder)
    equal = {name: [numbers(trained(n, **changed)) for n in (1, 2, 3)] for name, changed in SETTINGS.items()}
    return {
        "equal": equal | {"many at once": [together(n) for n in (1, 3)]},
        "resumed": [resumed(folder, *pair) for pair in ((1, 1), (1, 2), (3, 1), (2, 2))],
    }


def process(number, port, devices, folder):
    jax.distributed.initialize(f"localhost:{port}", 2, int(number), cluster_detection_method="deactivate")
    names = ("plain", "an odd batch", "a batch that is seen", "a step that is not finite", "read in blocks")
    found = {
        "in processes": {name: numbers(trained(None, **SETTINGS[name])) for name in names},
        "program": shapes_in_program(None),
        "devices": [jax.local_device_count(), Devices.of().count],
        "parts": in_parts(None, Path(folder)),
    }
    jax.distributed.shutdown()
    if number != "0":
        return found
    alone = {name: [numbers(trained(Devices(), **SETTINGS[name]))] for name in names}
    return found | {"equal": alone, "whole": in_parts(Devices(), Path(folder))}


MODES = {"quick": quick, "full": full, "process": process}

if __name__ == "__main__":
    found = MODES[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(found | {"start": numbers(fit(model(), **settings(epochs=1, optimizer=optax.sgd(0.0))))[0]}))
