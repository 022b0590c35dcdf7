"""Asks many questions: priced first, never beyond the cap, none paid twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cannabis_ml.assistant.asking import Item, Outcome, RunResult, longest, outcome_of
from cannabis_ml.assistant.cache import AnswerCache, Entry
from cannabis_ml.assistant.cost import Budget, CapReachedError, KnownPrice
from cannabis_ml.assistant.doubts import open_doubts, settle_doubts
from cannabis_ml.assistant.ledger import Asking, Doubt, Ledger, SharedCap, State
from cannabis_ml.assistant.pace import Pace
from cannabis_ml.assistant.params import AssistantParams
from cannabis_ml.assistant.provider import (
    Provider,
    Question,
    QuestionRefusedError,
    Reply,
    RunStoppedError,
    TryAgainError,
    Usage,
)
from cannabis_ml.errors import AssistantError, ConfigError
from cannabis_ml.photos.decode import UnreadableError
from cannabis_ml.text import one_line

logger = logging.getLogger(__name__)

OUT_OF_REACH = 3
"""Questions in a row that the provider was too busy for, after which a run stops."""

TYPICAL_ANSWER = 250
"""Tokens of an answer, for the estimate."""


@dataclass(frozen=True)
class Estimate:
    """What a run would ask and cost.

    Attributes:
        questions: That are not answered yet.
        cached: That are.
        tokens: Input tokens of one question, at most.
        usd: Dollars, if answers are of typical length.
        most_usd: Dollars, if every question and answer is as long as it can be.
        batch: Whether a batch is used.
        price: Where the price is from.
        address: Where photos go.
        doubts: Requests that an earlier run had under way when it was killed.
    """

    questions: int
    cached: int
    tokens: int
    usd: float
    most_usd: float
    batch: bool
    price: str
    address: str
    doubts: tuple[Doubt, ...]


class Runner:
    """Asks one provider.

    Args:
        provider: Who answers.
        cache: Answers that were paid for.
        params: Pace, budget and size of photos.
        price: Of the model.
        ledger: Where requests are noted; one in the cache's folder where not given.
        cap: Held over all processes that share the ledger, where given.
    """

    def __init__(
        self,
        provider: Provider,
        cache: AnswerCache,
        params: AssistantParams,
        price: KnownPrice,
        ledger: Ledger | None = None,
        cap: SharedCap | None = None,
    ) -> None:
        self.provider, self.cache, self.params, self.price = provider, cache, params, price
        self.ledger = ledger or Ledger(cache.folder, "command")
        self.cap = cap
        self.budget = Budget(params.budget.most_usd)
        self.pace = Pace(params.pace)
        self.usage = Usage(input_tokens=0, output_tokens=0)
        self.asked_now: set[str] = set()
        self._tokens: int | None = None
        self._lock = threading.Lock()
        self._busy = 0
        self._stopped: str | None = None

    def estimate(self, items: Sequence[Item]) -> Estimate:
        """Count tokens and price them, before anything is asked.

        Tokens are those of a gray square in place of each photo: no photo of that longest side has
        more.

        Raises:
            AssistantError: If the provider cannot be asked, or counts no tokens and none are given.
        """
        missing = [item for item in items if self.kept(item) is None]
        batch = self.uses_batch(len(missing))
        tokens = self.most_tokens(missing) if missing else 0
        most = max((item.most_tokens for item in missing), default=0)
        each = Usage(input_tokens=tokens, output_tokens=min(most, TYPICAL_ANSWER))
        return Estimate(
            questions=len(missing),
            cached=len(items) - len(missing),
            tokens=tokens,
            usd=len(missing) * self.price.usd(each, batch),
            most_usd=sum(self.bound(item, tokens, batch) for item in missing),
            batch=batch,
            price=self.price.source,
            address=self.provider.address,
            doubts=tuple(open_doubts(self)),
        )

    def run(self, items: Sequence[Item]) -> RunResult:
        """Ask what was not answered yet.

        Returns:
            An outcome for each item. Where the cap, a refused key or a provider out of reach ends
            it early, what is answered is kept, and the next run goes on from there.

        Raises:
            ConfigError: If tokens cannot be counted, and none are given.
        """
        from cannabis_ml.assistant.batching import ask_in_batch, collect_batches

        doubts: list[Doubt] = []
        try:
            doubts = settle_doubts(self)
            collect_batches(self)
            missing = [item for item in items if self.kept(item) is None]
            if missing:
                self.most_tokens(missing)
            if self.uses_batch(len(missing)):
                ask_in_batch(self, missing)
        except (CapReachedError, RunStoppedError, TryAgainError) as error:
            self.stop(error)
        with ThreadPoolExecutor(self.params.pace.concurrency) as pool:
            futures = [pool.submit(self._outcome, item) for item in items]
            try:
                outcomes = tuple(future.result() for future in futures)
            except BaseException:  # such as Ctrl-C: what is under way is waited for and kept
                self.pace.stop()
                raise
        return RunResult(outcomes, self.usage, self.budget.spent, tuple(doubts), self._stopped)

    def ask_now(self, item: Item) -> Outcome:
        """Ask one question by itself, unless it was answered before; batches are left alone.

        Raises:
            AssistantError: If the provider cannot be asked.
            ConfigError: If tokens cannot be counted, and none are given.
        """
        if self.kept(item) is None:
            self.most_tokens([item])
        return self._outcome(item)

    def uses_batch(self, questions: int) -> bool:
        """Whether so many questions are asked in a batch."""
        budget = self.params.budget
        is_worth_it = budget.batch and questions >= budget.batch_from
        return is_worth_it and self.provider.batches is not None and not self._is_own_server

    @property
    def _is_own_server(self) -> bool:
        return self.params.model.base_url is not None and self.price.price.input == 0

    def key(self, item: Item) -> str:
        """Key of an item in the cache."""
        return item.key(self.provider, self.params.photo)

    def kept(self, item: Item) -> Outcome | None:
        """What is known of an item without asking; None if it has to be asked."""
        key = self.key(item)
        entry = self.cache.get(key)
        return None if entry is None else outcome_of(item, entry, key not in self.asked_now)

    def paid(self, item: Item) -> float:
        """Dollars that all replies to an item cost, in this run or before."""
        entry = self.cache.get(self.key(item))
        replies = entry.replies if entry else ()
        return sum(self.price.usd(reply.usage, reply.batch) for reply in replies)

    def most_tokens(self, items: Sequence[Item]) -> int:
        """Input tokens of one of these questions, at most; counted once per run."""
        if self._tokens is None:
            largest = longest(items).largest(self.params.photo)
            count = self.pace.persist(lambda: self.provider.count_tokens(largest), _log_busy)
            count = count if count is not None else self.params.budget.tokens_per_question
            if count is None and self.price.price.input > 0:
                raise ConfigError(
                    f"{self.provider.address} does not count tokens, so the cap cannot be held:"
                    " set assistant.budget.tokens_per_question."
                )
            self._tokens = count or 0
        return self._tokens

    def bound(self, item: Item, tokens: int, batch: bool) -> float:
        """Dollars that one reply to an item costs at most."""
        most = Usage(input_tokens=tokens, output_tokens=item.most_tokens)
        return self.price.usd(most, batch)

    def note_sent(self, item: Item, key: str, question: Question, batch: bool) -> None:
        """Log what is about to leave the machine."""
        self.cache.log_sent(
            {
                "event": "asked in a batch" if batch else "asked",
                "key": key,
                "prompt": item.prompt.name,
                "to": self.provider.address,
                "model": self.provider.model,
                "photos": [photo.photo_id for photo in item.photos],
                "bytes": [len(photo) for photo in question.photos],
                "longest_side": self.params.photo.longest_side,
            }
        )

    def asking(self, item: Item, key: str, most_usd: float) -> Asking:
        """A request as the ledger has it."""
        own = self.provider
        return Asking(item.prompt.name, own.model, own.address, key, item.subject, most_usd)

    def keep(self, key: str, prompt: str, subject: str, reply: Reply) -> Entry:
        """Keep a reply on disk, after those before it, and count its tokens."""
        before = self.cache.get(key)
        entry = Entry(
            key=key,
            prompt=prompt,
            model=self.provider.model,
            subject=subject,
            replies=(*(before.replies if before else ()), reply),
        )
        self.cache.put(entry)
        with self._lock:
            self.usage += reply.usage
            self.asked_now.add(key)
            self._busy = 0
        return entry

    def stop(self, error: AssistantError) -> None:
        """Ask nothing more; the first reason is kept."""
        with self._lock:
            if self._stopped is None:
                self._stopped = one_line(error, 500)
                logger.warning("Stopped: %s", self._stopped)
        self.pace.stop()

    def _outcome(self, item: Item) -> Outcome:
        known = self.kept(item)
        while known is None:
            if self.pace.is_stopped:
                return Outcome(item, "not_asked", reason=self._stopped or "the run was ended")
            try:
                self._ask(item)
            except (UnreadableError, OSError) as error:
                return Outcome(item, "failed", reason=f"cannot be read: {one_line(error)}")
            except (CapReachedError, RunStoppedError) as error:
                self.stop(error)
                continue
            except QuestionRefusedError as error:
                return Outcome(item, "failed", reason=one_line(error))
            except TryAgainError as error:
                return self._out_of_reach(item, error)
            known = self.kept(item)
        return known

    def _ask(self, item: Item) -> None:
        key = self.key(item)
        question = item.question(self.params.photo)
        bound = self.bound(item, self._tokens or 0, batch=False)

        def call() -> None:
            if self.pace.is_stopped:
                raise RunStoppedError(self._stopped or "the run was ended")
            self.budget.reserve(bound)
            spent = 0.0
            try:
                row, name = self.ledger.begin(self.asking(item, key, bound), self.cap)
                self.note_sent(item, key, question, batch=False)
                try:
                    reply = self.provider.ask(question, name)
                except AssistantError as error:
                    is_lost = isinstance(error, TryAgainError) and error.may_be_billed
                    state: State = "may be billed" if is_lost else "not billed"
                    spent = bound if is_lost else 0.0
                    self.ledger.settle(row, state, spent)
                    raise
                spent = self.price.usd(reply.usage)
                # Kept first: a reply that is noted and not kept would be paid for again unseen.
                self.keep(key, item.prompt.name, item.subject, reply)
                self.ledger.settle(row, "answered", spent, reply.usage)
            finally:
                self.budget.settle(bound, spent)

        self.pace.persist(call, _log_busy)

    def _out_of_reach(self, item: Item, error: TryAgainError) -> Outcome:
        with self._lock:
            self._busy += 1
            gives_up = self._busy >= OUT_OF_REACH
        if gives_up:
            self.stop(error)
        return Outcome(item, "failed", reason=one_line(error))


def _log_busy(error: TryAgainError) -> None:
    logger.info("Not answered, and asked again later: %s", one_line(error))
