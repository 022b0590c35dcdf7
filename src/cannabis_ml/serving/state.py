"""What one process of the service holds."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from cannabis_ml.inference.answer import Answer
from cannabis_ml.serving.bundles import Served, ServedBundles
from cannabis_ml.serving.guard import Guard
from cannabis_ml.serving.metrics import ServiceMetrics
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.settings import ServiceSettings
from cannabis_ml.serving.shadow import Shadow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """All that requests need."""

    settings: ServiceSettings
    pool: WorkerPool
    admission: Admission
    bundles: ServedBundles
    metrics: ServiceMetrics
    guard: Guard
    shadow: Shadow

    @property
    def loaded(self) -> LoadedBundle:
        """The champion. A request that answers photos takes `bundles.lent` instead."""
        return self.bundles.served.champion

    @property
    def is_ready(self) -> bool:
        """Whether this machine gives the answers that the champion promises."""
        golden = self.bundles.served.golden
        return golden is not None and golden.passed

    @property
    def not_ready(self) -> str:
        """Why it is not ready; empty if it is."""
        served = self.bundles.served
        if served.fault:
            return served.fault
        if served.golden is None:
            return "The golden photos are being checked."
        return "" if self.is_ready else "The golden photos get other answers on this machine."

    def answered(self, photo: bytes, answer: Answer, loaded: LoadedBundle) -> None:
        """Count an answer, and let the challenger answer too where that is drawn.

        Args:
            photo: Its file.
            answer: What the person got.
            loaded: Which bundle answered.
        """
        self.metrics.observe_answer(answer, loaded.id)
        self.shadow.offer(photo, answer, loaded)

    async def prepare(self) -> None:
        """Open the models of what is served first, and compare their golden answers."""
        served = self.bundles.served
        checked = await asyncio.to_thread(checked_golden, served, self.settings.workers)
        self.bundles.switch(checked)
        if self.is_ready:
            logger.info("Ready: %s", served.champion.bundle)
        else:
            logger.error("%s", self.not_ready)


def checked_golden(served: Served, workers: int) -> Served:
    """Open models, and compare the answers for golden photos with what bundles promise.

    Args:
        served: The champion is checked unless its `golden` is there.
        workers: Photos answered at once.

    Returns:
        With the champion's result, and without a challenger that answers otherwise here.
    """
    try:
        golden = served.golden or served.champion.prepare(workers)
    except Exception as error:
        logger.exception("The golden photos could not be checked")
        return replace(served, fault=f"The golden photos could not be checked: {error}")
    try:
        if served.challenger is None or served.challenger.prepare(workers).passed:
            return replace(served, golden=golden)
        logger.error("%s gives other answers here and is left out", served.challenger.bundle)
    except Exception:
        logger.exception("%s cannot answer and is left out", served.challenger)
    return replace(served, golden=golden, challenger=None)
