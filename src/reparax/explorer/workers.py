"""Threads that compute one thing after the other, for programs that must not wait."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread that computes one function after the other.

    It does not keep the process alive: a program that XLA compiles cannot be interrupted.

    Args:
        name: The name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[asyncio.Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def result(self, function: Callable[[], Any]) -> Any:
        """What a function gives, computed once those before it are done."""
        future = asyncio.get_running_loop().create_future()
        self._jobs.put((future, function))
        return await future

    def stop(self) -> None:
        """Ends the thread after what it is computing."""
        self._jobs.put(None)

    def has_ended(self, seconds: float) -> bool:
        """Whether the thread ends within some seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            if future.cancelled():  # nobody waits any more
                continue
            try:
                result, error = function(), None
            except Exception as caught:  # goes to who asked
                result, error = None, caught
            try:
                future.get_loop().call_soon_threadsafe(_finish, future, result, error)
            except RuntimeError:  # the program has ended
                return


def _finish(future: asyncio.Future, result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
