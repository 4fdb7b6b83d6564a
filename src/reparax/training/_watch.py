"""What follows a run while it trains: told how it begins, of every look at the held-out examples, and how it ends."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from reparax.training._record import Progress, Record, Status


class Watcher(Protocol):
    """What follows a run; it changes no result.

    An error in one of these methods ends training.
    """

    def start(self, settings: Mapping[str, Any], history: Sequence[Record]) -> None:
        """The run begins.

        Args:
            settings: The settings of the run as plain values; of `reparax.fit`, its recipe.
            history: The records of the runs that this one resumes.
        """

    def record(self, record: Record) -> None:
        """The held-out examples were looked at."""

    def end(self, status: Status | None) -> None:
        """The run has ended; the status is None if it ended with an error."""


@dataclass(frozen=True)
class Watch:
    """All that follows a run.

    Attributes:
        watchers: The watchers.
        settings: What they are told about the run.
    """

    watchers: Sequence[Watcher] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, progress: Progress | None) -> Progress:
        """A function that tells the watchers of a record, and then ``progress``."""

        def told(record: Record) -> None:
            for watcher in self.watchers:
                watcher.record(record)
            if progress is not None:
                progress(record)

        return told

    @contextmanager
    def following(self, history: Sequence[Record] = ()) -> Generator[Callable[[Status | None], None]]:
        """Tells the watchers how the run begins and, by the function that is given, how it ends."""
        status: Status | None = None

        def ended(how: Status | None) -> None:
            nonlocal status
            status = how

        started: list[Watcher] = []
        try:
            for watcher in self.watchers:
                watcher.start(self.settings, history)
                started.append(watcher)
            yield ended
        finally:
            for watcher in started:
                watcher.end(status)
