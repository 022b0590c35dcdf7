"""A bundle that is opened for serving: its models, reports, and the tiers of a router."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_router import rule_of
from cannabis_ml.inference.golden import GoldenReport
from cannabis_ml.inference.golden_check import check_opened
from cannabis_ml.inference.heat_map import HeatMap
from cannabis_ml.inference.local_tier import tier_answer
from cannabis_ml.inference.report import Report
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.router import Router, TierAnswer
from cannabis_ml.inference.router_metrics import RouterMetrics
from cannabis_ml.inference.routing import FIXED, RoutingRule
from cannabis_ml.serving.pool import WorkerPool


class LoadedBundle:
    """Models of one bundle, which any thread may ask.

    Args:
        bundle: What answers.
        photo_pixels: Width x height above which a photo is refused.
    """

    def __init__(self, bundle: Bundle, photo_pixels: int) -> None:
        self.bundle = bundle
        self.rule = _rule(bundle)
        self.metrics = RouterMetrics([tier.tier for tier in self.rule.tiers])
        self._photo_pixels = photo_pixels
        self._rules = {tier: bundle.rules(tier) for tier in bundle.tiers}
        self._models = {tier: TierModels(self._opener(tier)) for tier in bundle.tiers}

    @property
    def id(self) -> str:
        """SHA-256 of the manifest."""
        return self.bundle.manifest.content_sha256

    @property
    def tiers(self) -> Sequence[str]:
        """The smallest first."""
        return self.bundle.tiers

    def answer(self, photo: bytes, tier: str) -> Answer:
        """Classes and probabilities for one photo, in this thread.

        Raises:
            UnreadableError: As `report`.
        """
        with self._asked(photo, tier) as (reporter, _, outputs):
            return reporter.predictor.answer(outputs)

    def report(self, photo: bytes, tier: str, language: str) -> Report:
        """As `answer`, with confidence, alternatives and recommendation.

        Raises:
            UnreadableError: If the file gives no photo, or one that is too large.
        """
        return self._answer(photo, tier, language)[0]

    def heat_map(self, photo: bytes, tier: str) -> HeatMap | None:
        """Draw what the answers of a tier rest on; None where it answers no class.

        Raises:
            UnreadableError: As `report`.
        """
        with self._asked(photo, tier) as (reporter, pixels, outputs):
            return reporter.heat_map(pixels, outputs)

    def routed(self, photo: bytes, tier: str, language: str) -> TierAnswer:
        """As `report`, with the scores that decide whether another tier is asked."""
        report, outputs = self._answer(photo, tier, language)
        rules = self._rules[tier]
        return tier_answer(report, outputs, rules.decision, self.rule, rules.unknown)

    def router(self, pool: WorkerPool, language: str) -> Router:
        """Asks the tiers in turn, each in a thread of the pool."""
        tiers = [PooledTier(tier.tier, self, pool, language) for tier in self.rule.tiers]
        return Router(tiers, self.rule, self.metrics)

    def prepare(self, workers: int) -> GoldenReport:
        """Open the models and let them answer for the golden photos on this machine.

        Args:
            workers: Photos answered at once; so many models of a tier are opened where one
                answers one photo at a time.
        """
        with ExitStack() as stack:
            opened = {
                tier: stack.enter_context(models.borrowed()).predictor
                for tier, models in self._models.items()
            }
            report = check_opened(self.bundle, opened)
        for models in self._models.values():
            models.open(workers)
        return report

    def free(self) -> None:
        """Close the models. A photo that comes later opens them again."""
        for models in self._models.values():
            models.close()

    @property
    def opened(self) -> int:
        """How many models are open."""
        return sum(models.opened for models in self._models.values())

    def _answer(
        self, photo: bytes, tier: str, language: str
    ) -> tuple[Report, dict[str, np.ndarray]]:
        with self._asked(photo, tier) as (reporter, pixels, outputs):
            return reporter.report_on(pixels, outputs, language=language), outputs

    @contextmanager
    def _asked(
        self, photo: bytes, tier: str
    ) -> Iterator[tuple[Reporter, np.ndarray, dict[str, np.ndarray]]]:
        """A model that is lent, the photo's pixels, and what the model gives for them."""
        with self._models[tier].borrowed() as reporter:
            pixels = reporter.pixels(photo, max_pixels=self._photo_pixels)
            yield reporter, pixels, reporter.predictor.outputs([pixels])

    def _opener(self, tier: str) -> Callable[[], Reporter]:
        return lambda: Reporter(self.bundle.predictor(tier, threads=1), self._rules[tier])


class TierModels:
    """Opened models of one tier, lent to one thread each.

    ONNX Runtime lets several threads run one session; an interpreter of TFLite files answers one
    photo at a time, so that there is one for each thread that asks at the same time.

    Args:
        open_one: Opens one more.
    """

    def __init__(self, open_one: Callable[[], Reporter]) -> None:
        self._open_one = open_one
        self._lock = threading.Lock()
        self._shared: Reporter | None = None
        self._free: list[Reporter] = []
        self._lent = 0

    @property
    def opened(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._free) + self._lent + (self._shared is not None)

    @contextmanager
    def borrowed(self) -> Iterator[Reporter]:
        """A model that no other thread has; opened where all are lent."""
        with self._lock:
            reporter = self._shared or (self._free.pop() if self._free else self._add())
            is_shared = reporter is self._shared
            self._lent += not is_shared
        try:
            yield reporter
        finally:
            if not is_shared:
                with self._lock:
                    self._lent -= 1
                    self._free.append(reporter)

    def open(self, count: int) -> None:
        """Open so many now, or one that is shared."""
        with self._lock:
            while self._shared is None and len(self._free) + self._lent < count:
                reporter = self._add()
                if reporter is not self._shared:
                    self._free.append(reporter)

    def close(self) -> None:
        """Close those that are not lent."""
        with self._lock:
            self._shared = None
            self._free.clear()

    def _add(self) -> Reporter:
        reporter = self._open_one()
        if reporter.predictor.format == "onnx":
            self._shared = reporter
        return reporter


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
