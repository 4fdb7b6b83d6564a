"""Running the explorer until it is asked to stop."""

import os
import secrets
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from reparax.explorer.app import application
from reparax.explorer.limits import Limits
from reparax.web import (
    BACKLOG,
    THIS_MACHINE,
    first_listener,
    have_ended,
    is_this_machine,
    listener,
    place_of,
    quiet_signals,
)

if TYPE_CHECKING:
    from reparax.explorer.explorer import Explorer
    from reparax.recipe import FittedModel

FIRST_PORT = 8765
PORTS = 32
SECONDS_TO_END = 2
TOKEN_BYTES = 24
MOST_CONNECTIONS = 256


@dataclass(frozen=True)
class Address:
    """Where the explorer listens.

    Attributes:
        host: The address.
        port: The port; 0 for a free one; None for the first free one from 8765 on.
        hosts: Other names by which browsers may address the page.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    hosts: tuple[str, ...] = ()


def explore(
    fitted: "FittedModel",
    data: Any = None,
    *,
    name: str = "",
    address: Address | None = None,
    open_browser: bool = False,
    announce: Callable[[str], None] = print,
) -> None:
    """Shows a model and its data in a page of this machine, until SIGINT or SIGTERM.

    Args:
        fitted: The fitted model.
        data: Data of the same kind as in the fit, for the map and for questions about rows; None for none.
        name: The name of the data.
        address: Where to listen; by default on this machine alone.
        open_browser: Whether to open the page in a browser.
        announce: Told the address of the page, which holds a secret.

    Raises:
        OutputError: The address cannot be used.
        DataError: The data do not match the model.
        RecipeError: The model cannot be explored.
    """

    def loaded() -> "Explorer":
        from reparax.explorer.explorer import load

        return load(fitted, data, name)

    run(loaded, address or Address(), open_browser=open_browser, announce=announce)


def run(
    load: "Callable[[], Explorer]",
    address: Address,
    *,
    open_browser: bool,
    announce: Callable[[str], None],
    say: Callable[[str], None] = print,
) -> None:
    """Shows the page at once, and answers it when the model is loaded; until SIGINT or SIGTERM.

    Args:
        load: Gives what answers; called in a thread.
        address: Where to listen.
        open_browser: Whether to open the page in a browser.
        announce: Told the address of the page.
        say: Told what else happens.

    Raises:
        OutputError: The address cannot be used.
        Exception: What ``load`` raises.
    """
    made = listening(address)
    try:
        names = tuple(dict.fromkeys(each.lower() for each in (address.host, *address.hosts, *THIS_MACHINE)))
        everywhere = address.host in {"0.0.0.0", "::"}
        limits = Limits(secrets.token_urlsafe(TOKEN_BYTES), names, any_address=everywhere)
        app = application(load, limits, say=say)
        server = uvicorn.Server(_config(app, limits))
        service = app.state.service
        service.on_trouble = lambda: setattr(server, "should_exit", True)
        if not is_this_machine(address.host):
            say(f"note: other machines reach {address.host}; whoever has the address below sees the model and the data")
        place = place_of("127.0.0.1" if everywhere else address.host, made.getsockname()[1])
        announce(f"http://{place}/?token={limits.token}")
        if open_browser:
            webbrowser.open(f"http://{place}/?token={limits.token}")
        with quiet_signals():
            server.run(sockets=[made])
    finally:
        made.close()
    have_ended(SECONDS_TO_END)
    if service.trouble is not None:
        raise service.trouble


def listening(address: Address) -> Any:
    """A socket at an address.

    Raises:
        OutputError: The address cannot be used.
    """
    if address.port is None:
        return first_listener(address.host, range(FIRST_PORT, FIRST_PORT + PORTS))
    return listener(address.host, address.port)


def _config(app: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=SECONDS_TO_END,
        limit_concurrency=MOST_CONNECTIONS, backlog=BACKLOG, server_header=False, http="h11", loop="asyncio",
        h11_max_incomplete_event_size=1 << 16, ws="websockets-sansio", ws_max_size=limits.message,
        ws_per_message_deflate=False,
    )  # fmt: skip


def has_browser() -> bool:
    """Whether a page can be opened where the user sees it: on a desktop of this machine, from a terminal."""
    if not sys.stderr.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith(("win", "darwin")):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
