"""What training records: the terms of each look at the held-out examples, and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from reparax.tensors import escaped, unescaped

WATCHED = ("learning_rate", "examples_per_second", "outside")

Status = Literal["all epochs done", "stopped early", "interrupted", "diverged"]


@dataclass(frozen=True)
class Record:
    """One look: the mean terms over the examples since the last one, and over the held-out examples.

    Attributes:
        epoch: How many times the data have been seen.
        step: How many steps have been taken.
        train: The terms, averaged over the examples since the last record, by name; nats per example.
        valid: The held-out terms and ``bound_standard_error``, over the examples, or an empty mapping; of a variational
            autoencoder ``kl_per_dimension[0]`` and so on, where they are known.
        seconds: Since training began.
        skipped: The steps since the last record that were not applied, because they were not finite.
        gradients: The mean norm of the gradient of each part of the model since the last record, over every tenth step.
        learning_rate: The rate of the next step; None for an optimizer whose rate is not known.
        examples_per_second: Of the steps since the last record, compiling included; depends on the machine.
        outside: The share of the time since the last record that was not spent in compiled steps, but on the held-out
            examples, on checkpoints or on watchers.
    """

    epoch: float
    step: int
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    skipped: int = 0
    gradients: dict[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    examples_per_second: float | None = None
    outside: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train": escaped(self.train),
            "valid": escaped(self.valid),
            "seconds": self.seconds,
            **({"skipped": self.skipped} if self.skipped else {}),
            **({"gradients": escaped(self.gradients)} if self.gradients else {}),
            **{name: getattr(self, name) for name in WATCHED if getattr(self, name) is not None},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The record that `as_json` wrote.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: It is none.
        """
        train, valid = ({key: unescaped(x) for key, x in fields[name].items()} for name in ("train", "valid"))
        gradients = {key: unescaped(x) for key, x in fields.get("gradients", {}).items()}
        watched = {name: fields.get(name) for name in WATCHED}
        skipped = fields.get("skipped", 0)
        return cls(
            fields["epoch"], fields["step"], train, valid, fields["seconds"], skipped, gradients=gradients, **watched
        )

    def flat(self) -> dict[str, float]:
        """All numbers by name: ``held_out/bound``, ``train/kl``, ``gradient/posterior``, ``learning_rate``, ..."""
        groups = {"train": self.train, "held_out": self.valid, "gradient": self.gradients}
        terms = {f"{group}/{name}": number for group, numbers in groups.items() for name, number in numbers.items()}
        watched = {name: getattr(self, name) for name in WATCHED if getattr(self, name) is not None}
        return {"epoch": self.epoch, "step": self.step, "seconds": self.seconds, **terms, **watched}


Progress = Callable[[Record], None]
