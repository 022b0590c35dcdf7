"""A bound on how many do something at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cannabis_ml.serving.problems import ServiceError

AGAIN_IN_S = 10


class Places:
    """So many at once; the others get status 503. Thread-safe.

    Args:
        most: How many.
        doing: What, such as `jobs are being sent`.
    """

    def __init__(self, most: int, doing: str) -> None:
        self._most, self._doing = most, doing
        self._lock = threading.Lock()
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place.

        Raises:
            ServiceError: 503 with `Retry-After` if there is none.
        """
        with self._lock:
            if self.taken >= self._most:
                raise ServiceError(
                    503,
                    f"Too many {self._doing}; try again in {AGAIN_IN_S} s.",
                    {"retry-after": str(AGAIN_IN_S)},
                )
            self.taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.taken -= 1
