"""What every server of reparax needs: an address, who may ask, and an orderly end."""

import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from urllib.parse import urlsplit

from reparax.errors import OutputError, RecipeError

BACKLOG = 512
THREADS = "reparax-"
"""How the names of threads that compute begin."""
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
"""The names by which this machine calls itself."""


def is_this_machine(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_token(host: str, token: str | None) -> None:
    """Refuses an address that others reach without a token.

    Raises:
        RecipeError: It is one.
    """
    if not is_this_machine(host) and token is None:
        raise RecipeError(
            expected="a token for an address that other machines reach",
            got=f"--host {host} without one",
            cure="set REPARAX_TOKEN to a secret, or leave --host out",
        )


def host_name(host: str) -> str:
    """The name in a ``Host`` header, without its port; empty if it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_among(origin: str, hosts: Collection[str]) -> bool:
    """Whether an ``Origin`` header names one of some hosts."""
    try:
        return (urlsplit(origin).hostname or "") in hosts
    except ValueError:
        return False


def is_same(origin: str, host: str) -> bool:
    """Whether an ``Origin`` header names the host and port of a ``Host`` header: the page comes from there."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def is_address(name: str) -> bool:
    """Whether a name is the number of a machine, which no name server can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Args:
        host: The address.
        port: The port; 0 for a free one.

    Raises:
        OutputError: The address cannot be used.
    """
    made = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        if made is not None:
            made.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            expected=f"to listen on {host}:{port}", got=reason, cure="choose another --port, or 0 for a free one"
        ) from None
    return made


def first_listener(host: str, ports: Iterable[int]) -> socket.socket:
    """A socket that listens on the first of some ports that is free, or on any port if none of them is.

    Raises:
        OutputError: The address cannot be used at all.
    """
    for port in ports:
        try:
            return listener(host, port)
        except OutputError:
            continue
    return listener(host, 0)


def place_of(host: str, port: int) -> str:
    """The address as a part of a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def quiet_signals() -> Generator[None]:
    """Lets uvicorn end the process normally: it handles both signals, and raises them again once it has stopped."""
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


def have_ended(seconds: float) -> bool:
    """Whether the threads of services end within some seconds; XLA cannot be stopped while it compiles."""
    end = time.monotonic() + seconds
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
