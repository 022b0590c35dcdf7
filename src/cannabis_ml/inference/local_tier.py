"""A tier on this machine: a model file that answers in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cannabis_ml.errors import ConfigError, TierUnavailableError
from cannabis_ml.inference.confidence import confidence_scores
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import EPISTEMIC
from cannabis_ml.inference.router import TierAnswer
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore


def tier_answer(
    answer: object,
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
        rule: Names the head and the score.
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
    decided = decision.named(outputs)[rule.head][0]
    assert not isinstance(decided, list)  # the head is not multilabel
    return TierAnswer(
        answer,
        float(scores[rule.score][0]),
        None if unknown is None else float(unknown.score(outputs)[0]),
        decided,
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

    async def ask(self, photo: object) -> TierAnswer:
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
                return await asyncio.shield(self._start(photo))
        except TimeoutError as error:
            raise TierUnavailableError(
                f"{self.name} did not answer within {self._timeout:g} s."
            ) from error

    def _start(self, photo: object) -> asyncio.Future[TierAnswer]:
        """Answer in a thread, which stays taken until it is done, awaited or not."""
        try:
            answered = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, photo)
        except RuntimeError as error:  # the pool was shut down
            self._free.release()
            raise TierUnavailableError(f"{self.name} is closed.") from error

        def done(future: asyncio.Future[TierAnswer]) -> None:
            self._free.release()
            if not future.cancelled():
                future.exception()  # seen, also where nobody waits any more

        answered.add_done_callback(done)
        return answered

    async def aclose(self) -> None:
        """Take no more photos; threads end with what they do."""
        self._pool.shutdown(wait=False, cancel_futures=True)
