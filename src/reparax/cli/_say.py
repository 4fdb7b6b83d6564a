"""What is said to people: lines on stderr, never on stdout."""

import sys
from collections.abc import Callable, Iterable

Say = Callable[[str], None]


def speaker(quiet: bool) -> Say:
    """The function that says a line; a silent one under ``--quiet``."""
    return _silence if quiet else warn


def warn(line: str) -> None:
    """Says a line that ``--quiet`` does not silence."""
    print(line, file=sys.stderr, flush=True)


def notes(say: Say, lines: Iterable[str]) -> None:
    """Says what was noticed while reading the data."""
    for line in lines:
        say(f"note: {line}")


def _silence(line: str) -> None:
    """Says nothing."""
