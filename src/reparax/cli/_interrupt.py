"""Ctrl-C during training: the first stops it after the steps under way, the second at once."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from reparax.cli._say import warn


class Stop:
    """Whether the user asked to stop.

    Attributes:
        requested: Whether Ctrl-C was pressed.
        patient: Whether training has begun, so that there is something to keep and stopping can wait for a good moment.
    """

    def __init__(self) -> None:
        self.requested = False
        self.patient = False

    def check(self) -> None:
        """Raises `KeyboardInterrupt` if the user asked to stop; called between two chunks of training."""
        self.patient = True
        if self.requested:
            raise KeyboardInterrupt

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Takes note of Ctrl-C, or passes it on."""
        if self.requested or not self.patient:
            raise KeyboardInterrupt
        self.requested = True
        warn("stopping after the steps under way, to keep the best model so far (Ctrl-C again stops at once)")


@contextmanager
def stoppable() -> Generator[Stop]:
    """Lets training end at a good moment when Ctrl-C is pressed."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
