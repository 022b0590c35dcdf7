"""Work on many photos at once, in order, without holding many."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cannabis_ml._io.engine import THREADS, Engine

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
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int | None = None,
    engine: Engine = THREADS,
) -> Iterator[R]:
    """Apply `function` in threads or on a cluster and yield the results in the order of `items`.

    Threads are for functions that release the interpreter while they work, as reading, hashing,
    decoding and encoding do. `items` is consumed little by little, so it may be longer than memory.

    Args:
        function: Safe to call from several threads; for a cluster, picklable, as its items are.
        items: Anything that can be gone through once.
        workers: Threads; None takes one per available core. A cluster has its own.
        engine: Where the work is done.

    Raises:
        EngineError: If the cluster cannot do it.
        Exception: The first that `function` raises, in the order of `items`; what has not begun
            by then is dropped.
    """
    if engine.is_cluster:
        from cannabis_ml._io.cluster import map_on_cluster

        yield from map_on_cluster(function, items, engine)
        return
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
