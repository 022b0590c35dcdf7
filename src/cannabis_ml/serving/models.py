"""A bundle that is opened for serving: models per thread, reports, and the tiers of a router."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_router import rule_of
from cannabis_ml.inference.golden import GoldenReport
from cannabis_ml.inference.local_tier import tier_answer
from cannabis_ml.inference.report import Report
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.router import Router, TierAnswer
from cannabis_ml.inference.router_metrics import RouterMetrics
from cannabis_ml.inference.routing import FIXED, RoutingRule
from cannabis_ml.serving.pool import WorkerPool


class LoadedBundle:
    """Models of one bundle, opened once per thread: an interpreter answers one photo at a time.

    Args:
        bundle: What answers.
        photo_pixels: Width x height above which a photo is refused.
    """

    def __init__(self, bundle: Bundle, photo_pixels: int) -> None:
        self.bundle = bundle
        self.rule = _rule(bundle)
        self.metrics = RouterMetrics([tier.tier for tier in self.rule.tiers])
        self._photo_pixels = photo_pixels
        self._of_thread = threading.local()
        self._rules = {tier: bundle.rules(tier) for tier in bundle.tiers}

    @property
    def id(self) -> str:
        """SHA-256 of the manifest."""
        return self.bundle.manifest.content_sha256

    @property
    def tiers(self) -> Sequence[str]:
        """The smallest first."""
        return self.bundle.tiers

    def report(self, photo: bytes, tier: str, language: str) -> Report:
        """Answer for one photo in this thread.

        Raises:
            UnreadableError: If the file gives no photo, or one that is too large.
        """
        return self._answer(photo, tier, language)[0]

    def routed(self, photo: bytes, tier: str, language: str) -> TierAnswer:
        """As `report`, with the scores that decide whether another tier is asked."""
        report, outputs = self._answer(photo, tier, language)
        rules = self._rules[tier]
        return tier_answer(report, outputs, rules.decision, self.rule, rules.unknown)

    def router(self, pool: WorkerPool, language: str) -> Router:
        """Asks the tiers in turn, each in a thread of the pool."""
        tiers = [PooledTier(tier.tier, self, pool, language) for tier in self.rule.tiers]
        return Router(tiers, self.rule, self.metrics)

    def check_golden(self) -> GoldenReport:
        """Let every model file answer for the golden photos on this machine."""
        return self.bundle.check_golden()

    def _answer(
        self, photo: bytes, tier: str, language: str
    ) -> tuple[Report, dict[str, np.ndarray]]:
        reporter = self._reporter(tier)
        pixels = reporter.pixels(photo, max_pixels=self._photo_pixels)
        outputs = reporter.predictor.outputs([pixels])
        return reporter.report_on(pixels, outputs, language=language), outputs

    def _reporter(self, tier: str) -> Reporter:
        opened: dict[str, Reporter] = self._of_thread.__dict__
        if tier not in opened:
            opened[tier] = Reporter(self.bundle.predictor(tier, threads=1), self._rules[tier])
        return opened[tier]


class PooledTier:
    """A tier that answers in the threads of a pool.

    Args:
        name: Of the tier.
        loaded: Its bundle.
        pool: Its threads.
        language: Of reports.
    """

    def __init__(self, name: str, loaded: LoadedBundle, pool: WorkerPool, language: str) -> None:
        self.name = name
        self._loaded, self._pool, self._language = loaded, pool, language

    async def ask(self, photo: bytes) -> TierAnswer:
        return await self._pool.run(lambda: self._loaded.routed(photo, self.name, self._language))


def _rule(bundle: Bundle) -> RoutingRule:
    """The bundle's own, or thresholds that nothing was measured for."""
    if bundle.routing is not None:
        return bundle.routing
    before_last = len(bundle.tiers) - 1
    more = [FIXED[-1]] * max(0, before_last - len(FIXED))
    return rule_of(bundle, [*FIXED, *more][:before_last])
