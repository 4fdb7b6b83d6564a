"""Running a service until it is asked to stop."""

from collections.abc import Callable

import uvicorn

from reparax.recipe import FittedModel
from reparax.serving.app import application
from reparax.serving.limits import Limits
from reparax.web import BACKLOG, listener, place_of, quiet_signals, require_token

SECONDS_TO_END = 10
MOST_CONNECTIONS = 2048


def checked_address(host: str, limits: Limits) -> None:
    """Refuses an address that others reach without a token.

    Raises:
        RecipeError: It is one.
    """
    require_token(host, limits.token)


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
    limits = limits or Limits()
    checked_address(host, limits)
    listening = listener(host, port)
    config = uvicorn.Config(
        application(fitted, limits), log_level="error", access_log=False, timeout_keep_alive=30, lifespan="on",
        timeout_graceful_shutdown=SECONDS_TO_END, limit_concurrency=MOST_CONNECTIONS, backlog=BACKLOG,
        server_header=False, h11_max_incomplete_event_size=1 << 16, ws="none", http="h11", loop="asyncio",
    )  # fmt: skip
    say(f"listening on http://{place_of(host, listening.getsockname()[1])} (Ctrl-C stops)")
    with quiet_signals():
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            listening.close()
