"""Requests that are computed together: a bounded queue, and one thread that computes."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any


class Full(Exception):
    """Too many requests wait."""


@dataclass
class Job:
    """A request that waits.

    Attributes:
        key: What it has in common with the requests that may be computed along with it; None if it is computed alone.
        rows: How many rows it has.
        payload: What is computed.
        result: The result, once it is there.
    """

    key: Hashable
    rows: int
    payload: Any
    result: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches:
    """Computes jobs one batch after the other, in the order in which they came.

    Args:
        compute: Computes the payloads of one batch, all of the same key, and gives a result for each.
        most_waiting: The most jobs that wait.
        most_rows: The most rows of a batch of several jobs.
        delay: How long a job waits for others, in seconds.
    """

    def __init__(
        self, compute: Callable[[Sequence[Any]], Sequence[Any]], most_waiting: int, most_rows: int, delay: float
    ) -> None:
        self._compute, self._most_waiting, self._most_rows, self._delay = compute, most_waiting, most_rows, delay
        self._waiting: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reparax-compute")
        self._task: asyncio.Task | None = None
        self.sizes: list[int] = [0, 0]  # batches, and requests in them

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begins to compute."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends; jobs that still wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in self._waiting:
            job.result.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def result(self, key: Hashable, rows: int, payload: Any) -> Any:
        """The result of a job.

        Raises:
            Full: Too many jobs wait.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Full
        job = Job(key, rows, payload)
        self._waiting.append(job)
        self._arrived.set()
        return await job.result

    async def alone(self, function: Callable[[], Any]) -> Any:
        """The result of a function that is computed by the thread at once."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._waiting and self._waiting[0].key is not None:
                await asyncio.sleep(self._delay)
            batch = self._taken()
            if not self._waiting:
                self._arrived.clear()
            if not batch:
                continue
            self.sizes[0] += 1
            self.sizes[1] += len(batch)
            try:
                results = await loop.run_in_executor(self._thread, self._compute, [job.payload for job in batch])
            except Exception as error:  # every request gets an answer
                results = [error] * len(batch)
            for job, result in zip(batch, results, strict=True):
                if job.result.done():  # its client is gone
                    continue
                if isinstance(result, Exception):
                    job.result.set_exception(result)
                else:
                    job.result.set_result(result)

    def _taken(self) -> list[Job]:
        """The first job, and those of the same key behind it as far as the rows allow; the others keep their order."""
        while self._waiting and self._waiting[0].result.done():
            self._waiting.popleft()
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        batch, rows, kept = [first], first.rows, deque[Job]()
        while self._waiting and first.key is not None:
            job = self._waiting.popleft()
            if job.result.done():
                continue
            if job.key == first.key and rows + job.rows <= self._most_rows:
                batch.append(job)
                rows += job.rows
            else:
                kept.append(job)
        self._waiting.extendleft(reversed(kept))
        return batch
