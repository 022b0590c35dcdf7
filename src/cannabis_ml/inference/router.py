"""The progressive router: the smallest tier answers, larger ones only where it is not sure enough.

    router = Router([LocalTier("tier1", ask), RemoteTier("tier3", url)], rule)
    async for routed in router.stream(photo):  # a fast answer first, a better one later
        show(routed)

`ask` is a function that takes a photo and gives a `TierAnswer`, see `tier_answer`.

A tier is anything with a name and `async ask(photo)`. A tier that cannot answer costs no photo its
answer: the best so far is given, and says which tier is missing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from cannabis_ml.errors import ConfigError, PhotoError, RoutingError, TierUnavailableError
from cannabis_ml.inference.confidence import confidence_scores
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import EPISTEMIC
from cannabis_ml.inference.router_metrics import RouterMetrics
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.photos.decode import UnreadableError


@dataclass(frozen=True)
class TierAnswer:
    """What one tier says of a photo.

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
        answer: What the tier said.
        tier: Which tier said it.
        score: Its routing score.
        unknown: Its unknown score.
        accepted: Whether it is good enough by the rule. Only accepted answers are promised.
        final: Whether no better one will come.
        missing: Tiers that should have been asked and could not answer, with the reason.
    """

    answer: Any
    tier: str
    score: float
    unknown: float | None
    accepted: bool
    final: bool
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def degraded(self) -> bool:
        """Whether a better tier should have answered and could not."""
        return self.final and not self.accepted and bool(self.missing)


def tier_answer(
    answer: Any,
    outputs: Mapping[str, np.ndarray],
    decision: Decision,
    rule: RoutingRule,
    unknown: UnknownScore | None = None,
) -> TierAnswer:
    """The scores of one answered photo, by calibrated probabilities.

    Args:
        answer: To hand on.
        outputs: Of a model file for this one photo, as it gives them, (1, …).
        decision: Of that file.
        rule: Says which head and which score.
        unknown: Of that tier, if it has one.

    Raises:
        ConfigError: If the rule's head or score is not there.
    """
    heads = {head.name: head for head in decision.taxonomy.heads}
    if rule.head not in heads or heads[rule.head].kind == "multilabel":
        raise ConfigError(f"The routing head '{rule.head}' is not a head with one answer.")
    probs = decision.calibrated(outputs)[rule.head]
    disagreement = outputs.get(rule.head + EPISTEMIC)
    scores = confidence_scores(heads[rule.head], probs, disagreement)
    if rule.score not in scores:
        raise ConfigError(f"This model file does not give the routing score '{rule.score}'.")
    return TierAnswer(
        answer,
        float(scores[rule.score][0]),
        None if unknown is None else float(unknown.score(outputs)[0]),
        decision.named(outputs)[rule.head][0],
    )


class LocalTier:
    """A tier on this machine, in threads of its own. Belongs to one event loop.

    Args:
        name: As in the rule.
        answer: Called with the photo, in a thread; must be thread-safe if `workers` is above 1.
        workers: Photos answered at once; others wait.
        timeout: Seconds, waiting included, after which the tier counts as unavailable; None waits.
            A thread that hangs is lost to the tier until it ends.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Any], TierAnswer],
        workers: int = 1,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self._answer = answer
        self._timeout = timeout
        # The queue of an executor keeps photos that nobody waits for, so none ever waits there.
        self._free = asyncio.Semaphore(workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"tier-{name}")

    async def ask(self, photo: Any) -> TierAnswer:
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
                return await asyncio.shield(self._start(photo))
        except TimeoutError as error:
            raise TierUnavailableError(
                f"{self.name} did not answer within {self._timeout:g} s."
            ) from error

    def _start(self, photo: Any) -> asyncio.Future[TierAnswer]:
        """Answer in a thread, which stays taken until it is done, awaited or not."""
        try:
            found = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, photo)
        except RuntimeError as error:  # the pool was shut down
            self._free.release()
            raise TierUnavailableError(f"{self.name} is closed.") from error

        def done(future: asyncio.Future[TierAnswer]) -> None:
            self._free.release()
            if not future.cancelled():
                future.exception()  # seen, also where nobody waits any more

        found.add_done_callback(done)
        return found

    async def aclose(self) -> None:
        """Take no more photos; threads end with what they do."""
        self._pool.shutdown(wait=False, cancel_futures=True)


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

    async def stream(self, photo: Any) -> AsyncIterator[Routed]:
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
        ended = False
        try:
            for index, tier in enumerate(self.tiers):
                try:
                    found = await self._ask(tier, photo)
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
                takes = self.rule.tiers[index].accepts(found.score, found.unknown, found.decided)
                last = index == len(self.tiers) - 1
                best = Routed(
                    found.answer,
                    tier.name,
                    found.score,
                    found.unknown,
                    accepted=takes,
                    final=takes or last,
                    missing=dict(missing),
                )
                if best.final:
                    break
                yield best
            ended = True
            if best is None:
                self.metrics.unanswered()
                told = "; ".join(f"{name}: {why}" for name, why in missing.items())
                raise RoutingError(f"No tier could answer. {told}")
            best = replace(best, final=True, missing=missing)
            self.metrics.answered(best.tier, best.accepted, best.degraded)
            yield best
        finally:
            if not ended:
                self.metrics.abandoned()

    async def _ask(self, tier: RoutedTier, photo: Any) -> TierAnswer:
        start = time.perf_counter()
        failed = True
        try:
            found = await tier.ask(photo)
            failed = False
            return found
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
        return asyncio.run_coroutine_threadsafe(self.router.answer(photo), self._loop).result()

    def close(self) -> None:
        """Close the router and end the thread."""
        asyncio.run_coroutine_threadsafe(self.router.aclose(), self._loop).result()
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> BlockingRouter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
