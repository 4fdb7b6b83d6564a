"""What users see while a command runs: lines on stderr, the progress of training, and the response to Ctrl-C."""

import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from reparax.training import Record


Say = Callable[[str], None]


def speaker(quiet: bool) -> Say:
    """The function that prints a line; under ``--quiet``, one that does nothing."""
    return _silence if quiet else warn


def warn(line: str) -> None:
    """Prints a line that ``--quiet`` does not silence."""
    print(line, file=sys.stderr, flush=True)


def notes(say: Say, lines: Iterable[str]) -> None:
    """Prints the notes from reading the data."""
    for line in lines:
        say(f"note: {line}")


def end_with_threads(seconds: float) -> None:
    """Ends the process if a thread of a service still computes: XLA may compile in it, and crashes if Python ends."""
    from reparax.web import have_ended

    if not have_ended(seconds):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _silence(line: str) -> None:
    """Prints nothing."""


class Stop:
    """Whether training is asked to stop: by Ctrl-C, by SIGTERM, which schedulers and containers send, or by the clock.

    Args:
        seconds: How long training may take.

    Attributes:
        signal: The signal that asked; 0 if none did.
        is_patient: Whether the first steps are done, so that there is something to keep and stopping waits for the end
            of those under way.
        is_late: Whether training has taken as long as it may.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.signal = 0
        self.is_patient = False
        self.is_late = False
        self._seconds = seconds
        self._began: float | None = None

    def asked(self) -> bool:
        """Called before the first compiled steps of training, and after each call of some of them."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        else:
            self.is_patient = True
        self.is_late = now - self._began >= self._seconds
        return self.signal != 0 or self.is_late

    @property
    def code(self) -> int:
        """The exit code of an interrupted process, as shells count it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGINT)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first signal; raises at the second one, or before the first steps are done."""
        again = self.signal != 0
        self.signal = number
        if again or not self.is_patient:
            raise KeyboardInterrupt
        again_words = " (press Ctrl-C again to stop at once)" if number == signal.SIGINT else ""
        warn(f"stopping after the current steps to keep the best model so far{again_words}")


@contextmanager
def stoppable(seconds: float = math.inf) -> Generator[Stop]:
    """Lets training finish its current steps when it is asked to stop, or when it has taken some seconds."""
    stop = Stop(seconds)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def warnings_as_lines(*kinds: type[Warning]) -> Generator[None]:
    """Shows warnings of some kinds as lines, each one once, and leaves others alone."""
    with warnings.catch_warnings():
        shown, others = set[str](), warnings.showwarning
        for kind in kinds:
            warnings.simplefilter("always", kind)

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, kinds):
                others(message, category, filename, lineno, file, line)
            elif str(message) not in shown:
                shown.add(str(message))
                warn(f"warning: {message}")

        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        yield


LINES = 8
BOUND_NAMES = {"elbo": "ELBO", "iwae": "IWAE bound", "reconstruction": "log p(x|z)"}

Watch = Callable[["Record"], None]


def bound_name(objective: str) -> str:
    """The name of the bound of an objective."""
    return BOUND_NAMES.get(objective, "bound")


@contextmanager
def watch(epochs: int, name: str, batch_size: int, *, quiet: bool) -> Generator[Watch]:
    """The function to call with each record of training.

    Args:
        epochs: The largest number of epochs.
        name: The name of the bound.
        batch_size: Examples per step.
        quiet: Whether to show nothing.
    """
    if quiet:
        yield _nothing
    elif sys.stderr.isatty():
        with _bar(epochs, name, batch_size) as show:
            yield show
    else:
        yield _lines(epochs, name, batch_size)


def _nothing(record: "Record") -> None:
    """Shows nothing."""


@contextmanager
def _bar(epochs: int, name: str, batch_size: int) -> Generator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        TextColumn("epoch {task.completed:.0f}/{task.total:.0f}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
        TextColumn("left", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=epochs, numbers="compiling")
        speed = _Speed(batch_size)

        def show(record: "Record") -> None:
            progress.update(task, completed=record.epoch, numbers=f"{_numbers(record, name)} {speed.of(record)}")

        yield show


def _lines(epochs: int, name: str, batch_size: int) -> Watch:
    due = 0.0
    speed, first = _Speed(batch_size), None
    warn("compiling")

    def show(record: "Record") -> None:
        nonlocal due, first
        rate = speed.of(record)
        first = first or record
        if record.epoch >= due or record.epoch >= epochs:
            due = record.epoch + epochs / LINES
            left = _left(first, record, epochs)
            warn(f"epoch {record.epoch:.0f}/{epochs} {_numbers(record, name)} {rate} {record.seconds:.0f} s{left}")

    return show


def _left(first: "Record", record: "Record", epochs: int) -> str:
    """How long the remaining epochs take at most, as fast as those since the first record, before which it compiled."""
    if not first.epoch < record.epoch < epochs:
        return ""
    seconds = (record.seconds - first.seconds) / (record.epoch - first.epoch) * (epochs - record.epoch)
    return f", at most {seconds:.0f} s left"


def _numbers(record: "Record", name: str) -> str:
    held_out = f" held-out {record.valid['bound']:.2f}" if record.valid else ""
    return f"{name} {record.train['bound']:.2f}{held_out}"


class _Speed:
    """Examples per second since the last record."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._step, self._seconds = 0, 0.0

    def of(self, record: "Record") -> str:
        rate = (record.step - self._step) * self._batch_size / max(record.seconds - self._seconds, 1e-9)
        self._step, self._seconds = record.step, record.seconds
        return f"{_short(rate)} examples/s"


def _short(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:.0f}"
