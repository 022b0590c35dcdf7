"""Requests that were under way when a process was killed: what became of them, and their cost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cannabis_ml.assistant.ledger import Doubt
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from cannabis_ml.assistant.runner import Runner

logger = logging.getLogger(__name__)


def open_doubts(runner: Runner) -> list[Doubt]:
    """Requests of killed runs whose reply was not kept, oldest first."""
    return [doubt for doubt in runner.ledger.doubts() if not _is_kept(runner, doubt)]


def settle_doubts(runner: Runner) -> list[Doubt]:
    """Settle what killed runs left under way, so that each counts once.

    A reply that was kept before the process died is priced. Any other request counts as billed at
    its most: against the cap of this run, and in the record of the one that sent it.

    Returns:
        Those that may have been billed.
    """
    left = []
    for doubt in runner.ledger.doubts():
        if _is_kept(runner, doubt):
            entry = runner.cache.get(doubt.key)
            assert entry is not None
            usage = next(one.usage for one in reversed(entry.replies) if not one.batch)
            same = doubt.model == runner.provider.model
            usd = min(runner.price.usd(usage), doubt.most_usd) if same else doubt.most_usd
            runner.ledger.settle(doubt.row, "answered", usd, usage)
            continue
        runner.ledger.settle(doubt.row, "may be billed", doubt.most_usd)
        runner.budget.carry(doubt.most_usd)
        left.append(doubt)
    if left:
        logger.warning(
            "%s under way when an earlier run was killed; up to $%.4f may be billed for nothing,"
            " which counts against the cap",
            counted(len(left), "question was", "questions were"),
            sum(doubt.most_usd for doubt in left),
        )
    return left


def _is_kept(runner: Runner, doubt: Doubt) -> bool:
    """Whether the process died between keeping a reply and noting that it has it."""
    entry = runner.cache.get(doubt.key)
    kept = sum(not reply.batch for reply in entry.replies) if entry else 0
    return kept > runner.ledger.answers(doubt.key)
