"""The state of training: all that a resumed run needs to go on as if it had never ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import PyTree

from reparax.training._devices import Devices
from reparax.training._program import Carry
from reparax.training._record import Record, Status


@dataclass(frozen=True)
class Best:
    """The best parameters so far by the held-out bound; the latest ones without a bound, or while it does not count.

    Attributes:
        trainable: The parameters.
        bound: Their held-out bound; infinite where it does not count.
        step: The step that they are from.
        epoch: The epoch that they are from.
    """

    trainable: PyTree
    bound: float = -np.inf
    step: int = 0
    epoch: float = 0.0

    def on(self, devices: Devices) -> "Best":
        """The same with its arrays on the devices."""
        return replace(self, trainable=devices.copied(self.trainable))

    def with_numbers(self, bound: str, step: int, epoch: float) -> "Best":
        """The same arrays with the numbers of a checkpoint."""
        return Best(self.trainable, float(bound), step, epoch)

    def updated(self, record: Record, trainable: PyTree, warmup: int) -> "Best":
        """The better one of this and the parameters of a record."""
        if not self.is_surpassed_by(record, warmup):
            return self
        copies = jax.tree.map(jnp.copy, trainable)
        bound = record.valid.get("bound", np.inf) if record.epoch > warmup else -np.inf
        return Best(copies, bound, record.step, record.epoch)

    def is_surpassed_by(self, record: Record, warmup: int) -> bool:
        """Whether the parameters of a record are better, or none of both count."""
        bound = record.valid.get("bound", np.inf)
        return bool(bound > self.bound or bound == np.inf or record.epoch <= warmup)


class Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of a state of training, without its arrays and its records."""

    step: int
    look: int
    returns: int
    is_careful: bool
    seconds: float
    status: Status | None
    trouble: str
    best_bound: str
    best_step: int
    best_epoch: float


@dataclass(frozen=True)
class TrainState:
    """The state of training between two compiled calls.

    Attributes:
        carry: What the steps change.
        good: The same at the last look, when everything was finite.
        best: The best parameters.
        step: The number of steps taken.
        look: The number of steps at the last look.
        returns: How often training has gone back to the last look at half the rate.
        is_careful: Whether a step has been found not finite, so that each one is checked from then on.
        history: One record for each look.
        seconds: The time that earlier runs took.
        status: How training ended; None if it has not.
        trouble: What was not finite last, in words; empty if nothing was.
    """

    carry: Carry
    good: Carry
    best: Best
    step: int = 0
    look: int = 0
    returns: int = 0
    is_careful: bool = False
    history: tuple[Record, ...] = field(default=())
    seconds: float = 0.0
    status: Status | None = None
    trouble: str = ""

    kind_of_numbers: ClassVar[type] = Numbers

    @classmethod
    def first(cls, carry: Carry) -> Self:
        """The state before the first step."""
        return cls(carry, carry.copied(), Best(jax.tree.map(jnp.copy, carry.trainable)))

    @property
    def rate(self) -> float:
        """What the updates are scaled by."""
        return 0.5**self.returns

    def on(self, devices: Devices) -> Self:
        """The same with its arrays on the devices."""
        carry, good = devices.copied(self.carry), devices.copied(self.good)
        return replace(self, carry=carry, good=good, best=self.best.on(devices))

    def at_last_look(self) -> Self:
        """The state at the last look, from which the same steps can be taken again."""
        return replace(self, carry=self.good.copied(), step=self.look)

    def numbers(self) -> Numbers:
        """What a checkpoint saves besides arrays and records."""
        best = self.best
        return Numbers(
            self.step, self.look, self.returns, self.is_careful, self.seconds, self.status, self.trouble,
            repr(best.bound), best.step, best.epoch,
        )  # fmt: skip

    def arrays(self) -> dict[str, Any]:
        """The arrays that a checkpoint saves; those at the last look only if they differ from the present ones."""
        return {"best": self.best.trainable} | saved_carries(self)

    def with_numbers(self, numbers: Numbers, history: Sequence[Record]) -> Self:
        """The state of a checkpoint, without its arrays."""
        best = self.best.with_numbers(numbers.best_bound, numbers.best_step, numbers.best_epoch)
        return replace(
            self, best=best, step=numbers.step, look=numbers.look, returns=numbers.returns,
            is_careful=numbers.is_careful, seconds=numbers.seconds, status=numbers.status, trouble=numbers.trouble,
            history=tuple(history),
        )  # fmt: skip

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self:
        """The same with the arrays of a checkpoint."""
        carry, good = carries_in(arrays)
        return replace(self, carry=carry, good=good, best=replace(self.best, trainable=arrays["best"]))


class Carried(Protocol):
    """A state between two compiled calls."""

    @property
    def carry(self) -> Carry: ...

    @property
    def good(self) -> Carry: ...

    @property
    def step(self) -> int: ...

    @property
    def look(self) -> int: ...


def saved_carries(state: Carried) -> dict[str, Carry]:
    """What steps have changed of a state, to be saved; at the last look only if that differs from now."""
    return {"now": state.carry} if state.step == state.look else {"now": state.carry, "good": state.good}


def carries_in(arrays: Mapping[str, Any]) -> tuple[Carry, Carry]:
    """What steps have changed now and at the last look, from what was saved."""
    now = arrays["now"]
    return now, arrays["good"] if "good" in arrays else now.copied()
