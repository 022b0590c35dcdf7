"""Taking the bundles of the newest deployment, while requests go on."""

from __future__ import annotations

import asyncio
import logging

from cannabis_ml.errors import CannabisMLError
from cannabis_ml.serving.bundles import Served
from cannabis_ml.serving.deployments import DeploymentRecord, Deployments
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.state import Service, checked_golden

logger = logging.getLogger(__name__)


class Follower:
    """Looks every few seconds whether something else is to answer.

    New bundles are opened and their golden photos answered beside the requests; only then they take
    over. Bundles that do not agree with their golden photos on this machine never do.

    Args:
        service: Whose bundles are exchanged.
        deployments: Where to look.
        taken: The record whose bundles answer already.
    """

    def __init__(self, service: Service, deployments: Deployments, taken: DeploymentRecord) -> None:
        self._service, self._deployments = service, deployments
        self._looked_at = taken.number
        self._fault = ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._service.settings.follow_seconds)
            await self.look()

    async def look(self) -> None:
        """Take the newest deployment, if it was not looked at yet."""
        try:
            record = await asyncio.to_thread(self._deployments.current)
            if record is None or record.number == self._looked_at:
                return
            served = await asyncio.to_thread(self._opened, record)
        except Exception as error:  # a disk that is away comes back; nothing ends the following
            if str(error) != self._fault:
                is_known = isinstance(error, CannabisMLError | OSError)
                logger.error("The deployment cannot be followed: %s", error, exc_info=not is_known)
                self._service.metrics.observe_switch("failed")
            self._fault = str(error)
            return
        self._looked_at, self._fault = record.number, ""
        if served.fault or served.golden is None or not served.golden.passed:
            reason = served.fault or "its golden photos get other answers on this machine"
            logger.error("Deployment %d is not taken: %s", record.number, reason)
            self._service.metrics.observe_switch("refused")
            return
        self._service.bundles.switch(served)
        self._service.metrics.observe_switch("taken")
        logger.info(
            "Deployment %d is taken: %s answers, by %s",
            record.number,
            record.champion[:12],
            record.by,
        )

    def _opened(self, record: DeploymentRecord) -> Served:
        """The bundles of a record, checked; those that answer already are not opened again."""
        before = self._service.bundles.served
        pixels = self._service.settings.limits.photo_pixels

        def loaded(bundle_id: str) -> LoadedBundle:
            open_now = before.find(bundle_id)
            return open_now or LoadedBundle(self._deployments.open(bundle_id), pixels)

        challenger = None if record.challenger is None else loaded(record.challenger)
        champion = loaded(record.champion)
        golden = before.golden if champion is before.champion else None
        return checked_golden(Served(champion, challenger, golden), self._service.settings.workers)
