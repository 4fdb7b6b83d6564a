"""Where the batches of a chunk come from: examples on the device, or examples that are read while others are used."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
from reparax.training._stack import Stacked

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
    """Examples that do not fit into memory, and are read in an order of each epoch.

    Models that are trained at once on equal ones (by ``==``), in one order, read them once.
    """

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def some(self) -> PyTree[np.ndarray]:
        """A few examples, with the structure of all."""

    @property
    def num_bytes(self) -> int:
        """The memory that an order of them takes while it is read, about."""
        return 0

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

    @property
    def num_bytes(self) -> int:
        """The memory that they take while models are trained on them, about."""
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

    @property
    def num_bytes(self) -> int:
        """The memory that they take."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.some))

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
        self._thread: ThreadPoolExecutor | None = None
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
    def num_bytes(self) -> int:
        """The memory of the windows on the device and on their way, and of what is read."""
        of_one = sum(leaf.nbytes for leaf in jax.tree.leaves(self.some)) // num_examples(self.some)
        return 3 * WINDOW_VALUES // max(1, self._of_one) * of_one + self._examples.num_bytes

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
                self._next = (following, self._submitted(plan, following, size))
        batches = jnp.arange(size * plan.batch_size).reshape(size, plan.batch_size)
        left = min(size - place, plan.steps_per_epoch - within)
        return self._window[1], Chunk(batches, place, min(count, left), step)

    def close(self) -> None:
        """Ends what is being read, and frees it; the next chunk opens the examples again."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread, self._opened, self._window, self._next = None, None, (-1, None), None

    def _submitted(self, plan: Plan, number: int, size: int) -> Future[Any]:
        """A window that the thread reads."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="reparax-reader")
        return self._thread.submit(self._read, plan, number, size)

    def _arrived(self, plan: Plan, number: int, size: int) -> PyTree[Array]:
        """The examples of a window: those that were read ahead, or newly read ones."""
        awaited, self._next = self._next, None
        if awaited is None or awaited[0] != number:
            awaited = number, self._submitted(plan, number, size)
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


class Abreast:
    """The batches of models that are trained as one, of equal numbers of examples; each has its own order.

    Args:
        feeds: The examples of each model; models with the same one share what is read.
        keys: The key of the order of each.
    """

    def __init__(self, feeds: Sequence[Feed], keys: Sequence[jax.Array]) -> None:
        self.some = Stacked.of([feed.some for feed in feeds])
        self._feeds, self._keys = tuple(feeds), tuple(keys)
        self._joined: tuple[list[PyTree[Array]], Stacked] = ([], self.some)

    def chunk(self, plan: Plan, step: int, count: int) -> tuple[Stacked, Chunk]:
        """The examples of all models, and the chunk of the next steps: its batches have one more axis, over models."""
        if all(isinstance(feed, Resident) for feed in self._feeds):
            return self.some, plan.chunk(jnp.stack(self._keys), step, count)
        of_feed = {feed: feed.chunk(plan, key, step, count) for feed, key in zip(self._feeds, self._keys, strict=True)}
        windows, chunks = zip(*(of_feed[feed] for feed in self._feeds), strict=True)
        batches = jnp.broadcast_to(chunks[0].batches, (len(chunks), *chunks[0].batches.shape))
        return self._of(list(windows)), chunks[0]._replace(batches=batches)

    def _of(self, windows: list[PyTree[Array]]) -> Stacked:
        """The windows as one, which is the same until one of them changes."""
        known = self._joined[0]
        if len(known) != len(windows) or any(new is not old for new, old in zip(windows, known, strict=True)):
            self._joined = ([], self.some)  # freed before the next is there
            self._joined = (windows, Stacked.same(windows[0]) if _is_one(windows) else Stacked.each(windows))
        return self._joined[1]


def _is_one(windows: Sequence[PyTree[Array]]) -> bool:
    return all(window is windows[0] for window in windows)


def _filled(leaf: np.ndarray, missing: int) -> np.ndarray:
    """An array of one shape for all windows, so that one program is compiled."""
    return np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)]) if missing else leaf
