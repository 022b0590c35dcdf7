"""What kedro-viz shows of tables."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.table import EarlierTableDataset, TableDataset, table_preview


@pytest.fixture
def odd():
    """A row of everything that a table may hold, and a row of nothing."""
    return pd.DataFrame(
        {
            "name": ["Blatt", None],
            "thumbnail": [b"\xff\x00\x80", None],
            "hash": pd.Series([2**64 - 1, None], dtype="UInt64"),
            "share": [0.5, np.nan],
            "there": pd.Series([True, None], dtype="boolean"),
            "probs": [np.array([0.25, np.nan], np.float32), None],
            "seen": [pd.Timestamp("2026-11-21T12:00:00"), pd.NaT],
            "about": [{"jpeg": b"\xff"}, None],
        }
    )


EXPECTED = ["Blatt", "3 bytes", 2**64 - 1, 0.5, True, [0.25, None], "2026-11-21 12:00:00"]


def test_every_cell_can_be_written_as_json(odd):
    shown = json.loads(json.dumps(table_preview(odd), allow_nan=False))
    assert shown["columns"] == list(odd.columns)
    assert shown["index"] == [0, 1]
    assert shown["data"] == [[*EXPECTED, {"jpeg": "1 byte"}], [None] * 8]


def test_infinity_is_a_word():
    shown = table_preview(pd.DataFrame({"x": [np.inf, -np.inf]}))
    assert shown["data"] == [["inf"], ["-inf"]]


@pytest.mark.parametrize("group_rows", [1, 3, 100])
def test_the_first_rows_of_a_file_are_shown(odd, tmp_path, group_rows):
    path = tmp_path / "a.parquet"
    table = pd.concat([odd] * 5, ignore_index=True)
    table.to_parquet(path, row_group_size=group_rows)
    dataset = TableDataset(filepath=str(path))
    shown = dataset.preview(nrows=7)
    assert shown["data"] == table_preview(table.head(7))["data"]
    assert len(dataset.preview(nrows=50)["data"]) == 10
    assert dataset.load().equals(pq.read_table(path).to_pandas())


def test_a_table_without_rows_shows_its_columns(odd, tmp_path):
    path = tmp_path / "a.parquet"
    odd.head(0).to_parquet(path)
    shown = TableDataset(filepath=str(path)).preview()
    assert (shown["columns"], shown["data"]) == (list(odd.columns), [])


def test_an_earlier_version_is_read_while_a_new_one_is_written(tmp_path):
    path = (tmp_path / "table.parquet").as_posix()
    earlier = EarlierTableDataset(filepath=path, version=Version(None, "2026-01-02"))
    assert earlier.load().empty
    old = pd.DataFrame({"a": [1]})
    TableDataset(filepath=path, version=Version(None, "2026-01-01")).save(old)
    pd.testing.assert_frame_equal(
        EarlierTableDataset(filepath=path, version=Version(None, "2026-01-02")).load(), old
    )
    with pytest.raises(DatasetError, match="read-only"):
        earlier.save(old)
