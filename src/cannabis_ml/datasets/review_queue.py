"""Photos put up for review in the catalog: saving the list fills the queue of the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from cannabis_ml.feedback.review_queue import QueueList

log = logging.getLogger(__name__)


class ReviewQueueDataset(AbstractDataset["QueueList", "QueueList"]):
    """Fills the queue of a store of feedback; the list itself is kept for the rest of the run.

    A list of no photo empties the queue, and does not make a store.

    Args:
        url: As for `FeedbackStoreDataset`.
        photos: As for `FeedbackStoreDataset`.
        credentials: As for `FeedbackStoreDataset`.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        photos: str | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        self._store = FeedbackStoreDataset(url=url, photos=photos, credentials=credentials)
        self._list: QueueList | None = None

    def load(self) -> QueueList:
        if self._list is None:
            raise DatasetError("Photos are put up for review anew in each run.")
        return self._list

    def save(self, data: QueueList) -> None:
        self._list = data
        if not data.entries and not self._store._exists():
            return
        with self._store.open() as store:
            filled = store.fill_queue(data)
        log.info(
            "Up for review: %s, %d of them new in the store; %d left out",
            counted(filled.waiting, "photo"),
            filled.added,
            filled.left_out,
        )

    def _exists(self) -> bool:
        return self._list is not None

    def _describe(self) -> dict[str, Any]:
        return self._store._describe()
