"""The draw of photos for audit in the catalog: saving it marks them in the store of feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset

if TYPE_CHECKING:
    from cannabis_ml.feedback.audit_draw import AuditDraw


class AuditDrawDataset(AbstractDataset["AuditDraw", "AuditDraw"]):
    """Marks the drawn photos in the store; the draw itself is kept for the rest of the run.

    A draw of no photo does not make a store.

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
        credentials: dict[str, object] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._store = FeedbackStoreDataset(url=url, photos=photos, credentials=credentials)
        self._draw: AuditDraw | None = None

    def load(self) -> AuditDraw:
        if self._draw is None:
            raise DatasetError("Photos are drawn for audit anew in each run of `feedback`.")
        return self._draw

    def save(self, data: AuditDraw) -> None:
        self._draw = data
        if data.rates:
            with self._store.open() as store:
                store.draw_audits(data.rates, data.drawn)

    def _exists(self) -> bool:
        return self._draw is not None

    def _describe(self) -> dict[str, object]:
        return self._store._describe()
