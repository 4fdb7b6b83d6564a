"""Running the explorer until it is asked to stop."""

import os
import secrets
import sys
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn

from reparax.explorer.app import application
from reparax.explorer.explorer import Explorer
from reparax.explorer.limits import Limits
from reparax.explorer.subject import subject_of
from reparax.recipe import FittedModel
from reparax.web import BACKLOG, THIS_MACHINE, first_listener, is_this_machine, listener, place_of, quiet_signals

FIRST_PORT = 8765
PORTS = 32
SECONDS_TO_END = 2
TOKEN_BYTES = 24


def explore(
    fitted: FittedModel,
    data: Any = None,
    *,
    name: str = "",
    host: str = "127.0.0.1",
    port: int | None = None,
    hosts: tuple[str, ...] = (),
    open_browser: bool = False,
    say: Callable[[str], None] = print,
    announce: Callable[[str], None] | None = None,
) -> bool:
    """Shows a model and its data in a page of this machine, until SIGINT or SIGTERM.

    Args:
        fitted: The fitted model.
        data: Data of the same kind as in the fit, for the map and for questions about rows; None for none.
        name: The name of the data.
        host: The address to listen on.
        port: The port; 0 for a free one; by default the first free one from 8765 on.
        hosts: Other names by which browsers may address the page.
        open_browser: Whether to open the page in a browser.
        say: Told what happens.
        announce: Told the address of the page, which holds a secret; by default ``say`` is.

    Returns:
        Whether all computations have ended. If not, the process should end without waiting for them.

    Raises:
        OutputError: The address cannot be used.
        DataError: The data do not match the model.
        RecipeError: The model cannot be explored.
    """
    made = first_listener(host, range(FIRST_PORT, FIRST_PORT + PORTS)) if port is None else listener(host, port)
    try:
        explorer = Explorer(subject_of(fitted, data, name=name))
        explorer.warm_up()
        names = tuple(dict.fromkeys(each.lower() for each in (host, *hosts, *THIS_MACHINE)))
        limits = Limits(secrets.token_urlsafe(TOKEN_BYTES), names, any_address=host in {"0.0.0.0", "::"})
        app = application(explorer, limits, say=say)
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=SECONDS_TO_END,
            limit_concurrency=256, backlog=BACKLOG, server_header=False, h11_max_incomplete_event_size=1 << 16,
            ws="websockets-sansio", ws_max_size=limits.message, ws_per_message_deflate=False, http="h11",
            loop="asyncio",
        )  # fmt: skip
        shown = "127.0.0.1" if limits.any_address else host
        address = f"http://{place_of(shown, made.getsockname()[1])}/?token={limits.token}"
        if not is_this_machine(host):
            say(f"note: other machines reach {host}; whoever has the address below sees the data")
        (announce or say)(address if announce else f"exploring at {address} (Ctrl-C stops)")
        if open_browser:
            webbrowser.open(address)
        with quiet_signals():
            uvicorn.Server(config).run(sockets=[made])
    finally:
        made.close()
    workers = app.state.service.workers or ()
    return all(worker.has_ended(SECONDS_TO_END) for worker in workers)


def has_browser() -> bool:
    """Whether a page can be opened where the user sees it: on a desktop of this machine, from a terminal."""
    if not sys.stderr.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith(("win", "darwin")):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
