"""The explorer as an ASGI application: the page, its files, and the checks of who asks."""

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncGenerator, Callable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from reparax.explorer.connection import Connection
from reparax.explorer.limits import Limits
from reparax.explorer.workers import Worker
from reparax.web import host_name, is_same

if TYPE_CHECKING:
    from reparax.explorer.explorer import Explorer

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; worker-src 'self' blob:; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KINDS = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2",
    ".map": "application/json", ".wasm": "application/wasm",
}  # fmt: skip
PAGE = "index.html"
IDLE = 0.4
"""Seconds without a message after which the explorer works by itself."""


class Service:
    """A page, and connections to it.

    The page is there at once; messages are answered once the model is loaded.

    Args:
        load: Gives what answers.
        limits: What is allowed.
        say: Told of errors that are no fault of the user.
        folder: The built page; by default the one of the package.
    """

    def __init__(
        self, load: "Callable[[], Explorer]", limits: Limits, say: Callable[[str], None], folder: Traversable | None
    ) -> None:
        self.limits, self.say = limits, say
        self._load = load
        self.trouble: Exception | None = None
        self.on_trouble: Callable[[], None] = lambda: None
        self.files = _files(folder or files("reparax.explorer").joinpath("static"))
        self.connections = 0
        self.last_message = 0.0
        self.workers: tuple[Worker, Worker, Worker] | None = None
        self.is_ending = False

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncGenerator[None]:
        """Loads the model, and computes while the application lives."""
        names = "reparax-looks", "reparax-quick", "reparax-slow"
        self.workers = _, quick, _ = Worker(names[0]), Worker(names[1]), Worker(names[2])
        self._loaded = asyncio.ensure_future(quick.result(self._load))
        self._loaded.add_done_callback(self._look_at_trouble)
        scoring = asyncio.create_task(self._work_in_background())
        try:
            yield
        finally:
            self.is_ending = True
            scoring.cancel()
            self._loaded.cancel()
            for worker in self.workers:
                worker.stop()

    def _look_at_trouble(self, loaded: asyncio.Future) -> None:
        """Ends the program if the model cannot be loaded."""
        if not loaded.cancelled() and (error := loaded.exception()) is not None:
            assert isinstance(error, Exception)
            self.trouble = error
            self.on_trouble()

    async def explorer(self) -> "Explorer":
        """What answers, once it is loaded."""
        return await asyncio.shield(self._loaded)

    async def _work_in_background(self) -> None:
        """Compiles what is asked for later, and scores rows once a page wants to know, while the user does nothing."""
        explorer = await self.explorer()
        assert self.workers is not None
        slow, is_warm = self.workers[2], False
        while explorer.scoring.progress < 1 or not is_warm:
            await asyncio.sleep(0.05)
            if not self.connections or time.monotonic() - self.last_message < IDLE:
                continue
            if not is_warm:
                await slow.result(explorer.warm_up)
                is_warm = True
            elif explorer.scoring.is_wanted.is_set():
                await slow.result(explorer.scoring.some)

    def check(self, request: HTTPConnection, *, needs_token: bool) -> Response | None:
        """The refusal of a request of another host or page, or without the token; None if it is allowed."""
        host = request.headers.get("host", "")
        if not self.limits.allows(host_name(host)):
            return _refusal(421, f"expected a request to this machine; got one to {host[:80]!r}; see --allow-host")
        origin = request.headers.get("origin")
        if origin is not None and not is_same(origin, host):
            return _refusal(403, "expected a request of the explorer's page; got one of another page; open the address")
        given = request.query_params.get("token", "").encode("utf-8", "surrogateescape")
        if needs_token and not hmac.compare_digest(given, self.limits.token.encode()):
            return _refusal(
                403, "expected the token of this explorer; got another or none; open the address that it has printed"
            )
        return None

    async def page(self, request: Request) -> Response:
        """The page."""
        refusal = self.check(request, needs_token=True)
        if refusal is not None:
            return refusal
        if PAGE not in self.files:
            return _refusal(503, "expected the page to be built; got an installation without it; run: make explorer")
        return self._file(PAGE, "no-store")

    async def file(self, request: Request) -> Response:
        """A file of the page, which holds no secrets."""
        refusal = self.check(request, needs_token=False)
        if refusal is not None:
            return refusal
        name = request.url.path.lstrip("/")
        if name not in self.files or name == PAGE:
            return _refusal(404, "expected a file of the page; got another name; open the address that was printed")
        return self._file(name, "no-cache")

    def _file(self, name: str, cached: str) -> Response:
        content, kind = self.files[name]
        return Response(content, headers={**HEADERS, "Cache-Control": cached, "Content-Type": kind})

    async def socket(self, socket: WebSocket) -> None:
        """A connection of the page."""
        refusal = self.check(socket, needs_token=True)
        if refusal is None and self.connections >= self.limits.connections:
            refusal = _refusal(503, "expected fewer pages at once; got too many; close some")
        if refusal is not None:
            await socket.send_denial_response(refusal)
            return
        assert self.workers is not None
        self.connections += 1
        try:
            await Connection(socket, self.explorer, *self.workers, self.limits, self.say, self._note_message).run()
        finally:
            self.connections -= 1

    def _note_message(self) -> None:
        self.last_message = time.monotonic()


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, headers={**HEADERS, "Cache-Control": "no-store"})


def _files(folder: Traversable, prefix: str = "") -> dict[str, tuple[bytes, str]]:
    """The files of the page by their paths: only these can be asked for."""
    found: dict[str, tuple[bytes, str]] = {}
    if not folder.is_dir():
        return found
    for each in folder.iterdir():
        if each.is_dir():
            found |= _files(each, f"{prefix}{each.name}/")
        elif (suffix := f".{each.name.rpartition('.')[2]}") in KINDS:
            found[f"{prefix}{each.name}"] = each.read_bytes(), KINDS[suffix]
    return found


def application(
    load: "Callable[[], Explorer]", limits: Limits, *, say: Callable[[str], None] = print, folder: Any = None
) -> Starlette:
    """The explorer as an ASGI application; its service is ``app.state.service``.

    Args:
        load: Gives what answers; called in a thread.
        limits: What is allowed.
        say: Told of errors that are no fault of the user.
        folder: The built page; by default the one of the package.
    """
    service = Service(load, limits, say, folder)
    routes = [
        Route("/", service.page, methods=["GET"]),
        WebSocketRoute("/ws", service.socket),
        Route("/{path:path}", service.file, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=service.running)
    app.state.service = service
    return app
