"""What the router adds to the time of its tiers, alone and under 64 callers at once.

    python tests/benchmarks/bench_router.py [--photos 2000] [--rounds 9]

One side asks tiers that answer at once, in the router's order, by hand; the other asks the router
for the same photos, with its thresholds, counters and histograms. Sides take turns. Half of the
photos are answered by the first tier, the others by the third. Printed is the time that the router
adds to one photo: by rounds the median, and the largest.

Wanted: below 1 ms at the median.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from cannabis_ml.inference.local_tier import LocalTier
from cannabis_ml.inference.router import Router, TierAnswer
from cannabis_ml.inference.routing import RoutingRule, TierThresholds

NAMES = ("tier1", "tier2", "tier3")
RULE = RoutingRule(
    head="kind", tiers=[TierThresholds(tier=name, accept_from=0.5) for name in NAMES]
)


class AtOnce:
    """A tier that takes no time."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def ask(self, photo: int) -> TierAnswer:
        return _answer(self.name, photo)


def _answer(tier: str, photo: int) -> TierAnswer:
    return TierAnswer(photo, float(photo % 2 == 0 or tier == "tier3"))


def _tiers(kind: str) -> list[AtOnce | LocalTier]:
    if kind == "at once":
        return [AtOnce(name) for name in NAMES]
    return [LocalTier(name, lambda p, name=name: _answer(name, p)) for name in NAMES]


async def _by_hand(tiers: list[AtOnce | LocalTier], photo: int) -> TierAnswer:
    for tier in tiers:
        found = await tier.ask(photo)
        if found.score >= 0.5:
            break
    return found


async def _seconds(ask: Callable[[int], Awaitable[object]], photos: int, callers: int) -> float:
    """Wall time per photo, all callers together."""

    async def caller(first: int) -> None:
        for photo in range(first, photos, callers):
            await ask(photo)

    start = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(callers)))
    return (time.perf_counter() - start) / photos


async def _added(kind: str, callers: int, photos: int, rounds: int) -> list[float]:
    """Milliseconds per photo that the router adds, by round."""
    tiers = _tiers(kind)
    router = Router(tiers, RULE)
    sides = (lambda photo: _by_hand(tiers, photo), router.answer)
    added = []
    for _ in range(rounds + 1):
        alone, routed = [await _seconds(side, photos, callers) for side in sides]
        added.append(1000 * (routed - alone))
    await router.aclose()
    return added[1:]  # the first warms up


def main() -> None:
    parser = argparse.ArgumentParser(description="Time that the router adds to a photo.")
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(machine(("numpy", "httpx")))
    for kind in ("at once", "in threads"):
        for callers in (1, 64):
            added = asyncio.run(_added(kind, callers, given.photos, given.rounds))
            told = f"{statistics.median(added):.4f} ms at the median, {max(added):.4f} at most"
            print(f"tiers {kind}, {callers:2} callers: {told}")


if __name__ == "__main__":
    main()
