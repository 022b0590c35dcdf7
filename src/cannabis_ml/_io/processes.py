"""A lazily started process pool for GIL-bound work."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TypeVar

import cv2

from cannabis_ml._io.parallel import available_workers

logger = logging.getLogger(__name__)

R = TypeVar("R")

START_AFTER = 250
"""Calls before processes are started: they take seconds to come up, little work is done sooner."""


class Helpers:
    """Runs functions in this process at first, and in processes of their own once those are up.

    To be called from as many threads as there are workers; the results are the same either way.
    A context manager: leaving it ends the processes.

    Args:
        workers: Processes; None takes one per available core, 1 starts none.
        start_after: Calls after which processes are started.
    """

    def __init__(self, workers: int | None = None, start_after: int | None = None) -> None:
        self._workers = workers or available_workers()
        self._start_after = START_AFTER if start_after is None else start_after
        self._lock = threading.Lock()
        self._calls = 0
        self._pool: ProcessPoolExecutor | None = None
        self._starting: list[Future[int]] = []
        self._up = False

    def __enter__(self) -> Helpers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool, self._up = None, False

    def run(self, function: Callable[..., R], *args: object) -> R:
        """Call `function`, here or in another process; it and its arguments must be picklable."""
        pool = self._ready()
        return function(*args) if pool is None else pool.submit(function, *args).result()

    def _ready(self) -> ProcessPoolExecutor | None:
        with self._lock:
            self._calls += 1
            if self._pool is None and self._calls > self._start_after and self._workers > 1:
                self._start()
            if not self._up and self._starting and all(f.done() for f in self._starting):
                self._up = all(f.exception() is None for f in self._starting)
                if not self._up:
                    logger.warning(
                        "No processes could be started (%s)", self._starting[0].exception()
                    )
                self._starting = []
            return self._pool if self._up else None

    def _start(self) -> None:
        # Spawned, not forked: this process may hold locks of PyTorch's or OpenMP's threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self._workers, context, initializer=_begin)
        self._starting = [self._pool.submit(os.getpid) for _ in range(self._workers)]


def end_with_parent() -> None:
    """Let this process end when the one that started it does; it would wait for work for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _begin() -> None:
    cv2.setNumThreads(1)
    end_with_parent()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
