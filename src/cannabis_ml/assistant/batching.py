"""Questions in batches, at half the price: sent once, whatever kills the process in between."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cannabis_ml.assistant.asking import Item
from cannabis_ml.assistant.cache import PendingBatch
from cannabis_ml.assistant.ledger import Asking
from cannabis_ml.assistant.provider import (
    Batches,
    Question,
    QuestionRefusedError,
    Reply,
    RunStoppedError,
    TryAgainError,
    UndecidedError,
)
from cannabis_ml.errors import AssistantError
from cannabis_ml.photos.decode import UnreadableError
from cannabis_ml.text import counted, one_line

if TYPE_CHECKING:
    from cannabis_ml.assistant.runner import Runner

logger = logging.getLogger(__name__)

NOT_THERE = 404
"""Status of a batch that the provider does not keep any more."""

MOST_QUESTIONS = 500
"""Of one batch: what is sent is in memory, and providers take 200 MB."""


def collect_batches(runner: Runner) -> None:
    """Take the results of batches that an earlier run had under way, whatever they were about.

    Raises:
        RunStoppedError, TryAgainError: If the provider cannot be asked.
    """
    batches = runner.provider.batches
    for pending in runner.cache.batches() if batches is not None else ():
        own = (runner.provider.address, runner.provider.model)
        if (pending.address, pending.model) != own:
            continue
        assert batches is not None
        try:
            _collect(runner, batches, pending)
        except RunStoppedError as error:
            if getattr(error.__cause__, "status_code", None) != NOT_THERE:
                raise
            logger.warning("Batch %s is not there any more: %s", pending.batch, one_line(error))
            runner.cache.drop_batch(pending)


def ask_in_batch(runner: Runner, items: Sequence[Item]) -> None:
    """Ask in batches what fits the cap; replies are then in the cache.

    What a batch does not answer is left: the runner asks it by itself.

    Raises:
        CapReachedError: If not even one question fits.
        RunStoppedError, TryAgainError: If the provider cannot be asked.
    """
    batches = runner.provider.batches
    assert batches is not None
    left = list(items)
    while left:
        chosen, reserved = _fitting(runner, left[:MOST_QUESTIONS])
        left = left[len(chosen) :]
        runner.budget.reserve(reserved)
        try:
            questions = dict(_questions(runner, chosen))
            if questions:
                _collect(runner, batches, _submit(runner, batches, chosen, questions))
        except QuestionRefusedError as error:
            logger.warning("A batch was refused, asking one by one: %s", one_line(error))
        finally:
            runner.budget.settle(reserved, 0.0)


def _fitting(runner: Runner, items: Sequence[Item]) -> tuple[list[Item], float]:
    """The first items that the cap allows, one at least, and what they cost at most."""
    tokens, chosen, reserved = runner.most_tokens(items), [items[0]], 0.0
    reserved = runner.bound(items[0], tokens, batch=True)
    for item in items[1:]:
        bound = runner.bound(item, tokens, batch=True)
        if not runner.budget.fits(reserved + bound):
            break
        chosen.append(item)
        reserved += bound
    return chosen, reserved


def _questions(runner: Runner, items: Sequence[Item]) -> Iterator[tuple[str, Question]]:
    for item in items:
        try:
            yield runner.key(item), item.question(runner.params.photo)
        except (UnreadableError, OSError):
            continue  # the runner lists it as failed


def _submit(
    runner: Runner, batches: Batches, items: Sequence[Item], questions: dict[str, Question]
) -> PendingBatch:
    by_key = {runner.key(item): item for item in items}
    pending = PendingBatch(
        mark=uuid.uuid4().hex,
        batch=None,
        since=datetime.now(UTC),
        address=runner.provider.address,
        model=runner.provider.model,
        prompts={key: by_key[key].prompt.name for key in questions},
        subjects={key: by_key[key].subject for key in questions},
    )
    runner.cache.keep_batch(pending)
    for key, question in questions.items():
        runner.note_sent(by_key[key], key, question, batch=True)
    try:
        batch = _submit_once(runner, batches, questions, pending)
    except (QuestionRefusedError, RunStoppedError):
        runner.cache.drop_batch(pending)
        raise
    pending = pending.model_copy(update={"batch": batch})
    runner.cache.keep_batch(pending)
    logger.info("Sent %s as batch %s", counted(len(questions), "question"), batch)
    return pending


def _submit_once(
    runner: Runner, batches: Batches, questions: dict[str, Question], pending: PendingBatch
) -> str:
    """Send a batch; where no reply came, look first whether it has arrived."""
    lost = False

    def call() -> str:
        nonlocal lost
        if lost:
            found = _find(runner, batches, pending)
            if found is not None:
                return found
        try:
            return batches.submit(questions, pending.mark)
        except TryAgainError as error:
            lost = lost or error.may_be_billed
            raise

    return runner.pace.persist(call, _log)


def _collect(runner: Runner, batches: Batches, pending: PendingBatch) -> None:
    """Wait for a batch and keep its replies; forget it when all of them are kept."""
    batch = pending.batch
    keys = frozenset(pending.prompts)
    if batch is None:
        batch = _find(runner, batches, pending)
        if batch is None:
            runner.cache.drop_batch(pending)
            return
        pending = pending.model_copy(update={"batch": batch})
        runner.cache.keep_batch(pending)
    found: str = batch
    while not runner.pace.persist(lambda: batches.has_ended(found), _log):
        runner.pace.pause(runner.params.pace.poll)

    def take() -> None:
        seen = set()
        for key, reply in batches.results(found):
            seen.add(key)
            if key in keys:
                _keep(runner, pending, key, reply)
        if not keys <= seen:
            raise TryAgainError(
                f"the results of batch {found} lack {len(keys - seen):,} of {len(keys):,}",
                None,
                False,
            )

    runner.pace.persist(take, _log)
    runner.cache.drop_batch(pending)


def _find(runner: Runner, batches: Batches, pending: PendingBatch) -> str | None:
    """The batch whose id was lost; one that may be it is waited for."""
    keys = frozenset(pending.prompts)
    while True:
        try:
            return runner.pace.persist(
                lambda: batches.find(keys, pending.mark, pending.since), _log
            )
        except UndecidedError as error:
            _log(error)
            runner.pace.pause(runner.params.pace.poll)


def _keep(runner: Runner, pending: PendingBatch, key: str, reply: Reply | str) -> None:
    if isinstance(reply, str):
        logger.warning("%s: %s", pending.subjects[key], reply)
        return
    entry = runner.cache.get(key)
    if entry is not None and any(one.batch and one.text == reply.text for one in entry.replies):
        return  # taken before the process was killed, or before the results were cut short
    usd = runner.price.usd(reply.usage, batch=True)
    asking = Asking(
        pending.prompts[key], pending.model, pending.address, key, pending.subjects[key], usd
    )
    runner.ledger.add_of_batch(asking, pending.mark, usd, reply.usage)
    runner.budget.add(usd)
    runner.keep(key, pending.prompts[key], pending.subjects[key], reply)


def _log(error: AssistantError) -> None:
    logger.info("Tried again later: %s", one_line(error))
