"""``reparax serve``: a fitted model over HTTP."""

import os

from reparax.cli.model import Allow, open_model
from reparax.cli.terminal import end_with_threads, speaker
from reparax.errors import RecipeError


def serve(
    model: str,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_host: tuple[str, ...] = (),
    max_body: int = 16_777_216,
    max_rows: int = 10_000,
    max_waiting: int = 256,
    max_delay: float = 2.0,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Answer requests over HTTP: encode, decode, score, impute, reconstruct, sample; JSON and Arrow.

    It listens on this machine only, until Ctrl-C or SIGTERM. The page / lists the operations, and /openapi.json has
    them in full. If the environment variable REPARAX_TOKEN is set, requests must carry it: Authorization: Bearer TOKEN.

    Args:
        model: The model folder.
        host: The address to listen on; others than this machine need a token.
        port: The port (default: 8000); 0 for a free one.
        allow_host: Other names by which requests may address the service.
        max_body: The largest body of a request in bytes (default: 16777216).
        max_rows: The most rows of a request (default: 10000).
        max_waiting: The most requests that wait (default: 256); more are refused.
        max_delay: The milliseconds that a request waits for others to be computed with (default: 2).
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import serving

    token = os.environ.get("REPARAX_TOKEN") or None
    if min(max_body, max_rows, max_waiting) < 1 or not 0 <= max_delay <= 1000:
        raise RecipeError(
            expected="limits from 1 up, and a delay from 0 to 1000 milliseconds", got="others", cure="change the limits"
        )
    names = dict.fromkeys(name.lower() for name in (host, *allow_host, *serving.Limits.hosts))
    limits = serving.Limits(
        body=max_body, rows=max_rows, waiting=max_waiting, delay=max_delay / 1000, token=token, hosts=tuple(names)
    )
    serving.checked_address(host, limits)
    fitted = open_model(model, allow)
    serving.serve(fitted, host=host, port=port, limits=limits, say=speaker(quiet))
    end_with_threads(2.0)
