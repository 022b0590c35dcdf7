"""Photos and labels are stored whole, in order, and load memory-mapped."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.photo_sets import photo_set
from cannabis_ml.photo_sets.photo_set import PhotoSet, PhotoStream


def rows(n=7):
    return pd.DataFrame(
        {
            "photo_id": [hashlib.sha256(bytes([i])).hexdigest() for i in range(n)],
            "path": [f"ü {i}.jpg" for i in range(n)],
            "group": [f"g{i // 2}" for i in range(n)],
            "split": ["train"] * n,
            "kind": pd.Series([["a", None][i % 2] for i in range(n)], dtype="str"),
            "traits.wet": pd.array([[1, 0, None][i % 3] for i in range(n)], dtype="Int8"),
            "empty": pd.Series([None] * n, dtype="str"),
        }
    )


@pytest.fixture
def stream(draw, encode):
    def make(n=7, workers=2, **changes):
        def one(row):
            time.sleep(0.002 * (int(row["photo_id"][:2], 16) % 3))
            return encode(draw(int(row["photo_id"][:6], 16), 24, 16), "PNG")

        return PhotoStream(rows(n).assign(**changes), one, workers)

    return make


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_what_is_saved_is_loaded(stream, tmp_path, draw):
    dataset = PhotoSetDataset(filepath=str(tmp_path / "new" / "set"))
    assert not dataset.exists()
    dataset.save(stream())
    assert dataset.exists()
    loaded = dataset.load()
    table = loaded.labels()
    expected = rows()
    assert table["path"].tolist() == expected["path"].tolist()
    assert table["kind"].fillna("?").tolist() == ["a", "?"] * 3 + ["a"]
    assert table["traits.wet"].fillna(-1).tolist() == [1, 0, -1, 1, 0, -1, 1]
    assert table["empty"].isna().all()
    assert loaded.arrow.features["traits.wet"].dtype == "int8"
    seed = int(expected["photo_id"][3][:6], 16)
    np.testing.assert_array_equal(loaded.pixels(3), np.asarray(draw(seed, 24, 16)))


def test_hugging_face_reads_it_without_us(stream, tmp_path):
    import datasets

    PhotoSetDataset(filepath=str(tmp_path / "set")).save(stream())
    loaded = datasets.load_from_disk(str(tmp_path / "set"))
    assert len(loaded) == 7
    assert loaded.cache_files[0]["filename"].startswith(str(tmp_path / "set"))


@pytest.mark.parametrize("n", [1, 99, 100, 201])
def test_rows_survive_batch_borders(n, tmp_path):
    stream = PhotoStream(rows(256).head(n), lambda row: row["photo_id"].encode(), 2)
    dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
    dataset.save(stream)
    loaded = dataset.load()
    stored = [loaded.stored(row).decode() for row in range(len(loaded))]
    assert stored == rows(256)["photo_id"].head(n).tolist()


def test_same_bytes_whatever_the_workers(stream, tmp_path):
    for workers in (1, 2, 5):
        PhotoSetDataset(filepath=str(tmp_path / str(workers))).save(stream(workers=workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "5")


def test_newer_set_takes_the_place_of_the_older(stream, tmp_path):
    dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
    dataset.save(stream(7))
    open_one = dataset.load()
    dataset.save(stream(3))
    assert len(dataset.load()) == 3
    assert open_one.labels_at(6)["path"] == "ü 6.jpg"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_failure_leaves_the_older_set(stream, tmp_path):
    dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
    dataset.save(stream(3))
    before = contents(tmp_path / "set")

    def fail(row):
        raise OSError("the disk is full")

    with pytest.raises(DatasetError, match="the disk is full"):
        dataset.save(PhotoStream(rows(), fail, 2))
    assert contents(tmp_path / "set") == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_part_of_a_set_can_be_saved_over_itself(stream, tmp_path):
    dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
    dataset.save(stream())
    dataset.save(PhotoSet(dataset.load().arrow.select([0, 2])))
    assert dataset.load().labels("path")["path"].tolist() == ["ü 0.jpg", "ü 2.jpg"]


def test_missing_set_is_named(tmp_path):
    with pytest.raises(DatasetError, match="holds no photo set"):
        PhotoSetDataset(filepath=str(tmp_path / "set")).load()


def test_memory_stays_flat(tmp_path):
    """200 kB a photo: 4 times the photos must not take 4 times the memory."""
    peaks = {}
    for n in (300, 1200):
        frame = pd.concat([rows(100)] * (n // 100), ignore_index=True)
        tracemalloc.start()
        PhotoSetDataset(filepath=str(tmp_path / str(n))).save(
            PhotoStream(frame, lambda row: bytes(200_000), 2)
        )
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1200] < 1.2 * peaks[300]


def test_encoding_runs_in_the_threads_asked_for(tmp_path):
    seen = set()

    def encode(row):
        seen.add(threading.get_ident())
        time.sleep(0.005)
        return b"x"

    PhotoSetDataset(filepath=str(tmp_path / "set")).save(PhotoStream(rows(30), encode, 3))
    assert len(seen) == 3


def test_nothing_is_written_to_the_home_directory(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = """
import sys, pandas as pd
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.photo_sets.photo_set import PhotoStream
rows = pd.DataFrame({"photo_id": ["a"], "path": ["p"], "group": ["g"], "split": ["train"]})
dataset = PhotoSetDataset(filepath=sys.argv[1])
dataset.save(PhotoStream(rows, lambda row: b"x", 1))
dataset.load().fingerprint
"""
    hidden = ("HF_HOME", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "set")],
        env=kept | {"HOME": str(home), "PYTHONPATH": path},
        check=True,
    )
    assert list(home.iterdir()) == []


def test_importing_the_catalog_types_is_light():
    code = """
import sys
import cannabis_ml.datasets.photo_set, cannabis_ml.datasets.source_photos
import cannabis_ml.datasets.taxonomy, cannabis_ml.pipelines.ingestion
heavy = {"torch", "datasets", "sklearn", "tensorflow", "lightning", "timm"} & set(sys.modules)
assert not heavy, heavy
"""
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, check=True)


def test_preview_shows_rows_without_pixels(stream, tmp_path):
    dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
    dataset.save(stream())
    preview = dataset.preview(nrows=2)
    assert len(preview["data"]) == 2
    assert "image" not in preview["columns"]
    json.dumps(preview)


def versioned(path, number):
    return PhotoSetDataset(filepath=str(path), version=Version(None, f"2026-01-0{number}"))


def opened(path, number):
    return PhotoSetDataset(filepath=str(path), version=Version(f"2026-01-0{number}", None)).load()


class TestVersions:
    def test_each_stays_what_it_was(self, stream, tmp_path):
        import datasets

        path = tmp_path / "set"
        for number, n in enumerate((7, 3, 5), start=1):
            versioned(path, number).save(stream(n))
        assert [len(opened(path, number)) for number in (1, 2, 3)] == [7, 3, 5]
        assert len(PhotoSetDataset(filepath=str(path), version=Version(None, None)).load()) == 5
        alone = datasets.load_from_disk(str(path / "2026-01-02" / "set"))
        assert alone["path"][:] == opened(path, 2).arrow["path"][:]
        assert alone.cache_files  # memory-mapped

    def test_a_set_can_be_moved_with_its_versions(self, stream, tmp_path):
        versioned(tmp_path / "set", 1).save(stream())
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "set").rename(tmp_path / "far" / "away" / "set")
        assert opened(tmp_path / "far" / "away" / "set", 1).pixels(6).shape == (16, 24, 3)

    def test_the_same_photos_again_cost_an_index(self, stream, tmp_path):
        versioned(tmp_path / "set", 1).save(stream())
        shards = contents(tmp_path / "set" / "shards")
        versioned(tmp_path / "set", 2).save(stream())
        assert contents(tmp_path / "set" / "shards") == shards
        first, second = (opened(tmp_path / "set", number) for number in (1, 2))
        assert first.fingerprint == second.fingerprint

    def test_a_failure_leaves_no_version(self, stream, tmp_path):
        versioned(tmp_path / "set", 1).save(stream(3))

        def fail(row):
            raise OSError("the disk is full")

        with pytest.raises(DatasetError, match="the disk is full"):
            versioned(tmp_path / "set", 2).save(PhotoStream(rows(), fail, 2))
        latest = PhotoSetDataset(filepath=str(tmp_path / "set"), version=Version(None, None))
        assert latest.resolve_load_version() == "2026-01-01"
        assert len(latest.load()) == 3

    def test_missing_shards_are_counted_and_named(self, stream, tmp_path):
        versioned(tmp_path / "set", 1).save(stream())
        (shard,) = (tmp_path / "set" / "shards").glob("*.arrow")
        shard.unlink()
        with pytest.raises(DatasetError, match=rf"1 of the 1 files of .*{shard.name}"):
            opened(tmp_path / "set", 1)

    def test_none_at_all_names_what_to_run(self, tmp_path):
        with pytest.raises(DatasetError, match="run the ingestion pipeline"):
            PhotoSetDataset(filepath=str(tmp_path / "set"), version=Version(None, None)).load()


class TestFingerprint:
    @pytest.fixture
    def fingerprint(self, stream, tmp_path):
        def of(**changes):
            dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
            dataset.save(stream(**changes))
            return dataset.load().fingerprint

        return of

    def test_same_photos_same_fingerprint_wherever_they_lie(self, fingerprint):
        assert fingerprint() == fingerprint(path="elsewhere.jpg", workers=1)
        assert len(fingerprint()) == 64

    @pytest.mark.parametrize(
        "changes",
        [
            {"n": 6},
            {"split": "test"},
            {"kind": "b"},
            {"traits.wet": pd.array([0] * 7, dtype="Int8")},
            {"group": "one"},
        ],
    )
    def test_what_changes_training_changes_the_fingerprint(self, changes, fingerprint):
        assert fingerprint(**changes) != fingerprint()

    def test_other_storage_changes_the_fingerprint(self, tmp_path, draw, encode):
        prints = set()
        for quality in (95, 80):
            dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
            dataset.save(PhotoStream(rows(3), lambda row, q=quality: encode(quality=q), 1))
            prints.add(dataset.load().fingerprint)
        assert len(prints) == 2

    def test_is_computed_once_for_a_set_however_often_it_is_loaded(
        self, stream, tmp_path, monkeypatch
    ):
        dataset = PhotoSetDataset(filepath=str(tmp_path / "set"))
        dataset.save(stream(kind="counted"))
        computed = []
        real = photo_set._fingerprint
        monkeypatch.setattr(
            photo_set, "_fingerprint", lambda found: computed.append(found) or real(found)
        )
        first = dataset.load().fingerprint
        assert dataset.load().fingerprint == first
        assert len(computed) == 1
        # Fewer photos or columns of the same set are another set.
        arrow = dataset.load().arrow
        assert PhotoSet(arrow.select([0])).fingerprint != first
        assert PhotoSet(arrow.remove_columns("kind")).fingerprint != first
        assert len(computed) == 3


SAVE_WITH_LITTLE_ROOM = """
import resource, sys
import pandas as pd
from cannabis_ml import cli
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.datasets.table import TableDataset

folder, kind = sys.argv[1:]
rows = pd.DataFrame({c: [f"{i:064d}" for i in range(2000)] for c in ("photo_id", "path", "group")})
stream = PhotoStream(rows, lambda row: bytes(1000), 2)

def run(**options):
    # A file that may not grow stands for a disk that is full; both are errors of writing.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    if kind == "photo set":
        PhotoSetDataset(filepath=f"{folder}/x").save(stream)
    else:
        TableDataset(filepath=f"{folder}/x", save_args={"compression": None}).save(rows)

cli.kedro_run.callback = run
cli.cli(["run"])
"""


@pytest.mark.parametrize("kind", ["photo set", "table"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_no_room_ends_the_command_in_a_sentence(processes, kind, tmp_path):
    done = processes.run(["-c", SAVE_WITH_LITTLE_ROOM, tmp_path, kind])
    assert done.returncode == 1
    error, remedy, verbose = done.stderr.strip().splitlines()
    file, _, said = error.removeprefix("Error: There is no room for ").partition(": ")
    folder = {"photo set": tmp_path / "x" / "shards", "table": tmp_path}[kind]
    assert Path(file).parent == folder
    assert said == "File too large, after 0.1 MB of it. Nothing half-written was left."
    assert remedy.startswith("Make room there")
    assert "--verbose" in verbose
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert all(name == ".lock" or re.fullmatch(r"photos-\w+\.arrow", name) for name in left)
    assert kind == "photo set" or not left
