"""The draw of photos for audit in the catalog: saving it marks them in the store of feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cannabis_ml.datasets.store_list import StoreListDataset

if TYPE_CHECKING:
    from cannabis_ml.feedback.audit_draw import AuditDraw


class AuditDrawDataset(StoreListDataset["AuditDraw"]):
    """Marks the drawn photos in the store; the draw itself is kept for the rest of the run.

    A draw of no photo does not make a store. Arguments are those of `StoreListDataset`.
    """

    NOT_SAVED = "Photos are drawn for audit anew in each run of `feedback`."

    def _write(self, given: AuditDraw) -> None:
        if given.rates:
            with self._store.open() as store:
                store.draw_audits(given.rates, given.drawn)
