"""The service as an ASGI application: routes, checks of who asks, and errors as answers."""

import asyncio
import contextlib
import hmac
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from reparax.errors import ReparaxError
from reparax.recipe import FittedModel
from reparax.serving.batches import Batches, Full
from reparax.serving.limits import Limits
from reparax.serving.openapi import description, page
from reparax.serving.operations import (
    ARROW,
    OPERATIONS,
    TooMany,
    compute,
    examples_of,
    work_of,
    written,
)
from reparax.web import host_name, is_among

OPEN = frozenset({"/health"})
"""What is answered without a token, so that a scheduler can ask."""


class Refused(Exception):
    """A request that is not computed.

    Args:
        status: The status of the answer.
        text: Why.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Service:
    """A model that answers requests.

    Args:
        fitted: The fitted model.
        limits: What is allowed.
    """

    def __init__(self, fitted: FittedModel, limits: Limits) -> None:
        self.fitted, self.limits = fitted, limits
        self.batches: Batches | None = None
        self.is_ready = False
        self.trouble = ""
        self.counts: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncGenerator[None]:
        """Computes while the application lives; programs are compiled first."""
        limits = self.limits
        self.batches = Batches(lambda jobs: compute(self.fitted, jobs), limits.waiting, limits.rows, limits.delay)
        self.batches.start()
        compiling = asyncio.create_task(self._compile())
        try:
            yield
        finally:
            compiling.cancel()
            await self.batches.stop()

    async def _compile(self) -> None:
        """Computes each operation once, so that no request waits for the compiler."""
        assert self.batches is not None
        try:
            await self.batches.alone(self._compute_once)
            self.is_ready = True
        except Exception as error:  # a model that cannot be computed is never ready, and says why
            self.trouble = f"the model cannot be computed: {error}"
            raise

    def _compute_once(self) -> None:
        for work in examples_of(self.fitted):
            with contextlib.suppress(ReparaxError):  # what the model lacks is refused when it is asked for
                compute(self.fitted, [work])

    async def answer(self, request: Request) -> Response:
        """The answer to a request for an operation."""
        operation = request.url.path.strip("/")
        if not self.is_ready:
            raise Refused(
                503, self.trouble or "expected a model that is ready; got one that is compiled; ask again soon"
            )
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind not in {"application/json", ARROW}:
            raise Refused(415, f"expected application/json or {ARROW}; got {kind[:80]!r}; name one of these")
        body = await self._body(request)
        assert self.batches is not None
        if self.batches.waiting >= self.limits.waiting:
            raise Full
        options = dict(request.query_params)
        work = await run_in_threadpool(
            work_of, self.fitted, self.limits, operation, body, options, is_arrow=kind == ARROW
        )
        result = await self.batches.result(work.key, work.rows, work)
        as_arrow = ARROW in request.headers.get("accept", "")
        notes = getattr(work.data, "notes", ())
        content = await run_in_threadpool(written, self.fitted, result, notes, as_arrow=as_arrow)
        return Response(content, media_type=ARROW if as_arrow else "application/json")

    async def _body(self, request: Request) -> bytes:
        """The body of a request, as far as it is allowed to be."""
        most = self.limits.body
        too_large = Refused(413, f"expected a body of at most {most:,} bytes; got more; send fewer rows at once")
        if int(request.headers.get("content-length", "0") or 0) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.patience):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise Refused(
                408, f"expected the body within {self.limits.patience:g} seconds; got less; send it faster"
            ) from None
        return bytes(body)

    def check(self, request: Request) -> None:
        """Refuses requests of other hosts, of other pages in a browser, and those without the token.

        Raises:
            Refused: It is one of these.
        """
        host = host_name(request.headers.get("host", ""))
        if host not in self.limits.hosts:
            raise Refused(
                421, f"expected a request to {', '.join(self.limits.hosts)}; got {host[:80]!r}; see --allow-host"
            )
        origin = request.headers.get("origin")
        if origin is not None and not is_among(origin, self.limits.hosts):
            raise Refused(
                403, "expected a request of this host; got one of another page; call the service from a program"
            )
        if self.limits.token is None or request.url.path in OPEN:
            return
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.limits.token}".encode()):
            raise Refused(401, "expected Authorization: Bearer TOKEN; got another or none; ask who runs the service")

    def schema(self, request: Request) -> Response:
        """What the data of the model are."""
        schema = msgspec.structs.replace(self.fitted.schema, rows=(), row_counts=())
        return Response(msgspec.json.encode(schema), media_type="application/json")

    def health(self, request: Request) -> Response:
        """Whether the model is ready."""
        status = "ready" if self.is_ready else "failed" if self.trouble else "compiling"
        return JSONResponse({"status": status}, 200 if self.is_ready else 503)

    def metrics(self, request: Request) -> Response:
        """Counts and times, in the text format of Prometheus."""
        assert self.batches is not None
        lines = ["# TYPE reparax_requests_total counter"]
        lines += [
            f'reparax_requests_total{{operation="{name}",status="{status}"}} {count}'
            for (name, status), count in sorted(self.counts.items())
        ]
        lines += ["# TYPE reparax_seconds_total counter"]
        lines += [
            f'reparax_seconds_total{{operation="{name}"}} {total:.6f}' for name, total in sorted(self.seconds.items())
        ]
        lines += ["# TYPE reparax_batches_total counter", f"reparax_batches_total {self.batches.sizes[0]}"]
        lines += [
            "# TYPE reparax_batched_requests_total counter",
            f"reparax_batched_requests_total {self.batches.sizes[1]}",
        ]
        lines += ["# TYPE reparax_waiting gauge", f"reparax_waiting {self.batches.waiting}"]
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    def guarded(self, inner: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
        """A route with the checks, whose errors are answers."""

        async def route(request: Request) -> Response:
            began, name = time.perf_counter(), request.url.path.strip("/") or "docs"
            try:
                self.check(request)
                answer = inner(request)
                response = await answer if asyncio.iscoroutine(answer) else answer
            except Refused as error:
                response = _refusal(error.status, str(error))
            except TooMany as error:
                response = _refusal(413, str(error))
            except Full:
                response = _refusal(429, "expected fewer requests at once; got a full queue; ask again in a second")
            except ReparaxError as error:
                response = _refusal(422, str(error))
            except ClientDisconnect:
                response = Response(status_code=499)
            self.counts[name, response.status_code] += 1
            self.seconds[name] += time.perf_counter() - began
            return response

        return route


def _refusal(status: int, text: str) -> Response:
    headers = (
        {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status in {429, 503} else None
    )
    return JSONResponse({"error": text}, status, headers=headers)


def application(fitted: FittedModel, limits: Limits | None = None) -> Starlette:
    """The service of a model as an ASGI application.

    Args:
        fitted: The fitted model.
        limits: What is allowed; by default `Limits()`.

    Raises:
        RecipeError: It is a model of several views.
    """
    fitted.refuse_views("to serve", "use the functions of Python, or serve a model of one of the views")
    service = Service(fitted, limits or Limits())
    about = description(fitted, service.limits, version("reparax"))
    text = json.dumps(about)
    guard = service.guarded
    routes = [Route(f"/{name}", guard(service.answer), methods=["POST"]) for name in OPERATIONS]
    routes += [
        Route(f"/{name}", guard(getattr(service, name)), methods=["GET"]) for name in ("schema", "health", "metrics")
    ]
    routes += [
        Route("/openapi.json", guard(lambda request: Response(text, media_type="application/json")), methods=["GET"]),
        Route("/", guard(lambda request: HTMLResponse(page(about))), methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=service.running)
