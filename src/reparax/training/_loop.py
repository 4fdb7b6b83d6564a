"""The only loop: compiled calls of many steps, looks at fixed steps, saves and stops by time."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Array, PyTree

from reparax.training._program import Program
from reparax.training._record import Progress, Record, Status
from reparax.training._recover import MOST_SKIPPED, note_of, recovered
from reparax.training._schedule import Pace, Plan
from reparax.training._state import TrainState

Stop = Callable[[], bool]


class Saves(Protocol):
    """Where the state of training is saved."""

    def when_due(self, state: TrainState) -> None: ...

    def at_end(self, state: TrainState) -> None: ...


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and when it is over.

    Attributes:
        program: The steps.
        judging: The look at the held-out examples.
        data: The examples.
        held_out: The held-out examples, if there are any.
        plan: The batches and the looks.
        keys: For the order of the examples, the noise, and the noise of the looks.
        patience: Epochs without a better held-out bound after which training ends.
        warmup: Epochs whose held-out bounds do not count.
    """

    program: Program
    judging: Program
    data: PyTree[Array]
    held_out: PyTree[Array] | None
    plan: Plan
    keys: tuple[jax.Array, jax.Array, jax.Array]
    patience: int | None
    warmup: int

    def look(self, trainable: PyTree, step: int) -> dict[str, float]:
        """The mean terms over the held-out examples, by name, and the standard error of the bound if there is one."""
        size = self.plan.batch_size
        means, error = self.judging.evaluate(trainable, self.held_out, self.keys[2], step, size)
        return _floats(means) | ({"bound_standard_error": float(error)} if np.isfinite(error) else {})


def run(task: Task, state: TrainState, *, progress: Progress, stop: Stop, saves: Saves) -> TrainState:
    """Trains from a state to the end, or until it is interrupted."""
    pace, began = Pace(), time.perf_counter() - state.seconds

    def timed(state: TrainState) -> TrainState:
        return replace(state, seconds=time.perf_counter() - began)

    try:
        while state.status is None:
            if stop():
                raise KeyboardInterrupt
            state = timed(_steps(task, state, pace))
            if state.status is None and state.step == task.plan.next_look(state.look):
                state = _looked(task, state)
                progress(state.history[-1])
                state = replace(state, status=_end(task, state))
            saves.when_due(state)
    except KeyboardInterrupt:
        # An interrupt inside a compiled call may have lost what it was given.
        alive = not any(leaf.is_deleted() for leaf in jax.tree.leaves(state.carry))
        state = timed(state if alive else state.at_last_look())
        if state.step:
            with suppress(KeyboardInterrupt):
                saves.at_end(state)
        return replace(state, status="interrupted")
    saves.at_end(state)
    return state


def _steps(task: Task, state: TrainState, pace: Pace) -> TrainState:
    """The state after one compiled call, or the one from which to go on if a step was not finite."""
    end = task.plan.next_look(state.look)
    count = min(pace.steps, end - state.step)
    chunk = task.plan.chunk(task.keys[0], state.step, count)
    began = time.perf_counter()
    if state.is_careful:
        most = min(MOST_SKIPPED, end - state.look)
        carry, healthy = task.program.careful(state.carry, task.data, chunk, task.keys[1], rate=state.rate, most=most)
    else:
        carry, healthy = task.program.chunk(state.carry, task.data, chunk, task.keys[1])
    if not healthy:  # the one synchronization of a call
        return recovered(state, carry)
    pace.took(count, time.perf_counter() - began)
    return replace(state, carry=carry, step=state.step + count)


def _looked(task: Task, state: TrainState) -> TrainState:
    """The state after a look at the held-out examples: with its record, and the better model."""
    carry = state.carry
    held_out = {} if task.held_out is None else task.look(carry.trainable, state.look)
    skipped = int(carry.skipped)
    count = np.float32(state.step - state.look - skipped)
    means = {name: float(np.float32(total) / count) for name, total in _floats(carry.totals).items()}
    record = Record(state.step / task.plan.steps_per_epoch, state.step, means, held_out, state.seconds, skipped)
    after = carry.looked_at()
    return replace(
        state,
        carry=after,
        good=after.copied(),
        best=state.best.updated(record, after.trainable, task.warmup),
        look=state.step,
        history=(*state.history, record),
        trouble=note_of(carry) if skipped else state.trouble,
    )


def _end(task: Task, state: TrainState) -> Status | None:
    """How training ended at a look, if it did."""
    if task.patience is not None and state.history[-1].epoch - state.best.epoch >= task.patience:
        return "stopped early"
    return "all epochs done" if state.step == task.plan.steps else None


def _floats(terms: Any) -> dict[str, float]:
    """The terms by name, on the host."""
    return {name: float(getattr(terms, name)) for name in terms.__dataclass_fields__}
