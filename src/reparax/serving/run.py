"""Running a service until it is asked to stop."""

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn

from reparax.errors import OutputError, RecipeError
from reparax.recipe import FittedModel
from reparax.serving.app import application
from reparax.serving.limits import Limits

SECONDS_TO_END = 10
MOST_CONNECTIONS = 2048
BACKLOG = 512


def checked_address(host: str, limits: Limits) -> None:
    """Refuses an address that others reach without a token.

    Raises:
        RecipeError: It is one.
    """
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if not is_here and limits.token is None:
        raise RecipeError(
            expected="a token for an address that other machines reach",
            got=f"--host {host} without one",
            cure="set REPARAX_TOKEN to a secret, or leave --host out",
        )


def serve(
    fitted: FittedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Answers requests over HTTP until SIGINT or SIGTERM; requests that are under way are finished.

    Args:
        fitted: The fitted model.
        host: The address to listen on.
        port: The port; 0 for a free one.
        limits: What is allowed; by default `Limits()`.
        say: Told where the service listens.

    Raises:
        OutputError: The address cannot be used.
        RecipeError: Other machines reach the address, and there is no token.
    """
    fitted.require_one("to serve")
    limits = limits or Limits()
    checked_address(host, limits)
    listener = _bound(host, port)
    config = uvicorn.Config(
        application(fitted, limits), log_level="error", access_log=False, timeout_keep_alive=30, lifespan="on",
        timeout_graceful_shutdown=SECONDS_TO_END, limit_concurrency=MOST_CONNECTIONS, backlog=BACKLOG,
        server_header=False, h11_max_incomplete_event_size=1 << 16, ws="none", http="h11", loop="asyncio",
    )  # fmt: skip
    place = f"[{host}]" if ":" in host else host
    say(f"listening on http://{place}:{listener.getsockname()[1]} (Ctrl-C stops)")
    with _quiet_signals():
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            listener.close()


@contextmanager
def _quiet_signals() -> Generator[None]:
    """Lets the server end the process normally: it handles both signals, and raises them again once it has stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            expected=f"to listen on {host}:{port}", got=reason, cure="choose another --port, or 0 for a free one"
        ) from None
    return listener
