"""What a service allows, and who may use it."""

from dataclasses import dataclass

from reparax.web import THIS_MACHINE


@dataclass(frozen=True)
class Limits:
    """What a service allows.

    Attributes:
        body: The largest body of a request, in bytes.
        rows: The most rows of a request.
        samples: The most samples for each row.
        waiting: The most requests that wait; beyond that they are answered with 429.
        delay: How long a request waits for others that are computed along with it, in seconds.
        patience: How long the body of a request may take to arrive, in seconds.
        token: A secret that requests must carry as ``Authorization: Bearer TOKEN``; None for no secret.
        hosts: The names that requests may address the service by.
    """

    body: int = 16 << 20
    rows: int = 10_000
    samples: int = 1000
    waiting: int = 256
    delay: float = 0.002
    patience: float = 30.0
    token: str | None = None
    hosts: tuple[str, ...] = THIS_MACHINE
