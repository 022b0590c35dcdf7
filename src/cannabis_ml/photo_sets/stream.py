"""Stream a data set that is larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

BATCH_ROWS = 100
"""Rows at a time where the data set is not a plain file."""


def stream_batches(dataset: datasets.Dataset) -> Iterator[pa.Table]:
    """Yield the rows of a data set in order, a batch at a time.

    A data set that lies on disk as it is gets read instead of mapped: mapped pages count as the
    process's own until the system needs them, and make it look as large as the data set.

    Args:
        dataset: Any Hugging Face data set.

    Yields:
        Tables of some hundred rows, with the columns of `dataset`.
    """
    import pyarrow as pa

    files = _whole_files(dataset)
    if files is None:
        yield from dataset.with_format("arrow").iter(batch_size=BATCH_ROWS)
        return
    for file in files:
        with pa.OSFile(str(file)) as source:
            schema = pa.ipc.read_schema(source)
            fields = sorted(schema.get_field_index(name) for name in dataset.column_names)
            source.seek(0)
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            with pa.ipc.open_stream(source, options=options) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch]).select(dataset.column_names)


def _whole_files(dataset: datasets.Dataset) -> list[Path] | None:
    """The files that hold exactly the rows of `dataset` in its order; None if none do."""
    import pyarrow as pa

    files = [Path(file["filename"]) for file in dataset.cache_files]
    if dataset._indices is not None or not all(file.is_file() for file in files):
        return None
    rows = 0
    for file in files:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
            if not set(dataset.column_names) <= set(reader.schema.names):
                return None
            rows += reader.read_all().num_rows
    return files if files and rows == len(dataset) else None
