"""What one process of the service holds."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from cannabis_ml.inference.golden import GoldenReport
from cannabis_ml.serving.guard import Guard
from cannabis_ml.serving.metrics import ServiceMetrics
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.settings import ServiceSettings

logger = logging.getLogger(__name__)


@dataclass
class Readiness:
    """Whether this machine gives the answers that the bundle promises.

    Attributes:
        golden: None until the golden photos were answered.
        fault: Why they could not be; empty if they could.
    """

    golden: GoldenReport | None = None
    fault: str = ""

    @property
    def is_ready(self) -> bool:
        return self.golden is not None and self.golden.passed

    @property
    def reason(self) -> str:
        """Why it is not ready; empty if it is."""
        if self.fault:
            return self.fault
        if self.golden is None:
            return "The golden photos are being checked."
        return "" if self.is_ready else "The golden photos get other answers on this machine."


@dataclass(frozen=True)
class Service:
    """All that requests need."""

    settings: ServiceSettings
    pool: WorkerPool
    admission: Admission
    loaded: LoadedBundle
    metrics: ServiceMetrics
    guard: Guard
    readiness: Readiness = field(default_factory=Readiness)

    async def check_golden(self) -> None:
        """Compare the answers for the golden photos with what the bundle promises."""
        try:
            self.readiness.golden = await self.pool.run(self.loaded.check_golden)
        except Exception as error:
            logger.exception("The golden photos could not be checked")
            self.readiness.fault = f"The golden photos could not be checked: {error}"
        if self.readiness.is_ready:
            logger.info("Ready: %s", self.loaded.bundle)
        else:
            logger.error("%s", self.readiness.reason)
