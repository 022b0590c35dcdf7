"""The bundles that answer: champion and challenger, who gets which, and the switch to others."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cannabis_ml.inference.golden import GoldenReport
from cannabis_ml.serving.models import LoadedBundle


@dataclass(frozen=True)
class Served:
    """What answers at one time.

    Attributes:
        champion: Answers whoever the challenger does not.
        challenger: Answers a share of people, or nobody.
        golden: What the champion answers for its golden photos; None until that is known.
        fault: Why that could not be found out; empty if it could.
    """

    champion: LoadedBundle
    challenger: LoadedBundle | None = None
    golden: GoldenReport | None = None
    fault: str = ""

    @property
    def every(self) -> list[LoadedBundle]:
        """The champion first."""
        return [self.champion, *([self.challenger] if self.challenger else [])]

    def find(self, bundle_id: str) -> LoadedBundle | None:
        """The one of this id; None if it does not answer."""
        return next((loaded for loaded in self.every if loaded.id == bundle_id), None)


class ServedBundles:
    """Lends a bundle to each request, and exchanges bundles under requests that go on.

    A request keeps the bundle that it began with. The models of a bundle that was taken out are
    closed when the last request that has it ends. Thread-safe.

    Args:
        served: What answers first.
        share: Of people whom the challenger answers, 0 to 1.
    """

    def __init__(self, served: Served, share: float = 0.0) -> None:
        self._served = served
        self._share = share
        self._lock = threading.Lock()
        self._lent: Counter[LoadedBundle] = Counter()

    @property
    def served(self) -> Served:
        return self._served

    def of(self, person: str | None) -> LoadedBundle:
        """Who answers a person: the same bundle every time, as long as bundles do not change.

        Args:
            person: A pseudonym; None stands for people who give none, whom the champion answers.
        """
        return self._of(self._served, person)

    @contextmanager
    def lent(self, person: str | None = None) -> Iterator[LoadedBundle]:
        """The bundle that answers a person, open as long as it is lent."""
        with self._lock:
            loaded = self._of(self._served, person)
            self._lent[loaded] += 1
        try:
            yield loaded
        finally:
            self._give_back(loaded)

    @contextmanager
    def lent_challenger(self) -> Iterator[LoadedBundle | None]:
        """The challenger, open as long as it is lent; None where there is none."""
        with self._lock:
            loaded = self._served.challenger
            if loaded is not None:
                self._lent[loaded] += 1
        try:
            yield loaded
        finally:
            if loaded is not None:
                self._give_back(loaded)

    def switch(self, served: Served) -> None:
        """Let others answer from now on."""
        with self._lock:
            before, self._served = self._served, served
            for loaded in before.every:
                if loaded not in served.every and not self._lent[loaded]:
                    del self._lent[loaded]
                    loaded.free()

    def lent_now(self) -> dict[str, int]:
        """By id of a bundle, how many requests have it."""
        with self._lock:
            return {loaded.id: count for loaded, count in self._lent.items()}

    def _give_back(self, loaded: LoadedBundle) -> None:
        with self._lock:
            self._lent[loaded] -= 1
            if self._lent[loaded] == 0:
                del self._lent[loaded]
                if loaded not in self._served.every:
                    loaded.free()

    def _of(self, served: Served, person: str | None) -> LoadedBundle:
        if served.challenger is None or person is None:
            return served.champion
        drawn = place_of(person, served.challenger.id)
        return served.challenger if drawn < self._share else served.champion


def place_of(person: str, drawing: str) -> float:
    """A number in [0, 1) that follows from a pseudonym, evenly spread over pseudonyms.

    Every process draws the same one, so that no list of people is kept.

    Args:
        person: The pseudonym.
        drawing: Another drawing spreads people anew: not the same ones get every challenger.
    """
    hashed = hashlib.sha256(f"{drawing}:{person}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(hashed[:6], "big") / (1 << 48)
