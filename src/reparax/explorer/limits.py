"""What the explorer allows, and who may use it."""

import time
from dataclasses import dataclass

from reparax.web import THIS_MACHINE, is_address


@dataclass(frozen=True)
class Limits:
    """What the explorer allows.

    Attributes:
        token: The secret in the address of the page.
        hosts: The names that requests may address it by.
        any_address: Whether every number of this machine will do as well, as it listens on all of them.
        message: The largest message in bytes.
        rate: Messages per second and connection, on average.
        burst: Messages that may come at once.
        waiting: The most messages of a connection that wait.
        connections: The most pages at once.
    """

    token: str
    hosts: tuple[str, ...] = THIS_MACHINE
    any_address: bool = False
    message: int = 2 << 20
    rate: float = 250.0
    burst: int = 500
    waiting: int = 64
    connections: int = 32

    def allows(self, host: str) -> bool:
        """Whether requests may address the explorer by a name."""
        return host in self.hosts or (self.any_address and is_address(host))


class Bucket:
    """Counts what comes in, by the rule of the token bucket.

    Args:
        rate: How many may come per second, on average.
        burst: How many may come at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._seen = float(burst), time.monotonic()

    def takes(self) -> bool:
        """Whether one more may come now."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
