"""What users see while a command runs: lines on stderr, the progress of training, and the response to Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

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


def _silence(line: str) -> None:
    """Prints nothing."""


class Stop:
    """Whether the user asked to stop.

    Attributes:
        requested: Whether Ctrl-C was pressed.
        patient: Whether training has started, so that there is a model to keep and stopping waits for the end of a
            chunk of steps.
    """

    def __init__(self) -> None:
        self.requested = False
        self.patient = False

    def check(self) -> None:
        """Called between two chunks of training steps.

        Raises:
            KeyboardInterrupt: The user asked to stop.
        """
        self.patient = True
        if self.requested:
            raise KeyboardInterrupt

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first Ctrl-C; raises at the second one, or before training has started."""
        if self.requested or not self.patient:
            raise KeyboardInterrupt
        self.requested = True
        warn("stopping after the current steps to keep the best model so far (press Ctrl-C again to stop at once)")


@contextmanager
def stoppable() -> Generator[Stop]:
    """Lets training finish its current steps when Ctrl-C is pressed."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


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
    speed = _Speed(batch_size)

    def show(record: "Record") -> None:
        nonlocal due
        rate = speed.of(record)
        if record.epoch >= due or record.epoch >= epochs:
            due = record.epoch + epochs / LINES
            warn(f"epoch {record.epoch:.0f}/{epochs} {_numbers(record, name)} {rate} {record.seconds:.0f} s")

    return show


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
