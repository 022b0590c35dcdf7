"""Photos put up for review in the catalog: saving the list fills the queue of the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cannabis_ml.datasets.store_list import StoreListDataset
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from cannabis_ml.feedback.review_queue import QueueList

log = logging.getLogger(__name__)


class ReviewQueueDataset(StoreListDataset["QueueList"]):
    """Fills the queue of a store of feedback; the list itself is kept for the rest of the run.

    A list of no photo empties the queue, and does not make a store. Arguments are those of
    `StoreListDataset`.
    """

    NOT_SAVED = "Photos are put up for review anew in each run."

    def _write(self, given: QueueList) -> None:
        if not given.entries and not self._store._exists():
            return
        with self._store.open() as store:
            filled = store.fill_queue(given)
        log.info(
            "Up for review: %s, %d of them new in the store; %d left out",
            counted(filled.waiting, "photo"),
            filled.added,
            filled.left_out,
        )
