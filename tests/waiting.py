"""Waiting for another thread or process."""

import time


def until(holds, seconds: float = 60.0) -> None:
    """Returns once something holds; it fails if that takes too long. A refused connection counts as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it took too long")
