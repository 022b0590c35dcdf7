"""Work on many photos at once, in order, without holding many."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 8
"""Results per worker that may wait to be taken: bounds memory while one photo takes long."""


def available_workers() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None
) -> Iterator[R]:
    """Apply `function` in threads and yield the results in the order of `items`.

    For functions that release the interpreter while they work, as reading, hashing, decoding and
    encoding do. `items` is consumed little by little, so it may be longer than memory.

    Args:
        function: Safe to call from several threads.
        items: Anything that can be gone through once.
        workers: Threads; None takes one per available core.

    Raises:
        Exception: The first that `function` raises, in the order of `items`; what has not begun
            by then is dropped.
    """
    workers = workers or available_workers()
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
