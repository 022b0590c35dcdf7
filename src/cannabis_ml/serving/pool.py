"""Threads that answer photos, and a bound on how many requests are let in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from cannabis_ml.serving.problems import overloaded

Result = TypeVar("Result")

_SMOOTHING = 0.1


class WorkerPool:
    """Threads that work one job each at a time. A job that is cancelled in time is never begun.

    Args:
        workers: How many threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._seconds = 0.05

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Let a thread work; the future may be cancelled."""
        return self._threads.submit(self._timed, work)

    async def run(self, work: Callable[[], Result]) -> Result:
        """As `submit`, awaited; cancelled with who awaits it."""
        return await asyncio.wrap_future(self.submit(work))

    @property
    def seconds_per_job(self) -> float:
        """A running mean."""
        return self._seconds

    def close(self) -> None:
        """End the threads after what they do; what waits is cancelled."""
        self._threads.shutdown(cancel_futures=True)

    def _timed(self, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds += _SMOOTHING * (time.perf_counter() - start - self._seconds)


class Admission:
    """Limits the requests that are inside at once; the others get 503 with `Retry-After`.

    Memory is bounded by it: a photo is read only after its request was let in.

    Args:
        pool: Works for those that are let in.
        waiting: How many may be in besides those that are worked for.
    """

    def __init__(self, pool: WorkerPool, waiting: int) -> None:
        self._pool = pool
        self._most = pool.workers + waiting
        self._lock = threading.Lock()
        self.inside = 0
        self.turned_away = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be let in.

        Raises:
            ServiceError: 503 with `Retry-After` if there is no room.
        """
        with self._lock:
            if self.inside >= self._most:
                self.turned_away += 1
                raise overloaded(self.inside * self._pool.seconds_per_job / self._pool.workers)
            self.inside += 1
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1
