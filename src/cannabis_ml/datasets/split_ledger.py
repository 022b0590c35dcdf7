"""The split ledger in the catalog."""

from __future__ import annotations

import pandas as pd
from kedro_datasets._typing import TablePreview

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.photo_sets.split_ledger import completed, empty_ledger


class SplitLedgerDataset(PathDataset[pd.DataFrame, pd.DataFrame]):
    """A Parquet file that is empty until it is first written, and whole or not at all after.

    Ingestion reads it under one name and writes it under another: Kedro lets no entry be both
    input and output of a pipeline.

    Args:
        filepath: The file; the other arguments are those of `PathDataset`.
    """

    def load(self) -> pd.DataFrame:
        if not self._exists():
            return empty_ledger()
        return completed(pd.read_parquet(self.local_path()).astype("str"))

    def save(self, data: pd.DataFrame) -> None:
        with self.saving() as path, written_aside(path) as aside:
            data.to_parquet(aside, index=False)

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz."""
        return table_preview(self.load().head(nrows))
