import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.split_ledger import SplitLedgerDataset
from cannabis_ml.photo_sets.split_ledger import COLUMNS, empty_ledger, next_ingestion


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "split_ledger.parquet"


@pytest.fixture
def dataset(path):
    return SplitLedgerDataset(filepath=str(path))


@pytest.fixture
def ledger():
    """As ingestion writes it: text, with a missing value where a source gave no split."""
    return pd.DataFrame(
        {
            "photo_id": ["ff", "007", "1e5", "a0"],
            "split": ["train", "test", "validation", "train"],
            "given_split": [None, "test", None, "train"],
            "division": ["seed 1", "seed 1", "seed 2", "Größe – 2"],
            "ingestion": ["1", "1", "2", "10"],
        }
    ).astype("str")


def test_is_empty_until_it_is_written(dataset, path):
    assert not dataset.exists()
    loaded = dataset.load()
    assert tuple(loaded.columns) == COLUMNS
    assert len(loaded) == 0
    assert set(loaded.dtypes) == {pd.StringDtype(na_value=float("nan"))}
    assert not path.parent.exists()


def test_rows_added_to_an_empty_ledger_stay_text(ledger):
    both = pd.concat([empty_ledger(), ledger], ignore_index=True)
    pd.testing.assert_frame_equal(both, ledger)


def test_round_trip(dataset, ledger):
    dataset.save(ledger)
    assert dataset.exists()
    pd.testing.assert_frame_equal(dataset.load(), ledger)


def test_an_empty_ledger_can_be_saved(dataset):
    dataset.save(empty_ledger())
    assert dataset.exists()
    pd.testing.assert_frame_equal(dataset.load(), empty_ledger())


def test_no_split_given_is_no_text(dataset, ledger):
    dataset.save(ledger)
    assert dataset.load()["given_split"].isna().tolist() == [True, False, True, False]


def test_whatever_types_are_saved_text_is_loaded(dataset, ledger):
    typed = ledger.astype({"split": "category", "given_split": object}).iloc[::-1]
    dataset.save(typed)
    pd.testing.assert_frame_equal(dataset.load(), ledger.iloc[::-1].reset_index(drop=True))


def test_a_ledger_from_before_ingestions_were_counted_is_the_first(dataset, path, ledger):
    path.parent.mkdir()
    ledger.drop(columns="ingestion").to_parquet(path)
    assert dataset.load()["ingestion"].tolist() == ["1"] * 4
    assert next_ingestion(dataset.load()) == "2"
    assert next_ingestion(ledger) == "11"
    assert next_ingestion(empty_ledger()) == "1"


def test_two_entries_share_the_file(dataset, path, ledger):
    before = SplitLedgerDataset(filepath=str(path))
    for rows in (2, 4):
        dataset.save(ledger[:rows])
        assert before.load()["photo_id"].tolist() == ledger["photo_id"][:rows].tolist()


def test_failed_save_leaves_the_older_file_and_nothing_else(dataset, path, ledger):
    dataset.save(ledger)
    with pytest.raises(DatasetError):
        dataset.save(ledger.astype(object).assign(split=[object()] * 4))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    pd.testing.assert_frame_equal(dataset.load(), ledger)


def test_save_that_breaks_off_leaves_the_older_file(dataset, path, ledger, monkeypatch):
    dataset.save(ledger)

    def full(_, aside, **__):
        aside.write_bytes(b"PAR1 and no more")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(DatasetError, match="No space left"):
            dataset.save(ledger[:1])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    pd.testing.assert_frame_equal(dataset.load(), ledger)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_ledger_is_named_and_never_taken_for_an_empty_one(dataset, path, ledger, damage):
    dataset.save(ledger)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-10], "empty": b"", "text": b"photo_id,split"}[damage])
    with pytest.raises(DatasetError, match=r"split_ledger\.parquet"):
        dataset.load()


def test_preview_shows_first_rows_as_plain_json(dataset, ledger):
    assert json.loads(json.dumps(dataset.preview()))["data"] == []
    dataset.save(ledger)
    shown = json.loads(json.dumps(dataset.preview(nrows=2), allow_nan=False))
    assert shown["columns"] == list(COLUMNS)
    assert shown["data"] == [
        ["ff", "train", None, "seed 1", "1"],
        ["007", "test", "test", "seed 1", "1"],
    ]


def test_metadata_is_kept_for_plugins(path):
    metadata = {"kedro-viz": {"layer": "primary"}}
    assert SplitLedgerDataset(filepath=str(path), metadata=metadata).metadata == metadata
