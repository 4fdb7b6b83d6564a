"""The only loop: compiled calls of many steps, looks at fixed steps, saves and stops by time."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

import jax
import numpy as np
from jaxtyping import Array, PyTree

from reparax.pytrees import partition
from reparax.training._devices import Devices
from reparax.training._feed import Feed
from reparax.training._optimizer import learning_rate_at
from reparax.training._processes import largest, losses_told
from reparax.training._program import Carry, Norms, Program
from reparax.training._record import Progress, Record, Status
from reparax.training._recover import MOST_SKIPPED, note_of, recovered
from reparax.training._schedule import Pace, Plan
from reparax.training._state import TrainState

Stop = Callable[[], bool]


class State(Protocol):
    """The state of training of one model, or of many at once: a dataclass with at least these fields."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def carry(self) -> Carry: ...

    @property
    def step(self) -> int: ...

    @property
    def look(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def status(self) -> Status | None: ...

    @property
    def history(self) -> tuple[Record, ...]: ...

    @property
    def rate(self) -> float: ...

    def at_last_look(self) -> Self: ...


Kind = TypeVar("Kind", bound=State)
KindIn = TypeVar("KindIn", bound=State, contravariant=True)
KindOf = TypeVar("KindOf", bound=State)


class Saves(Protocol[KindIn]):
    """Where the state of training is saved."""

    def when_due(self, state: KindIn) -> None: ...

    def at_end(self, state: KindIn) -> None: ...


class Trainee(Protocol[KindOf]):
    """What the loop trains: one model, or many at once."""

    @property
    def plan(self) -> Plan: ...

    @property
    def devices(self) -> Devices: ...

    def steps(self, state: KindOf, pace: Pace) -> KindOf:
        """The state after one compiled call, or the one from which to go on if a step was not finite."""
        ...

    def looked(self, state: KindOf, pace: Pace) -> KindOf:
        """The state after a look at the held-out examples: with its record, the better model, and how it ended."""
        ...


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and when it is over.

    Attributes:
        program: The steps.
        judging: The look at the held-out examples.
        feed: The examples.
        held_out: The held-out examples, if there are any.
        plan: The batches and the looks.
        keys: For the order of the examples, the noise, and the noise of the looks.
        patience: Epochs without a better held-out bound after which training ends.
        warmup: Epochs whose held-out bounds do not count.
    """

    program: Program
    judging: Program
    feed: Feed
    held_out: PyTree[Array] | None
    plan: Plan
    keys: tuple[jax.Array, jax.Array, jax.Array]
    patience: int | None
    warmup: int

    @property
    def devices(self) -> Devices:
        """Where it is trained."""
        return self.program.devices

    @property
    def data(self) -> PyTree[Array]:
        """Examples with the structure of all; all of them where they are on the device."""
        return self.feed.some

    def look(self, trainable: PyTree, step: int) -> dict[str, float]:
        """The mean terms over the held-out examples, by name, and the standard error of the bound if there is one."""
        size = self.plan.batch_size
        return held_out_terms(*self.judging.evaluate(trainable, self.held_out, self.keys[2], step, size))

    def look_of(self, model: PyTree, step: int) -> dict[str, float]:
        """The same of a model."""
        return self.look(self.devices.copied(partition(model)[0]), step)

    def steps(self, state: TrainState, pace: Pace) -> TrainState:
        """The state after one compiled call, or the one from which to go on if a step was not finite."""
        end = self.plan.next_look(state.look)
        data, chunk = self.feed.chunk(self.plan, self.keys[0], state.step, min(pace.steps, end - state.step))
        began = time.perf_counter()
        if state.is_careful:
            most = min(MOST_SKIPPED, end - state.look)
            carry, healthy = self.program.careful(state.carry, data, chunk, self.keys[1], rate=state.rate, most=most)
        else:
            carry, healthy = self.program.chunk(state.carry, data, chunk, self.keys[1])
        if not healthy:  # the one synchronization of a call
            return recovered(state, carry)
        pace.took(chunk.count, time.perf_counter() - began)
        return replace(state, carry=carry, step=state.step + chunk.count)

    def looked(self, state: TrainState, pace: Pace) -> TrainState:
        """The state after a look at the held-out examples: with its record, the better model, and how it ended."""
        carry = state.carry
        held_out = {} if self.held_out is None else self.look(carry.trainable, state.look)
        sums = Sums.of(carry.totals, carry.norms)
        record = self.record(state, sums, int(carry.skipped), held_out, pace.since_look())
        after = carry.looked_at()
        state = replace(
            state,
            carry=after,
            good=after.copied(),
            best=state.best.updated(record, after.trainable, self.warmup),
            look=state.step,
            history=(*state.history, record),
            trouble=note_of(carry) if record.skipped else state.trouble,
        )
        return replace(state, status=self.end(record, state.best.epoch))

    def record(
        self, state: State, sums: "Sums", skipped: int, held_out: dict[str, float], speed: tuple[float, float]
    ) -> Record:
        """The record of a look.

        Args:
            state: The state at the look.
            sums: The sums over the steps since the last one.
            skipped: How many of these steps were not applied.
            held_out: The mean terms over the held-out examples.
            speed: The steps per second since the last look, and the share of the time outside of them.
        """
        terms = sums.mean_terms(np.float32(state.step - state.look - skipped))
        rate = learning_rate_at(self.program.optimizer, state.step)
        return Record(
            state.step / self.plan.steps_per_epoch, state.step, terms, held_out, state.seconds, skipped,
            gradients=sums.mean_norms(), learning_rate=None if rate is None else rate * state.rate,
            examples_per_second=speed[0] * self.plan.batch_size, outside=speed[1],
        )  # fmt: skip

    def end(self, record: Record, best_epoch: float) -> Status | None:
        """How training ended at a look, if it did."""
        if self.patience is not None and record.epoch - best_epoch >= self.patience:
            return "stopped early"
        return "all epochs done" if record.step == self.plan.steps else None


def run(task: Trainee[Kind], state: Kind, *, progress: Progress, stop: Stop, saves: Saves[Kind]) -> Kind:
    """Trains from a state to the end, or until it is interrupted."""
    pace, began = Pace(partial(largest, devices=task.devices)), time.perf_counter() - state.seconds

    def timed(state: Kind) -> Kind:
        return replace(state, seconds=time.perf_counter() - began)

    def interrupted(state: Kind) -> Kind:
        # An interrupt inside a compiled call may have lost what it was given.
        alive = not any(leaf.is_deleted() for leaf in jax.tree.leaves(state.carry))
        state = timed(state if alive else state.at_last_look())
        if state.step:
            with suppress(KeyboardInterrupt):
                saves.at_end(state)
        return replace(state, status="interrupted")

    try:
        while state.status is None:
            if largest(stop(), task.devices):  # whichever process was asked
                return interrupted(state)
            with losses_told(task.devices):
                state = timed(task.steps(state, pace))
                if state.status is None and state.step == task.plan.next_look(state.look):
                    state = task.looked(state, pace)
                    progress(state.history[-1])
            saves.when_due(state)
    except KeyboardInterrupt:
        if task.devices.num_processes > 1:  # the others go on with steps of which this process has no part
            raise
        return interrupted(state)
    saves.at_end(state)
    return state


class Sums(NamedTuple):
    """Sums over steps, on the host.

    Attributes:
        terms: Of the terms of the objective, by name.
        norms: Of the norms of the gradient of each part.
        num_norms: Of how many steps these are.
    """

    terms: dict[str, float]
    norms: dict[str, float]
    num_norms: int

    @classmethod
    def of(cls, totals: Any, norms: Norms) -> Self:
        """The sums in a `Carry`."""
        return cls(floats(totals), {name: float(norm) for name, norm in norms.sums.items()}, int(norms.count))

    def mean_terms(self, count: np.float32) -> dict[str, float]:
        """The means of the terms over so many steps."""
        return {name: float(np.float32(total) / count) for name, total in self.terms.items()}

    def mean_norms(self) -> dict[str, float]:
        """The means of the norms; none if they were taken of no step."""
        if not self.num_norms:
            return {}
        return {name: float(np.float32(total) / np.float32(self.num_norms)) for name, total in self.norms.items()}


def held_out_terms(means: Any, error: Any) -> dict[str, float]:
    """The mean terms of a look by name, with the standard error of the bound if there is one."""
    return floats(means) | ({"bound_standard_error": float(error)} if np.isfinite(error) else {})


def floats(terms: Any) -> dict[str, float]:
    """The terms by name, on the host; ``kl_per_dimension[0]`` is an element of one with several."""
    named: dict[str, float] = {}
    for name in terms.__dataclass_fields__:
        term = getattr(terms, name)
        if hasattr(term, "__dataclass_fields__"):
            named |= floats(term)
            continue
        value = np.asarray(term)
        several = {f"{name}[{place}]": float(f"{number:.6g}") for place, number in enumerate(np.ravel(value))}
        named |= several if value.ndim else {name: float(value)}
    return named
