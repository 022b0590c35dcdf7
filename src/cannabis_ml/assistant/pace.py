"""How fast questions are asked: a rate, waits that grow, and one pause for all threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cannabis_ml.assistant.params import PaceParams
from cannabis_ml.assistant.provider import TryAgainError

T = TypeVar("T")


class Pace:
    """Starts of requests, evenly spaced; a provider that is busy halts all of them.

    Args:
        params: Rate, attempts and waits.
    """

    def __init__(self, params: PaceParams) -> None:
        self._params = params
        self._random = random.Random(params.seed)
        self._lock = threading.Lock()
        self._next = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all waits: nothing more is asked."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def turn(self) -> None:
        """Wait for the next start."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + 60 / self._params.per_minute
        self._stopped.wait(start - now)

    def pause(self, seconds: float) -> None:
        """Let nobody start for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def wait_of(self, attempt: int, after: float | None) -> float:
        """Seconds before attempt `attempt` + 1: as the provider asks, else exponential with jitter.

        Args:
            attempt: 1 after the first.
            after: What the provider asked for.
        """
        if after is not None:
            return min(after, self._params.longest_wait)
        wait = min(self._params.first_wait * 2.0 ** (attempt - 1), self._params.longest_wait)
        with self._lock:
            return wait * self._random.uniform(0.5, 1.0)

    def persist(self, call: Callable[[], T], failed: Callable[[TryAgainError], None]) -> T:
        """Call until it succeeds, at most `attempts` times.

        Args:
            call: Raises `TryAgainError` where another attempt may succeed.
            failed: Told of each such error.

        Raises:
            TryAgainError: The last one.
        """
        attempt = 0
        while True:
            attempt += 1
            self.turn()
            try:
                return call()
            except TryAgainError as error:
                failed(error)
                if attempt >= self._params.attempts or self.is_stopped:
                    raise
                self.pause(self.wait_of(attempt, error.after))
