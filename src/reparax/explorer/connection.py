"""One page: its messages are read, put in order, computed, and answered."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from reparax.errors import DataError, ReparaxError
from reparax.explorer.frames import Answer, written
from reparax.explorer.limits import Bucket, Limits
from reparax.explorer.messages import LOOKS, SLOW, Color, Decode, Message, message_of, number_of
from reparax.explorer.workers import Worker

if TYPE_CHECKING:
    from reparax.explorer.explorer import Explorer

MOST_REFUSED = 2000
"""A page that goes on and on after so many refused messages is sent away."""
POLICY = 1008


class Connection:
    """A page.

    Args:
        socket: Its connection.
        explorer: Gives what answers, once it is loaded.
        looks: The thread of answers that need no compiled program.
        quick: The thread that computes most answers.
        slow: The one of answers that take long.
        limits: What is allowed.
        say: Told of errors that are no fault of the user.
        on_message: Called for each message that the user waits for.
    """

    def __init__(
        self,
        socket: WebSocket,
        explorer: "Callable[[], Awaitable[Explorer]]",
        looks: Worker,
        quick: Worker,
        slow: Worker,
        limits: Limits,
        say: Callable[[str], None],
        on_message: Callable[[], None],
    ) -> None:
        self._socket, self._explorer, self._limits, self._say = socket, explorer, limits, say
        self._on_message = on_message
        self._looks, self._quick, self._slow = looks, quick, slow
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()
        self._bucket, self._refused = Bucket(limits.rate, limits.burst), 0
        self._tasks: set[asyncio.Task] = set()

    async def run(self) -> None:
        """Answers until the page is closed."""
        await self._socket.accept()
        self._begin(self._answer_in_order())
        try:
            while True:
                received = await self._socket.receive()
                if received["type"] == "websocket.disconnect":
                    return
                await self._receive(received.get("text"))
        except (WebSocketDisconnect, RuntimeError):  # it is gone
            return
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, text: str | None) -> None:
        if not self._bucket.takes():
            await self._refuse(text, f"at most {self._limits.rate:g} messages a second", "more", "send fewer")
            return
        if text is None:
            await self._refuse(None, "messages of text", "bytes", "send JSON")
            return
        try:
            message = message_of(text)
        except DataError as error:
            await self._send_error(number_of(text), str(error))
            return
        if not isinstance(message, Color):  # a page asks again and again how far the scores are
            self._on_message()
        if isinstance(message, Decode):
            await self._drop_decodes()
        if len(self._waiting) + len(self._tasks) > self._limits.waiting:
            await self._refuse(text, f"at most {self._limits.waiting} messages that wait", "more", "wait for answers")
        elif isinstance(message, LOOKS):
            self._begin(self._answer(message, self._looks))
        elif isinstance(message, SLOW):
            self._begin(self._answer(message, self._slow))
        else:
            self._waiting.append(message)
            self._arrived.set()

    async def _refuse(self, text: str | None, expected: str, got: str, cure: str) -> None:
        self._refused += 1
        if self._refused > MOST_REFUSED:
            await self._socket.close(POLICY)
            return
        error = DataError(expected=expected, got=got, cure=cure)
        await self._send_error(None if text is None else number_of(text), str(error))

    async def _drop_decodes(self) -> None:
        """Of vectors that wait to be decoded only the last one is, which the user sees."""
        dropped = [message for message in self._waiting if isinstance(message, Decode)]
        for message in dropped:
            self._waiting.remove(message)
            await self._send(written(message.id, Answer({"dropped": True})))

    async def _answer_in_order(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            await self._answer(self._waiting.popleft(), self._quick)

    async def _answer(self, message: Message, worker: Worker) -> None:
        try:
            explorer = await self._explorer()
            content = await worker.result(lambda: written(message.id, explorer.answer(message)))
        except ReparaxError as error:
            await self._send_error(message.id, str(error))
        except Exception as error:
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self._say(f"error: an operation failed inside reparax: {words}")
            await self._send_error(
                message.id, f"expected to compute this; got an error inside reparax ({words}); please report it"
            )
        else:
            await self._send(content)

    async def _send_error(self, number: int | None, text: str) -> None:
        await self._send(written(number, Answer({"error": {"message": text}})))

    async def _send(self, content: str | bytes) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # it is gone, which the reader notices
            async with self._sending:
                if self._socket.application_state != WebSocketState.CONNECTED:
                    return
                if isinstance(content, str):
                    await self._socket.send_text(content)
                else:
                    await self._socket.send_bytes(content)
