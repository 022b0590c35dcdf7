"""Photos with vetted labels in the catalog, as ingestion reads them."""

from __future__ import annotations

import pandas as pd
from kedro_datasets._typing import TablePreview

from cannabis_ml.datasets.table import TableDataset, table_preview
from cannabis_ml.photo_sets.feedback_source import empty_feedback_photos


class FeedbackPhotosDataset(TableDataset):
    """A Parquet file that is empty until the feedback pipeline first writes it.

    It is written anew from the store each time, so that what was erased there is gone here.
    """

    def load(self) -> pd.DataFrame:
        return super().load() if self._exists() else empty_feedback_photos()

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz; none where there is no file yet."""
        return super().preview(nrows) if self._exists() else table_preview(empty_feedback_photos())
