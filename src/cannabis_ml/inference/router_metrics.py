"""What a router counts: where photos were answered, and how long each tier took.

Counters and histograms of fixed buckets: memory does not grow with photos. Thread-safe.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cannabis_ml.errors import ConfigError

BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Upper ends in milliseconds; one more bucket takes what is longer."""

NOBODY = "none"
"""Stands for photos that no tier answered."""


@dataclass
class _TierCounts:
    asked: int = 0
    failed: int = 0
    accepted: int = 0
    best_so_far: int = 0
    milliseconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


class RouterMetrics:
    """Counters of one router.

    Args:
        tiers: Names, in the order in which they are asked.
    """

    def __init__(self, tiers: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._tiers = {name: _TierCounts() for name in tiers}
        self._unanswered = self._refused = self._abandoned = self._degraded = 0

    def asked(self, tier: str, milliseconds: float, failed: bool = False) -> None:
        """A tier was asked, and answered or failed after so long."""
        with self._lock:
            counts = self._tiers[tier]
            counts.asked += 1
            counts.failed += failed
            counts.milliseconds += milliseconds
            counts.buckets[bisect_left(BUCKETS, milliseconds)] += 1

    def answered(self, tier: str, accepted: bool, degraded: bool = False) -> None:
        """A photo has its final answer."""
        with self._lock:
            if accepted:
                self._tiers[tier].accepted += 1
            else:
                self._tiers[tier].best_so_far += 1
            self._degraded += degraded

    def unanswered(self) -> None:
        """No tier could answer a photo."""
        with self._lock:
            self._unanswered += 1

    def refused(self) -> None:
        """What was given is not a photo."""
        with self._lock:
            self._refused += 1

    def abandoned(self) -> None:
        """Whoever asked did not wait for the final answer."""
        with self._lock:
            self._abandoned += 1

    def snapshot(self) -> dict[str, Any]:
        """All counts at one moment, JSON-able.

        Returns:
            `photos` that came to an end; of these `unanswered` and `degraded` (the best answer
            there was, as a better tier could not be asked); `refused` and `abandoned`, which are
            not among them; `percent` of photos by the tier whose answer was final, and `none`,
            with one decimal, which add up to 100; and `tiers`: by name `asked`, `failed`,
            `accepted`, `best_so_far` (final, but below the threshold), mean `milliseconds`, and
            `p50` and `p95`, upper ends of the bucket these lie in (None beyond the last).
        """
        with self._lock:
            final = {name: c.accepted + c.best_so_far for name, c in self._tiers.items()}
            final[NOBODY] = self._unanswered
            return {
                "photos": sum(final.values()),
                "unanswered": self._unanswered,
                "degraded": self._degraded,
                "refused": self._refused,
                "abandoned": self._abandoned,
                "percent": percentages(final),
                "tiers": {
                    name: {
                        "asked": c.asked,
                        "failed": c.failed,
                        "accepted": c.accepted,
                        "best_so_far": c.best_so_far,
                        "milliseconds": c.milliseconds / c.asked if c.asked else None,
                        "p50": _quantile(c.buckets, 0.5),
                        "p95": _quantile(c.buckets, 0.95),
                        "buckets": list(c.buckets),
                    }
                    for name, c in self._tiers.items()
                },
            }

    def collect(self) -> Iterator[Any]:
        """Metric families, as a `prometheus_client` registry asks for them."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        with self._lock:
            tiers = {
                name: (c.asked, c.failed, c.accepted, c.best_so_far, c.milliseconds, [*c.buckets])
                for name, c in self._tiers.items()
            }
            other = {
                "unanswered": self._unanswered,
                "degraded": self._degraded,
                "refused": self._refused,
                "abandoned": self._abandoned,
            }
        asked = CounterMetricFamily(
            "cannabis_ml_tier_asked", "Photos a tier was asked about", labels=["tier", "outcome"]
        )
        final = CounterMetricFamily(
            "cannabis_ml_photos_answered", "Final answers", labels=["tier", "accepted"]
        )
        seconds = HistogramMetricFamily(
            "cannabis_ml_tier_seconds", "Time until a tier answered or failed", labels=["tier"]
        )
        for name, (count, failed, accepted, best, milliseconds, buckets) in tiers.items():
            asked.add_metric([name, "answered"], count - failed)
            asked.add_metric([name, "failed"], failed)
            final.add_metric([name, "yes"], accepted)
            final.add_metric([name, "no"], best)
            total, ends = 0, [*(str(end / 1000) for end in BUCKETS), "+Inf"]
            cumulative = []
            for end, here in zip(ends, buckets, strict=True):
                total += here
                cumulative.append((end, total))
            seconds.add_metric([name], cumulative, milliseconds / 1000)
        yield asked
        yield final
        yield seconds
        for name, count in other.items():
            yield CounterMetricFamily(
                f"cannabis_ml_photos_{name}", f"Photos that were {name}", value=count
            )

    def prometheus(self) -> bytes:
        """The counts in Prometheus' text format.

        Raises:
            ConfigError: If `prometheus-client` is not installed.
        """
        try:
            from prometheus_client import CollectorRegistry, generate_latest
        except ImportError as error:
            raise ConfigError(
                f"prometheus-client is not installed ({error}): pip install 'cannabis_ml[remote]'."
            ) from error
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def percentages(counts: dict[str, int]) -> dict[str, float]:
    """Shares of a whole with one decimal that add up to 100 (largest remainders round up).

    Args:
        counts: 0 or more each.

    Returns:
        By the same names; all 0 where all counts are.
    """
    total = sum(counts.values())
    if not total:
        return dict.fromkeys(counts, 0.0)
    tenths = {name: divmod(1000 * count, total) for name, count in counts.items()}
    left = 1000 - sum(whole for whole, _ in tenths.values())
    by_rest = sorted(tenths, key=lambda name: -tenths[name][1])
    rounded_up = set(by_rest[:left])
    return {name: (tenths[name][0] + (name in rounded_up)) / 10 for name in counts}


def _quantile(buckets: Sequence[int], share: float) -> float | None:
    rank, seen = math.ceil(share * sum(buckets)), 0
    for end, here in zip(BUCKETS, buckets, strict=False):
        seen += here
        if seen >= rank > 0:
            return float(end)
    return None
