"""The split ledger in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.table import table_preview
from cannabis_ml.photo_sets.split_ledger import completed, empty_ledger


class SplitLedgerDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """A Parquet file that is empty until it is first written, and whole or not at all after.

    Ingestion reads it under one name and writes it under another: Kedro lets no entry be both
    input and output of a pipeline.

    Args:
        filepath: Local file.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self._filepath = Path(filepath)

    def load(self) -> pd.DataFrame:
        if not self._filepath.is_file():
            return empty_ledger()
        return completed(pd.read_parquet(self._filepath).astype("str"))

    def save(self, data: pd.DataFrame) -> None:
        with written_aside(self._filepath) as aside:
            data.to_parquet(aside, index=False)

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz."""
        return table_preview(self.load().head(nrows))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
