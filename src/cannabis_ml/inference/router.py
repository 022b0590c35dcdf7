"""The progressive router: the smallest tier answers, larger ones only where it is not sure enough.

    router = Router([LocalTier("tier1", ask), RemoteTier("tier3", url)], rule)
    async for routed in router.stream(photo):  # a fast answer first, a better one later
        show(routed)

`ask` is a function that takes a photo and gives a `TierAnswer`, see `tier_answer`.

A tier is anything with a name and `async ask(photo)`. A tier that cannot answer costs no photo its
answer: the best so far is given, and names the tier that is missing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, TypeVar

from cannabis_ml.errors import ConfigError, PhotoError, RoutingError
from cannabis_ml.inference.router_metrics import RouterMetrics
from cannabis_ml.inference.routing import RoutingRule, TierCost
from cannabis_ml.photos.decode import UnreadableError

T = TypeVar("T")


@dataclass(frozen=True)
class TierAnswer:
    """The answer of one tier for a photo, with its scores.

    Attributes:
        answer: Handed on as it is.
        score: Routing score, higher is surer.
        unknown: Unknown score; None where the tier has none.
        decided: Class that the routing head answers, for thresholds per class.
    """

    answer: Any
    score: float
    unknown: float | None = None
    decided: str | None = None

    def as_json(self) -> dict[str, object]:
        """Plain data, which `RemoteTier` reads: what a server answers for one photo."""
        answer = self.answer.as_json() if hasattr(self.answer, "as_json") else self.answer
        return {
            "answer": answer,
            "score": self.score,
            "unknown": self.unknown,
            "decided": self.decided,
        }


class RoutedTier(Protocol):
    """Something that answers a photo."""

    @property
    def name(self) -> str:
        """As in the rule."""
        ...

    async def ask(self, photo: Any) -> TierAnswer:
        """Answer for one photo.

        Raises:
            TierUnavailableError: If it cannot answer now.
        """
        ...


@dataclass(frozen=True)
class Routed:
    """An answer on its way through the tiers.

    Attributes:
        answer: The tier's.
        tier: Which tier gave it.
        score: Its routing score.
        unknown: Its unknown score.
        accepted: Whether it is good enough by the rule. Only accepted answers are promised.
        final: Whether no better one will come.
        missing: Tiers that should have been asked and could not answer, with the reason.
        why: Why the answer is accepted, or is not, in words.
        milliseconds: From the call until this answer.
        cost: Of all tiers that have answered so far, by the rule; of tiers without one nothing.
    """

    answer: Any
    tier: str
    score: float
    unknown: float | None
    accepted: bool
    final: bool
    missing: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    milliseconds: float = 0.0
    cost: TierCost = field(default_factory=TierCost)

    def as_json(self) -> dict[str, object]:
        """Plain data for JSON: every attribute, `degraded`, and the answer as it writes itself."""
        answer = self.answer.as_json() if hasattr(self.answer, "as_json") else self.answer
        return {
            "tier": self.tier,
            "accepted": self.accepted,
            "final": self.final,
            "degraded": self.degraded,
            "missing": dict(self.missing),
            "why": self.why,
            "score": self.score,
            "unknown": self.unknown,
            "milliseconds": self.milliseconds,
            "cost": asdict(self.cost),
            "answer": answer,
        }

    @property
    def degraded(self) -> bool:
        """Whether a better tier should have answered and could not."""
        return self.final and not self.accepted and bool(self.missing)


class Router:
    """Asks tiers in turn until an answer is good enough. Belongs to one event loop.

    Args:
        tiers: In the order of the rule.
        rule: Thresholds, fixed or promised.
        metrics: Counts; shared ones must know the tiers.

    Raises:
        ConfigError: If tiers and rule do not name the same.
    """

    def __init__(
        self,
        tiers: Sequence[RoutedTier],
        rule: RoutingRule,
        metrics: RouterMetrics | None = None,
    ) -> None:
        names, expected = [tier.name for tier in tiers], [tier.tier for tier in rule.tiers]
        if names != expected:
            raise ConfigError(
                f"The router has the tiers {', '.join(names)}; its rule is for"
                f" {', '.join(expected)}."
            )
        self.tiers = list(tiers)
        self.rule = rule
        self.metrics = metrics or RouterMetrics(names)

    async def answer(self, photo: Any) -> Routed:
        """The final answer.

        Args:
            photo: Whatever the tiers take.

        Raises:
            PhotoError: If it is not a photo.
            UnreadableError: If the file gives no photo.
            RoutingError: If no tier at all could answer.
        """
        return [routed async for routed in self.stream(photo)][-1]

    async def stream(self, photo: Any) -> AsyncGenerator[Routed, None]:
        """Each answer as it comes, the last of them `final`.

        A caller that stops early should close the iterator (`contextlib.aclosing`).

        Args:
            photo: Whatever the tiers take.

        Raises:
            PhotoError: As `answer`.
            UnreadableError: As `answer`.
            RoutingError: As `answer`.
        """
        best: Routed | None = None
        missing: dict[str, str] = {}
        cost, start, ended = TierCost(), time.perf_counter(), False
        try:
            for index, tier in enumerate(self.tiers):
                try:
                    answered = await self._ask(tier, photo)
                except (PhotoError, UnreadableError) as error:
                    if best is None:
                        ended = True
                        self.metrics.refused()
                        raise
                    missing[tier.name] = str(error)
                    continue
                except Exception as error:
                    missing[tier.name] = str(error) or type(error).__name__
                    continue
                thresholds = self.rule.tiers[index]
                takes = thresholds.accepts(answered.score, answered.unknown, answered.decided)
                last = index == len(self.tiers) - 1
                cost = cost + (thresholds.cost or TierCost())
                best = Routed(
                    answered.answer,
                    tier.name,
                    answered.score,
                    answered.unknown,
                    accepted=takes,
                    final=takes or last,
                    missing=dict(missing),
                    why=thresholds.reason(answered.score, answered.unknown, answered.decided),
                    milliseconds=1000 * (time.perf_counter() - start),
                    cost=cost,
                )
                if best.final:
                    break
                yield best
            ended = True
            if best is None:
                self.metrics.unanswered()
                reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
                raise RoutingError(f"No tier could answer. {reasons}")
            waited = 1000 * (time.perf_counter() - start)
            best = replace(best, final=True, missing=missing, milliseconds=waited)
            self.metrics.answered(best.tier, best.accepted, best.degraded)
            yield best
        finally:
            if not ended:
                self.metrics.abandoned()

    async def _ask(self, tier: RoutedTier, photo: Any) -> TierAnswer:
        start = time.perf_counter()
        failed = True
        try:
            answered = await tier.ask(photo)
            failed = False
            return answered
        finally:
            self.metrics.asked(tier.name, 1000 * (time.perf_counter() - start), failed)

    async def aclose(self) -> None:
        """Close tiers that can be closed."""
        for tier in self.tiers:
            close = getattr(tier, "aclose", None)
            if close is not None:
                await close()


class BlockingRouter:
    """A router for callers without an event loop: a thread runs one. Any thread may ask.

        with BlockingRouter(lambda: Router(tiers(), rule)) as router:
            routed = router.answer(photo)

    Args:
        make: Makes the router and its tiers, in the thread that runs them.
    """

    def __init__(self, make: Callable[[], Router]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="router")
        self._thread.start()

        async def made() -> Router:
            return make()

        try:
            self.router = asyncio.run_coroutine_threadsafe(made(), self._loop).result()
        except BaseException:
            self._stop()
            raise

    def answer(self, photo: Any) -> Routed:
        """As `Router.answer`."""
        return self._run(self.router.answer(photo))

    def stream(self, photo: Any) -> Iterator[Routed]:
        """As `Router.stream`; a caller that stops early should close it."""
        answers = self.router.stream(photo)

        async def following() -> Routed | None:
            return await anext(answers, None)

        try:
            while (routed := self._run(following())) is not None:
                yield routed
        finally:
            self._run(answers.aclose())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Close the router and end the thread."""
        self._run(self.router.aclose())
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> BlockingRouter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
