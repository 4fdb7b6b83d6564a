"""What training records: the terms of each look at the held-out examples, and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from reparax.tensors import escaped, unescaped

Status = Literal["all epochs done", "stopped early", "interrupted", "diverged"]


@dataclass(frozen=True)
class Record:
    """One look: the mean terms over the examples since the last one, and over the held-out examples.

    Attributes:
        epoch: How many times the data have been seen.
        step: How many steps have been taken.
        train: The terms, averaged over the examples since the last record, by name; nats per example.
        valid: The held-out terms and ``bound_standard_error``, over the examples, or an empty mapping.
        seconds: Since training began.
        skipped: The steps since the last record that were not applied, because they were not finite.
    """

    epoch: float
    step: int
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    skipped: int = 0

    def as_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train": escaped(self.train),
            "valid": escaped(self.valid),
            "seconds": self.seconds,
            **({"skipped": self.skipped} if self.skipped else {}),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The record that `as_json` wrote.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: It is none.
        """
        train, valid = ({key: unescaped(x) for key, x in fields[name].items()} for name in ("train", "valid"))
        return cls(fields["epoch"], fields["step"], train, valid, fields["seconds"], fields.get("skipped", 0))


Progress = Callable[[Record], None]
