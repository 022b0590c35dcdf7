"""Versions of a set share what they have in common, and cost what is new."""

import hashlib
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.errors import StorageError
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.photo_sets.photo_writer import write_stream
from cannabis_ml.photo_sets.shards import ShardStore, divide, read_index
from cannabis_ml.photo_sets.split_ledger import ingestion_of
from cannabis_ml.pipelines.ingestion.nodes import keep_sound_photos


def photos(numbers, **changes):
    ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]
    paths = [f"{n % 7}/{n}.jpg" for n in numbers]
    table = pd.DataFrame({"photo_id": ids, "path": paths, "group": ids, "split": "train"})
    return table.assign(**changes)


def encode(row):
    return bytes.fromhex(row["photo_id"]) * 128  # 4 kB


def save(store, version, rows):
    index = store.root / version / store.root.name
    write_stream(PhotoStream(rows, encode, 1), store, index)
    return index


def size(store):
    return sum(path.stat().st_size for path in store.root.rglob("*"))


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "set")


def test_a_photo_more_or_less_changes_one_shard(store):
    save(store, "1", photos(range(1000)))
    for version, numbers in {
        "more": [*range(500), 5000, *range(500, 1000)],
        "less": [n for n in range(1000) if n != 321],
    }.items():
        before = set(store.folder.glob("*.arrow"))
        save(store, version, photos(numbers))
        assert len(set(store.folder.glob("*.arrow")) - before) in (1, 2)  # two at a border


def test_a_corrected_label_rewrites_one_shard(store):
    save(store, "1", photos(range(1000)))
    before = set(store.folder.glob("*.arrow"))
    rows = photos(range(1000))
    rows.loc[777, "split"] = "test"
    index = save(store, "2", rows)
    assert len(set(store.folder.glob("*.arrow")) - before) == 1
    assert read_index(index, store)["split"][777] == "test"


def test_one_percent_more_photos_cost_two_percent_at_most(store):
    """Wherever among the 10,000 the 100 new ones lie: ingestion puts them last."""
    there, ledger, sizes = photos([]), pd.DataFrame(), [0]
    for version, numbers in enumerate(np.split(np.arange(10_400), range(10_000, 10_400, 100))):
        there = pd.concat([there, photos(numbers)]).sort_values("path", ignore_index=True)
        added = photos(numbers)[["photo_id"]].assign(ingestion=str(version))
        ledger = pd.concat([ledger, added])
        index = save(store, str(version), keep_sound_photos(found(there), ledger))
        sizes.append(size(store))
    costs = np.diff(sizes)
    assert costs[1:].mean() / costs[0] < 0.02
    loaded = read_index(index, store)
    assert set(loaded["photo_id"][-100:]) == set(added["photo_id"])
    assert not there["photo_id"][-100:].isin(added["photo_id"]).all()
    stored = loaded.with_format("arrow")[1234].to_pylist()[0]
    assert stored["image"]["bytes"] == encode(stored)


def found(rows):
    return rows.assign(defect=None, detail=None, duplicate_of=None, given_split=None)


def test_photos_added_later_come_after_those_added_before():
    rows = photos([9, 3, 15, 6, 1, 4, 2])
    added = photos([1, 3, 4, 2, 9, 15, 6])["photo_id"]
    numbers = ["1"] * 3 + ["2"] * 3 + ["10"]
    ledger = pd.DataFrame({"photo_id": added, "ingestion": numbers})
    ledger = pd.concat([ledger, ledger.assign(ingestion="11")])  # divided anew
    kept = keep_sound_photos(found(rows), ledger)
    assert kept["path"].tolist() == photos([3, 1, 4, 9, 15, 2, 6])["path"].tolist()
    assert ingestion_of(ledger, kept["photo_id"]).tolist() == [1] * 3 + [2] * 3 + [10]


def test_shards_are_cut_by_ids_alone():
    ids = photos(range(2000))["photo_id"].tolist()
    parts = list(divide(ids, str))
    assert [photo for part in parts for photo in part] == ids
    assert 40 < np.mean([len(part) for part in parts[:-1]]) < 90
    starts = {part[0] for part in parts[1:]}
    assert starts <= {part[0] for part in divide(ids[100:], str)} | set(ids[:101])


def test_two_writers_wait_for_each_other(store, caplog):
    """Both versions are whole, whoever is first; neither removes what the other has written."""
    caplog.set_level("INFO", logger="cannabis_ml.photo_sets.shards")
    save(store, "0", photos(range(10)))
    going, indexes = threading.Event(), {}

    def slow(row):
        going.set()
        time.sleep(0.001)
        return encode(row)

    def first():
        index = store.root / "1" / store.root.name
        write_stream(PhotoStream(photos(range(150)), slow, 1), store, index)
        indexes["1"] = index

    thread = threading.Thread(target=first)
    thread.start()
    assert going.wait(30)
    indexes["2"] = save(store, "2", photos(range(100, 300)))
    thread.join()
    assert len(read_index(indexes["1"], store)) == 150
    assert len(read_index(indexes["2"], store)) == 200
    assert store.unused(store.indexes()) == []
    waited = [record.getMessage() for record in caplog.records]
    assert waited == [f"Waiting for another run that is writing photos into {store.root}"]


HOLD = """
import sys
from pathlib import Path
from cannabis_ml.photo_sets.shards import ShardStore
with ShardStore(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_kept_from_other_processes_and_ends_with_its_own(store):
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline().strip() == "held"
        with pytest.raises(StorageError, match="Another run is writing"), store.locked(timeout=0):
            pass
        other.kill()
        other.wait()
        with store.locked(timeout=30):
            pass
