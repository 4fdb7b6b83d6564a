"""Where the batches of a chunk come from: examples on the device, or examples that are read while others are used."""

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from reparax.training._devices import Devices
from reparax.training._examples import num_examples
from reparax.training._program import Chunk
from reparax.training._schedule import Plan

WINDOW_VALUES = 1 << 23
"""Values that are on the device at once, about; as many are being read."""
MOST_STEPS = 500
"""Steps of a window at most."""


class Opened(Protocol):
    """Examples in an order."""

    def read(self, epoch: int, start: int, stop: int) -> PyTree[np.ndarray]:
        """The examples from one place of an epoch to another."""
        ...


class Streamed(ABC):
    """Examples that do not fit into memory, and are read in an order of each epoch."""

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def some(self) -> PyTree[np.ndarray]:
        """A few examples, with the structure of all."""

    @abstractmethod
    def opened(self, seed: tuple[int, ...]) -> Opened:
        """The examples in an order that depends on the seed and the epoch alone."""


class Feed(Protocol):
    """The batches of all steps."""

    @property
    def some(self) -> PyTree[Array]:
        """Examples with the structure of all."""
        ...

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        ...

    @property
    def num_values(self) -> int:
        """How many numbers all examples have."""
        ...

    def chunk(self, plan: Plan, key: jax.Array, step: int, count: int) -> tuple[PyTree[Array], Chunk]:
        """Examples, and the chunk of the next steps among them: ``count`` steps, or fewer."""
        ...

    def close(self) -> None:
        """Ends what is being read."""
        ...


class Resident:
    """Examples on the device.

    Args:
        data: The examples.
    """

    def __init__(self, data: PyTree[Array]) -> None:
        self.some = data

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return num_examples(self.some)

    @property
    def num_values(self) -> int:
        """How many numbers all examples have."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.some))

    def chunk(self, plan: Plan, key: jax.Array, step: int, count: int) -> tuple[PyTree[Array], Chunk]:
        """All examples, and the indices of the batches."""
        return self.some, plan.chunk(key, step, count)

    def close(self) -> None:
        """Nothing is being read."""


class Ahead:
    """Examples that are read by a thread while the device uses those before them.

    The steps of an epoch are divided into windows, whose batches are on the device at once. They follow from the step
    alone, so that training can begin at any of them.

    Args:
        examples: The examples.
        devices: The devices.
    """

    def __init__(self, examples: Streamed, devices: Devices) -> None:
        self._examples = examples
        self._put = devices.put
        self.some: PyTree[Array] = jax.tree.map(self._put, examples.some())
        self._opened: Opened | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reparax-reader")
        self._window: tuple[int, PyTree[Array]] = (-1, None)
        self._next: tuple[int, Future[Any]] | None = None

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return self._examples.num_examples

    @property
    def num_values(self) -> int:
        """How many numbers all examples have."""
        return self._examples.num_examples * self._of_one

    @property
    def _of_one(self) -> int:
        leaves = jax.tree.leaves(self.some)
        return sum(leaf.size for leaf in leaves) // num_examples(self.some)

    def chunk(self, plan: Plan, key: jax.Array, step: int, count: int) -> tuple[PyTree[Array], Chunk]:
        """The examples of a window, and the batches of steps in it."""
        size = max(1, min(MOST_STEPS, WINDOW_VALUES // (plan.batch_size * self._of_one), plan.steps_per_epoch))
        per_epoch = -(-plan.steps_per_epoch // size)
        if self._opened is None:
            self._opened = self._examples.opened(tuple(np.ravel(jax.random.key_data(key)).tolist()))
        epoch, within = divmod(step, plan.steps_per_epoch)
        number, place = epoch * per_epoch + within // size, within % size
        if self._window[0] != number:
            self._window = (-1, None)  # freed before the next is there
            self._window = (number, self._arrived(plan, number, size))
        if self._next is None or self._next[0] <= number:
            following = number + 1
            if following < plan.epochs * per_epoch:
                self._next = (following, self._thread.submit(self._read, plan, following, size))
        batches = jnp.arange(size * plan.batch_size).reshape(size, plan.batch_size)
        left = min(size - place, plan.steps_per_epoch - within)
        return self._window[1], Chunk(batches, place, min(count, left), step)

    def close(self) -> None:
        """Ends what is being read."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _arrived(self, plan: Plan, number: int, size: int) -> PyTree[Array]:
        """The examples of a window: those that were read ahead, or newly read ones."""
        awaited, self._next = self._next, None
        if awaited is None or awaited[0] != number:
            awaited = number, self._thread.submit(self._read, plan, number, size)
        return jax.tree.map(self._put, awaited[1].result())

    def _read(self, plan: Plan, number: int, size: int) -> PyTree[np.ndarray]:
        """The examples of a window, with zeros after those of the last steps of an epoch."""
        assert self._opened is not None
        per_epoch = -(-plan.steps_per_epoch // size)
        epoch, window = divmod(number, per_epoch)
        first, last = window * size, min((window + 1) * size, plan.steps_per_epoch)
        rows = self._opened.read(epoch, first * plan.batch_size, last * plan.batch_size)
        missing = (size - (last - first)) * plan.batch_size
        return jax.tree.map(lambda leaf: _filled(leaf, missing), rows)


def _filled(leaf: np.ndarray, missing: int) -> np.ndarray:
    """An array of one shape for all windows, so that one program is compiled."""
    return np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)]) if missing else leaf
