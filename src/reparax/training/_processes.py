"""Several processes that train one model: what they must agree on, and what happens when one of them ends early."""

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import msgspec
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from reparax.errors import ProcessLost, RecipeError
from reparax.training._devices import Devices, whole

LOST = "Gloo", "NCCL", "UNAVAILABLE", "coordination"
"""Words in the errors of a step of which another process is no longer there."""


def largest(number: float, devices: Devices) -> float:
    """The largest of the numbers of all processes of a fit, each of which must ask."""
    if devices.num_processes == 1:
        return number
    return float(np.max(multihost_utils.process_allgather(np.float32(number))))


def digest(tree: PyTree) -> str:
    """What tells the arrays of a pytree from others."""
    checksum = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        checksum.update(np.ascontiguousarray(whole(data)).tobytes())
    return checksum.hexdigest()


def require_same(given: Mapping[str, Any], devices: Devices) -> None:
    """Refuses processes that were not given the same; their programs would wait for each other for ever.

    Args:
        given: What must be the same, by name, as plain values.
        devices: The devices of the fit.

    Raises:
        RecipeError: Something differs between the processes.
    """
    if devices.num_processes == 1:
        return
    digests = [hashlib.sha256(msgspec.json.encode(value)).digest()[:8] for value in given.values()]
    mine = np.frombuffer(b"".join(digests), np.uint32).reshape(len(digests), 2)
    all_of_them = np.asarray(multihost_utils.process_allgather(mine))
    others = [name for name, differs in zip(given, (all_of_them != all_of_them[0]).any((0, 2)), strict=True) if differs]
    if others:
        raise RecipeError(
            expected=f"the same {', '.join(others)} in all {devices.num_processes} processes of a fit",
            got="different ones",
            cure="give all of them the same data and options; for fits of their own, --num-processes 1",
        )


@contextmanager
def losses_told(devices: Devices) -> Generator[None]:
    """Turns the errors of steps that lack another process into a sentence.

    Raises:
        ProcessLost: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if devices.num_processes == 1 or not any(word in str(error) for word in LOST):
            raise
        raise lost() from error


def lost() -> ProcessLost:
    """Another process has ended."""
    return ProcessLost(
        expected="all processes of the fit to train to the end",
        got="one that was killed, or cannot be reached",
        cure="look at what it printed last; then start all of them again, with --resume to go on from the last "
        "checkpoint, on as many processes as you like",
    )
