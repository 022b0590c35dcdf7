import pytest
from datasets import Dataset

from cannabis_ml.photo_sets.stream import stream_batches


@pytest.fixture
def on_disk(tmp_path):
    rows = Dataset.from_dict({"n": list(range(1234)), "half": [n / 2 for n in range(1234)]})
    rows.save_to_disk(tmp_path, num_shards=3)
    return Dataset.load_from_disk(str(tmp_path))


def read(dataset):
    tables = list(stream_batches(dataset))
    assert all(table.column_names == dataset.column_names for table in tables)
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows,
        lambda rows: rows.select_columns(["half"]),
        lambda rows: rows.select_columns(["half", "n"]),
        lambda rows: rows.select([5, 3, 1000]),
        lambda rows: rows.select(range(10, 20)),
        lambda rows: rows.shuffle(seed=1),
        lambda rows: rows.rename_column("half", "n2"),
        lambda rows: Dataset.from_list(rows.to_list()),
        lambda rows: rows.select([]),
    ],
    ids=[
        "as_is",
        "one_column",
        "other_order",
        "some",
        "slice",
        "shuffled",
        "renamed",
        "in_memory",
        "none",
    ],
)
def test_every_row_comes_once_in_order(on_disk, change):
    dataset = change(on_disk)
    assert read(dataset) == list(dataset)


def test_a_plain_set_is_read_not_mapped(on_disk, monkeypatch):
    monkeypatch.setattr(Dataset, "iter", None)
    assert len(read(on_disk)) == 1234
