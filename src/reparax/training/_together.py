"""Models of equal structure trained as one: the same steps, with one more axis, over models."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, PyTree

from reparax.compiler import compiled, effort_for
from reparax.training._devices import Devices
from reparax.training._examples import take
from reparax.training._feed import Abreast
from reparax.training._loop import Sums, Task, held_out_terms
from reparax.training._program import Carry, Chunk, Norms, chunk_steps, evaluation, keys_of, parts_of
from reparax.training._record import Record, Status
from reparax.training._recover import recovered
from reparax.training._schedule import Pace, Plan
from reparax.training._stack import Stacked, at
from reparax.training._state import Best, Numbers, TrainState, carries_in, saved_carries


class MemberNumbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint saves of one of several models besides its arrays."""

    history: list[dict[str, Any]]
    status: Status | None
    seconds: float
    best_bound: str
    best_step: int
    best_epoch: float
    alone: Numbers | None


class TogetherNumbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint saves of several models besides their arrays."""

    step: int
    look: int
    seconds: float
    status: Status | None
    members: list[MemberNumbers]


@dataclass(frozen=True)
class Member:
    """How the training of one of the models stands.

    Attributes:
        best: Its best parameters.
        history: Its records.
        status: How its training ended; None if it goes on.
        alone: The state from which it goes on alone, after a step that was not finite.
        seconds: How long training had taken when it ended.
    """

    best: Best
    history: tuple[Record, ...] = ()
    status: Status | None = None
    alone: TrainState | None = None
    seconds: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether the next steps count for it."""
        return self.status is None and self.alone is None

    def on(self, devices: Devices) -> Self:
        """The same with its arrays on the devices."""
        alone = None if self.alone is None else self.alone.on(devices)
        return replace(self, best=self.best.on(devices), alone=alone)

    def numbers(self) -> MemberNumbers:
        """What a checkpoint saves besides arrays."""
        history, best = [record.as_json() for record in self.history], self.best
        alone = None if self.alone is None else self.alone.numbers()
        return MemberNumbers(history, self.status, self.seconds, repr(best.bound), best.step, best.epoch, alone)

    def arrays(self) -> dict[str, Any]:
        """The arrays that a checkpoint saves."""
        arrays: dict[str, Any] = {"best": self.best.trainable}
        return arrays if self.alone is None else arrays | {"alone": self.alone.arrays()}

    def with_numbers(self, numbers: MemberNumbers, carry: Carry) -> Self:
        """The member of a checkpoint, without its arrays.

        Args:
            numbers: What was saved.
            carry: What steps change of a model of its structure.
        """
        history = tuple(Record.from_json(record) for record in numbers.history)
        best = self.best.with_numbers(numbers.best_bound, numbers.best_step, numbers.best_epoch)
        alone = None if numbers.alone is None else TrainState.first(carry).with_numbers(numbers.alone, history)
        return replace(self, best=best, history=history, status=numbers.status, alone=alone, seconds=numbers.seconds)

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self:
        """The same with the arrays of a checkpoint."""
        alone = None if self.alone is None else self.alone.with_arrays(arrays["alone"])
        return replace(self, best=replace(self.best, trainable=arrays["best"]), alone=alone)


@dataclass(frozen=True)
class TogetherState:
    """The state of training of models that are trained as one.

    Attributes:
        carry: What the steps change, stacked.
        good: The same at the last look.
        members: How each one stands.
        step: The number of steps taken.
        look: The number of steps at the last look.
        history: For each look the means over the models that still trained.
        seconds: The time that training took.
        status: How training ended; None if a model still trains.
    """

    carry: Carry
    good: Carry
    members: tuple[Member, ...]
    step: int = 0
    look: int = 0
    history: tuple[Record, ...] = field(default=())
    seconds: float = 0.0
    status: Status | None = None

    kind_of_numbers: ClassVar[type] = TogetherNumbers

    @property
    def rate(self) -> float:
        """What the updates are scaled by."""
        return 1.0

    def at_last_look(self) -> Self:
        """The state at the last look."""
        return replace(self, carry=self.good.copied(), step=self.look)

    def on(self, devices: Devices) -> Self:
        """The same with its arrays on the devices."""
        members = tuple(member.on(devices) for member in self.members)
        carry, good = devices.copied(self.carry, stacked=1), devices.copied(self.good, stacked=1)
        return replace(self, carry=carry, good=good, members=members)

    def numbers(self) -> TogetherNumbers:
        """What a checkpoint saves besides arrays and the means over the models."""
        members = [member.numbers() for member in self.members]
        return TogetherNumbers(self.step, self.look, self.seconds, self.status, members)

    def arrays(self) -> dict[str, Any]:
        """The arrays that a checkpoint saves; those at the last look only if they differ from the present ones."""
        members = {str(place): member.arrays() for place, member in enumerate(self.members)}
        return {"members": members} | saved_carries(self)

    def with_numbers(self, numbers: TogetherNumbers, history: Sequence[Record]) -> Self:
        """The state of a checkpoint, without its arrays."""
        members = tuple(
            member.with_numbers(of_member, at(self.carry, place))
            for place, (member, of_member) in enumerate(zip(self.members, numbers.members, strict=True))
        )
        return replace(
            self, step=numbers.step, look=numbers.look, seconds=numbers.seconds, status=numbers.status,
            members=members, history=tuple(history),
        )  # fmt: skip

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self:
        """The same with the arrays of a checkpoint."""
        members = tuple(member.with_arrays(arrays["members"][str(place)]) for place, member in enumerate(self.members))
        carry, good = carries_in(arrays)
        return replace(self, carry=carry, good=good, members=members)

    def of_member(self, place: int) -> TrainState:
        """The state of one model, as if it had been trained alone; without a status if it goes on alone."""
        member = self.members[place]
        if member.alone is not None:
            return replace(member.alone, status="interrupted") if self.status == "interrupted" else member.alone
        carry, good = at(self.carry, place), at(self.good, place)
        status = member.status or self.status
        seconds = member.seconds or self.seconds
        return TrainState(
            carry, good, member.best, self.step, self.look, history=member.history, seconds=seconds, status=status
        )


class Together:
    """Tasks of equal structure as one task.

    A model that stops is computed on with the others, which costs less than to compile a program without it; what
    becomes of it then has no effect. A model with a step that is not finite is left out in the same way; it goes on
    alone from the last look, as if it had always been alone.

    Args:
        tasks: The tasks; their programs, their data and their plans have the same structure.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tuple(tasks)
        first, judged = tasks[0], sum(leaf.size for leaf in jax.tree.leaves(tasks[0].held_out))
        self._effort = effort_for(len(tasks) * first.plan.epochs * first.feed.num_values)
        self._effort_of_look = effort_for(len(tasks) * first.plan.num_looks * judged)
        self._programs = Stacked.of([task.program for task in tasks])
        self._feeds = Abreast([task.feed for task in tasks], [task.keys[0] for task in tasks])
        self._look = Stacked.of([(task.judging, task.held_out) for task in tasks])
        self._noise, self._of_look = (jnp.stack([task.keys[place] for task in tasks]) for place in (1, 2))
        self.devices = tasks[0].program.devices
        self.plan: Plan = tasks[0].plan

    def start(self, models: Sequence[PyTree]) -> TogetherState:
        """The state before the first step.

        Args:
            models: The trainable arrays of each model.

        Raises:
            TrainingError: As for `Program.start`.
        """
        trainable = self.stacked(models)
        optimizer, totals = _started(self._programs, self._feeds.some, trainable, self.plan.batch_size)
        count = len(models)
        norms = Norms({name: jnp.zeros(count) for name in parts_of(trainable)}, jnp.zeros(count, jnp.int32))
        carry = Carry(
            trainable, optimizer, totals, norms, jnp.zeros(count, jnp.int32), jnp.zeros((count, 2), jnp.int32)
        )
        members = tuple(Member(Best(jax.tree.map(jnp.asarray, model))) for model in models)
        carry = self.devices.copied(carry, stacked=1)
        return TogetherState(carry, carry.copied(), members)

    @staticmethod
    def stacked(models: Sequence[PyTree]) -> PyTree:
        """The trainable arrays of all models."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)

    def traced(self, models: Sequence[PyTree]) -> Any:
        """The terms and the update of one step of all models; only to be traced."""
        some = self._feeds.some

        def one(own: PyTree, own_data: PyTree, trainable: PyTree, key: jax.Array) -> Any:
            program = self._programs.member(own)
            batch = take(some.member(own_data), jnp.zeros(self.plan.batch_size, jnp.int32))
            loss = program.loss(trainable, batch, keys_of(key, self.plan.batch_size), jnp.asarray(0))
            return loss, program.optimizer.update(trainable, program.optimizer.init(trainable), trainable)

        with jax.numpy_dtype_promotion("standard"):
            return _mapped(one)(self._programs.own, some.own, self.stacked(models), self._noise)

    def steps(self, state: TogetherState, pace: Pace) -> TogetherState:
        """The state after one compiled call; models with a step that is not finite are left out."""
        count = min(pace.steps, self.plan.next_look(state.look) - state.step)
        data, chunk = self._feeds.chunk(self.plan, state.step, count)
        count, chunk = chunk.count, jax.tree.map(jnp.asarray, chunk)
        began = time.perf_counter()
        carry, is_healthy = _CHUNK[self._effort]((self._programs, data, chunk, self._noise), state.carry)
        healthy = np.asarray(is_healthy)
        pace.took(count, time.perf_counter() - began)
        members = [
            member if fine or not member.goes_on else self._left_out(state, place)
            for place, (member, fine) in enumerate(zip(state.members, healthy.tolist(), strict=True))
        ]
        return _ended(replace(state, carry=carry, step=state.step + count, members=tuple(members)))

    @staticmethod
    def _left_out(state: TogetherState, place: int) -> Member:
        """A model that goes on alone, from the last look, with each step checked."""
        member, good = state.members[place], at(state.good, place)
        before = TrainState(
            good, good.copied(), member.best, state.look, state.look, history=member.history, seconds=state.seconds
        )
        return replace(member, alone=recovered(before, good))

    def looked(self, state: TogetherState, pace: Pace) -> TogetherState:
        """The state after a look at the held-out examples."""
        carry = state.carry
        held_out = (
            [{}] * len(self._tasks) if self._tasks[0].held_out is None else self.judged(carry.trainable, state.look)
        )
        sums, speed = _each(carry, len(self._tasks)), pace.since_look()
        members = tuple(
            self._updated(state, place, sums[place], held_out[place], speed) if member.goes_on else member
            for place, member in enumerate(state.members)
        )
        new = [after.history[-1] for before, after in zip(state.members, members, strict=True) if before.goes_on]
        after = carry.looked_at()
        history = (*state.history, _mean(new))
        return _ended(
            replace(state, carry=after, good=after.copied(), members=members, look=state.step, history=history)
        )

    def _updated(
        self, state: TogetherState, place: int, sums: Sums, held_out: dict[str, float], speed: tuple[float, float]
    ) -> Member:
        task, member = self._tasks[place], state.members[place]
        record = task.record(state, sums, 0, held_out, speed)
        best = member.best
        if best.is_surpassed_by(record, task.warmup):
            best = best.updated(record, at(state.carry.trainable, place), task.warmup)
        status = task.end(record, best.epoch)
        return replace(member, best=best, history=(*member.history, record), status=status, seconds=state.seconds)

    def judged(self, trainable: PyTree, step: int) -> list[dict[str, float]]:
        """The mean terms of each model over its held-out examples, by name."""
        size = self.plan.batch_size
        trainable = self.devices.copied(trainable, stacked=1)
        terms = _EVALUATE[self._effort_of_look](self._look, trainable, self._of_look, jnp.asarray(step), size)
        means, errors = jax.device_get(terms)
        return [
            held_out_terms(jax.tree.map(lambda leaf, place=place: leaf[place], means), errors[place])
            for place in range(len(self._tasks))
        ]


def _ended(state: TogetherState) -> TogetherState:
    """The state with a status if no model trains on."""
    if any(member.goes_on for member in state.members):
        return state
    statuses = [member.status for member in state.members if member.status is not None]
    return replace(state, status=statuses[-1] if statuses else "diverged")


def _each(carry: Carry, count: int) -> list[Sums]:
    """The sums over the steps, for each model."""
    on_host = jax.device_get((carry.totals, carry.norms))
    return [Sums.of(*jax.tree.map(lambda leaf, place=place: leaf[place], on_host)) for place in range(count)]


def _mean(records: Sequence[Record]) -> Record:
    """The means of records of the same look."""

    def mean(each: Sequence[dict[str, float]]) -> dict[str, float]:
        common = [name for name in each[0] if all(name in terms for terms in each)]
        return {name: float(np.mean([terms[name] for terms in each])) for name in common}

    kinds = ("train", "valid", "gradients")
    return replace(records[0], **{kind: mean([getattr(record, kind) for record in records]) for kind in kinds})


@eqx.filter_jit
def _started(programs: Stacked, data: Stacked, trainable: PyTree, batch_size: int) -> tuple[PyTree, Any]:
    """The first state of each optimizer, and zeros for the sums of the terms."""

    def one(own: PyTree, own_data: PyTree, trainable: PyTree) -> tuple[PyTree, Any]:
        program = programs.member(own)
        return program.optimizer.init(trainable), program.outline(trainable, data.member(own_data), batch_size)[0]

    return _mapped(one)(programs.own, data.own, trainable)


def _chunk(given: tuple[Stacked, Stacked, Chunk, jax.Array], carry: Carry) -> tuple[Carry, Array]:
    programs, data, chunk, keys = given

    def one(own: PyTree, own_data: PyTree, batches: Array, key: jax.Array, carry: Carry) -> tuple[Carry, Array]:
        program, examples = programs.member(own), data.member(own_data)
        return chunk_steps((program, examples, chunk._replace(batches=batches), key), carry)

    return _mapped(one)(programs.own, data.own, chunk.batches, keys, carry)


def _evaluate(stacked: Stacked, trainable: PyTree, keys: jax.Array, step: Array, batch_size: int) -> Any:
    def one(own: PyTree, trainable: PyTree, key: jax.Array) -> Any:
        program, data = stacked.member(own)
        return evaluation(program, trainable, data, key, step, batch_size)

    return _mapped(one)(stacked.own, trainable, keys)


def _mapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of one model as one of all."""
    return jax.vmap(function)


_CHUNK = compiled(_chunk, donate="all-except-first")
_EVALUATE = compiled(_evaluate)
