"""Tables as kedro-viz shows them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset

from cannabis_ml._io.files import written_aside


class TableDataset(ParquetDataset):
    """Kedro's Parquet file, written whole or not at all, and shown whatever is in it.

    kedro-viz sends a preview as JSON, and answers with an error where a cell holds bytes.
    """

    def save(self, data: pd.DataFrame) -> None:
        if self._protocol != "file":
            super().save(data)
            return
        with written_aside(Path(str(self._get_save_path()))) as aside:
            data.to_parquet(aside, **self._save_args)

    def _exists(self) -> bool:
        """Whether there is a version; raises where that cannot be asked, unlike Kedro's."""
        try:
            path = self._get_load_path()
        except DatasetError as error:
            if error.__cause__ is not None:
                raise
            return False
        return bool(self._fs.exists(str(path)))

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro-viz; reads no others."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._fs.open(str(self._get_load_path())) as file, pq.ParquetFile(file) as table:
            batches = list(itertools.islice(table.iter_batches(max(1, nrows)), 1))
            schema = table.schema_arrow
        return table_preview(pa.Table.from_batches(batches, schema).to_pandas()[:nrows])


class EarlierTableDataset(TableDataset):
    """The newest version of a table that this run writes anew, as it was before; read-only.

    Loads a table without rows and columns where there is no version yet.
    """

    def load(self) -> pd.DataFrame:
        return super().load() if self._exists() else pd.DataFrame()

    def save(self, data: pd.DataFrame) -> None:
        raise DatasetError(f"{self._filepath} is read-only under this name.")


def table_preview(rows: pd.DataFrame) -> TablePreview:
    """Rows as kedro-viz shows them: JSON values, None where a cell is missing."""
    cells = rows.itertuples(index=False, name=None)
    return TablePreview(
        {
            "index": list(range(len(rows))),
            "columns": [str(name) for name in rows.columns],
            "data": [[_cell(value) for value in row] for row in cells],
        }
    )


def _cell(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} byte{'' if len(value) == 1 else 's'}"
    if isinstance(value, dict):
        return {str(key): _cell(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_cell(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or pd.isna(value):
        return None
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) else str(value)
