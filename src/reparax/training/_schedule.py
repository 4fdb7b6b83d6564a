"""When training does what: the batch of each step and the looks at held-out examples by step, the rest by time."""

import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from reparax.compiler import compiled, effort_for
from reparax.training._private import Poisson
from reparax.training._program import Chunk

MOST_BETWEEN_LOOKS = 500
FEWEST_BETWEEN_LOOKS = 100

FIRST_PIECE = 20
SECONDS = 0.5
"""How long the steps of one compiled call are to take, so that it can be stopped and saved in between."""
FASTEST_GROWTH = 10


class Plan:
    """The batches of all steps, and the steps after which the held-out examples are looked at.

    Both follow from the numbers of examples, epochs and examples per batch, and never from the clock: the looks choose
    the best model and the end of training, which must be the same in every run. Batches are shuffled examples, unless
    a sampling of its own is given.
    """

    def __init__(self, num_examples: int, batch_size: int, epochs: int, sampling: Poisson | None = None) -> None:
        self.batch_size = min(batch_size, num_examples)
        steps = num_examples // self.batch_size
        self.steps_per_epoch = steps
        self.num_examples = num_examples
        self.epochs = epochs
        self.sampling = sampling
        self._epochs_per_group = min(epochs, max(1, FEWEST_BETWEEN_LOOKS // steps))
        self._between_looks = math.ceil(steps / math.ceil(steps / MOST_BETWEEN_LOOKS)) * self._epochs_per_group
        self._group, self._batches = -1, None

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.epochs * self.steps_per_epoch

    @property
    def num_looks(self) -> int:
        """About how often the held-out examples are looked at, if training does not end early."""
        return math.ceil(self.steps / self._between_looks)

    def next_look(self, step: int) -> int:
        """The number of steps at the first look after a step."""
        group_steps = self._epochs_per_group * self.steps_per_epoch
        begin = step // group_steps * group_steps
        looked = begin + ((step - begin) // self._between_looks + 1) * self._between_looks
        return min(looked, begin + group_steps, self.steps)

    def chunk(self, key: jax.Array, step: int, count: int) -> Chunk:
        """Some steps from a step on, not beyond the next look.

        Args:
            key: The key of the order of the examples; of several keys, the batches have one more axis, over these.
            step: The step.
            count: The number of steps.
        """
        group = step // (self._epochs_per_group * self.steps_per_epoch)
        if group != self._group or self._batches is None:
            self._group, self._batches = group, self._order(key, group * self._epochs_per_group)
        return Chunk(self._batches, step - group * self._epochs_per_group * self.steps_per_epoch, count, step)

    def _order(self, key: jax.Array, first: int) -> Array:
        """Batches of the epochs of a group from ``first`` on, even if not all of them are run."""
        if self.sampling is not None:
            begin, end = (epoch * self.steps_per_epoch for epoch in (first, first + self._epochs_per_group))
            return self.sampling.batches(key, jnp.arange(begin, end))
        epochs = jnp.arange(first, first + self._epochs_per_group)
        used = self.steps_per_epoch * self.batch_size
        effort = effort_for(self._epochs_per_group * self.num_examples)
        order = _SHUFFLED[effort](key, epochs, self.num_examples)[..., :used]
        return order.reshape(*key.shape, -1, self.batch_size)


def _shuffled(key: jax.Array, epochs: Array, num_examples: int) -> Array:
    """An order of the examples for each epoch; compiled once for all chunks, because sorting compiles slowly."""

    def one(key: jax.Array) -> Array:
        return jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), num_examples))(epochs)

    return one(key) if key.ndim == 0 else jax.vmap(one)(key)


_SHUFFLED = compiled(_shuffled)


class Pace:
    """How many steps one compiled call takes: as many as fit into `SECONDS`; it changes no result.

    The first call is compiled, so that its time says nothing on the steps.

    Args:
        agreed: Makes of the seconds of a call the number that all processes of a fit use.
    """

    def __init__(self, agreed: Callable[[float], float] = float) -> None:
        self.steps = FIRST_PIECE
        self._agreed = agreed
        self._calls = 0
        self._taken, self._busy, self._looked = 0, 0.0, time.perf_counter()

    def took(self, steps: int, seconds: float) -> None:
        """Learns from a call of some steps."""
        self._calls += 1
        self._taken, self._busy = self._taken + steps, self._busy + seconds
        if self._calls > 1:
            fitting = steps * SECONDS / max(self._agreed(seconds), 1e-9)
            self.steps = max(1, min(int(fitting), FASTEST_GROWTH * self.steps))

    def since_look(self) -> tuple[float, float]:
        """The steps per second since the last time this was asked, and the share of the time outside of them."""
        now = time.perf_counter()
        speed, busy = self._taken / max(self._busy, 1e-9), self._busy / max(now - self._looked, 1e-9)
        self._taken, self._busy, self._looked = 0, 0.0, now
        return speed, max(0.0, 1.0 - busy)
