"""What a run writes into the store of feedback, and keeps for its own later nodes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset

Given = TypeVar("Given")


class StoreListDataset(AbstractDataset[Given, Given], Generic[Given]):
    """Saving writes the store; what was saved is kept for the rest of the run.

    Args:
        url: As for `FeedbackStoreDataset`.
        photos: As for `FeedbackStoreDataset`.
        credentials: As for `FeedbackStoreDataset`.
        metadata: For plugins; Kedro ignores it.
    """

    NOT_SAVED: ClassVar[str]
    """Why there is nothing to load before this run has saved it."""

    def __init__(
        self,
        *,
        url: str | None = None,
        photos: str | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._store = FeedbackStoreDataset(url=url, photos=photos, credentials=credentials)
        self._given: Given | None = None

    @abstractmethod
    def _write(self, given: Given) -> None:
        """Write it into the store."""

    def load(self) -> Given:
        if self._given is None:
            raise DatasetError(self.NOT_SAVED)
        return self._given

    def save(self, data: Given) -> None:
        self._given = data
        self._write(data)

    def _exists(self) -> bool:
        return self._given is not None

    def _describe(self) -> dict[str, object]:
        return self._store._describe()
