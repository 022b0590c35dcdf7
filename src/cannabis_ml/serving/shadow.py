"""The challenger answers in the shadow: photos that others answered, for counts alone."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from cannabis_ml.inference.answer import Answer
from cannabis_ml.serving.bundles import ServedBundles
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.pool import Admission

logger = logging.getLogger(__name__)

IDLE_SECONDS, LOOK_SECONDS = 2.0, 0.01
"""How long a photo waits for a moment without requests, and between two looks for one."""


class ShadowObserver(Protocol):
    """Counts what the shadow does."""

    def observe_shadow(self, bundle: str, same: dict[str, bool], seconds: float) -> None:
        """A photo was answered.

        Args:
            bundle: Id of the challenger.
            same: By head, whether it decides as the champion did.
            seconds: It took.
        """

    def observe_not_shadowed(self, reason: str) -> None:
        """A photo was drawn and not answered: `busy`, or the challenger `failed`."""


@dataclass(frozen=True)
class _Answered:
    photo: bytes
    answer: Answer
    by: LoadedBundle


class Shadow:
    """Lets the challenger answer a share of photos that the champion answered.

    One thread, which begins only while no request is inside, and holds one photo at most: what
    comes meanwhile is dropped, so that a loaded service answers as without it. (A low priority
    would make it worse: who holds the interpreter's lock and gets no time holds up everybody.)
    Nothing of a photo is kept.

    Args:
        bundles: Among them the challenger.
        admission: Knows whether requests are inside.
        share: Of photos, 0 to 1; every n-th, so that it is met exactly.
        observer: Counts.
    """

    def __init__(
        self, bundles: ServedBundles, admission: Admission, share: float, observer: ShadowObserver
    ) -> None:
        self._bundles, self._admission, self._observer = bundles, admission, observer
        self._share, self._due = share, 0.0
        self._waiting: queue.Queue[_Answered | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """End after the photo that is being answered."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def offer(self, photo: bytes, answer: Answer, by: LoadedBundle) -> None:
        """A photo was answered. Returns at once; called by one thread.

        Args:
            photo: Its file.
            answer: The champion's.
            by: Which bundle answered.
        """
        served = self._bundles.served
        if served.challenger is None or by is not served.champion:
            return
        self._due += self._share
        if self._due < 1:
            return
        self._due -= 1
        try:
            self._waiting.put_nowait(_Answered(photo, answer, by))
        except queue.Full:
            self._observer.observe_not_shadowed("busy")

    def _work(self) -> None:
        while (answered := self._waiting.get()) is not None:
            if not self._is_idle_soon():
                self._observer.observe_not_shadowed("busy")
                continue
            try:
                self._answer(answered)
            except Exception:
                logger.exception("The challenger could not answer a photo")
                self._observer.observe_not_shadowed("failed")

    def _is_idle_soon(self) -> bool:
        end = time.monotonic() + IDLE_SECONDS
        while self._admission.inside:
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _answer(self, answered: _Answered) -> None:
        with self._bundles.lent_challenger() as challenger:
            if challenger is None:
                return
            # The tier that the person was answered by, where the challenger has it.
            champion_tier = answered.answer.tier or ""
            tier = champion_tier if champion_tier in challenger.tiers else challenger.tiers[-1]
            start = time.perf_counter()
            found = challenger.answer(answered.photo, tier)
            seconds = time.perf_counter() - start
            same = {
                name: head.decided == found[name].decided
                for name, head in answered.answer.items()
                if name in found
            }
            self._observer.observe_shadow(challenger.id, same, seconds)
