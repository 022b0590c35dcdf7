"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.report import Report
from cannabis_ml.serving.bundles import ServedBundles
from cannabis_ml.serving.pool import Admission
from cannabis_ml.serving.requests_log import route_of

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)


class ServiceMetrics:
    """Counters and histograms of one process. Thread-safe; memory does not grow with requests.

    Args:
        admission: Whose state is shown.
        bundles: Which are shown, each with the counts of its router.
    """

    def __init__(self, admission: Admission, bundles: ServedBundles) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cannabis_ml_requests",
            "Finished requests; status 0 where the client left first",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "cannabis_ml_request_seconds",
            "Time of a request",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._confidence = Histogram(
            "cannabis_ml_confidence",
            "Calibrated confidence of answers",
            ["bundle", "tier", "head"],
            buckets=SHARES,
            registry=self._registry,
        )
        self._known = Counter(
            "cannabis_ml_reports",
            "Answered photos by whether they are unlike those of training",
            ["bundle", "tier", "unknown"],
            registry=self._registry,
        )
        self._switches = Counter(
            "cannabis_ml_switches",
            "Deployments that were looked at; refused: golden photos get other answers here",
            ["outcome"],
            registry=self._registry,
        )
        self._shadowed = Counter(
            "cannabis_ml_shadow_answers",
            "Answers of the challenger in the shadow, by whether it decides as the champion",
            ["bundle", "head", "same"],
            registry=self._registry,
        )
        self._shadow_seconds = Histogram(
            "cannabis_ml_shadow_seconds",
            "Time of an answer in the shadow",
            ["bundle"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._not_shadowed = Counter(
            "cannabis_ml_shadow_dropped",
            "Photos that were drawn for the shadow and not answered there",
            ["reason"],
            registry=self._registry,
        )
        inside = Gauge(
            "cannabis_ml_requests_inside", "Requests that were let in", registry=self._registry
        )
        inside.set_function(lambda: admission.inside)
        turned_away = Gauge(
            "cannabis_ml_requests_turned_away",
            "Requests that found too many waiting, since the start",
            registry=self._registry,
        )
        turned_away.set_function(lambda: admission.turned_away)
        self._registry.register(_OfBundles(bundles))

    def observe_request(self, scope: Scope, status: int, seconds: float) -> None:
        """A request has ended."""
        route = route_of(scope)
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_answer(self, answer: Answer, bundle: str) -> None:
        """A photo was answered.

        Args:
            answer: Whether the photo is unknown is counted of reports alone.
            bundle: Id of the bundle that gave it.
        """
        tier, short = answer.tier or "", shown(bundle)
        for name, head in answer.items():
            if isinstance(head.decided, str):
                confidence = float(head.probs[head.classes.index(head.decided)])
                self._confidence.labels(short, tier, name).observe(confidence)
        if isinstance(answer, Report):
            is_unknown = answer.unknown is not None and answer.unknown.is_unknown
            self._known.labels(short, tier, "yes" if is_unknown else "no").inc()

    def observe_switch(self, outcome: Literal["taken", "refused", "failed"]) -> None:
        """A deployment was looked at."""
        self._switches.labels(outcome).inc()

    def observe_shadow(self, bundle: str, same: dict[str, bool], seconds: float) -> None:
        """See `shadow.ShadowObserver`."""
        for head, is_same in same.items():
            self._shadowed.labels(shown(bundle), head, "yes" if is_same else "no").inc()
        self._shadow_seconds.labels(shown(bundle)).observe(seconds)

    def observe_not_shadowed(self, reason: str) -> None:
        """See `shadow.ShadowObserver`."""
        self._not_shadowed.labels(reason).inc()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


def shown(bundle: str) -> str:
    """A bundle's id as a label, and as people compare it."""
    return bundle[:12]


class _OfBundles(Collector):
    """What the bundles that are served count themselves."""

    def __init__(self, bundles: ServedBundles) -> None:
        self._bundles = bundles

    def collect(self) -> Iterator[Metric]:
        served, lent = self._bundles.served, self._bundles.lent_now()
        info = GaugeMetricFamily(
            "cannabis_ml_bundle", "What is served, by its role", labels=["bundle", "role"]
        )
        models = GaugeMetricFamily("cannabis_ml_models_open", "Opened models", labels=["bundle"])
        held = GaugeMetricFamily(
            "cannabis_ml_bundle_requests",
            "Requests that are being answered, also by bundles that are served no more",
            labels=["bundle"],
        )
        for role, loaded in zip(("champion", "challenger"), served.every, strict=False):
            info.add_metric([shown(loaded.id), role], 1)
            models.add_metric([shown(loaded.id)], loaded.opened)
        for bundle, count in lent.items():
            held.add_metric([shown(bundle)], count)
        yield from (info, models, held)
        families: dict[str, Metric] = {}
        for loaded in served.every:
            for family in loaded.metrics.collect():
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {"bundle": shown(loaded.id), **sample.labels}
                    kept.add_sample(sample.name, labels, sample.value)
        yield from families.values()
