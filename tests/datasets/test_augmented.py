import hashlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from datasets import Features, Image, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from cannabis_ml.datasets.augmented import AugmentedPhotosDataset
from cannabis_ml.photo_sets import shards
from cannabis_ml.photo_sets.copies import Copies, CopyStream

FEATURES = Features(
    {
        "photo_id": Value("string"),
        "image": Image(),
        "split": Value("string"),
        "label": Value("string"),
    }
)


class Maker:
    """Photos with made-up bytes for copies; counts what is made."""

    def __init__(self):
        self.made = []
        self.lock = threading.Lock()

    def photo(self, number, copies=2, label="a", seed=0):
        photo_id = hashlib.sha256(str(number).encode()).hexdigest()
        keys = [
            hashlib.sha256(f"{photo_id} {k} {seed}".encode()).hexdigest() for k in range(copies)
        ]

        def make(wanted):
            with self.lock:
                self.made += [(number, k) for k in wanted]
            return [f"jpeg of {photo_id} {k} {seed}".encode() for k in wanted]

        row = {"photo_id": photo_id, "split": "train", "label": label}
        return Copies(row, keys, make)

    def stream(self, photos, workers=1):
        total = sum(len(photo.keys) for photo in photos)
        return CopyStream(FEATURES, iter(photos), total, workers)

    def numbers(self, numbers, workers=1, **options):
        return self.stream([self.photo(n, **options) for n in numbers], workers)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_PHOTOS", 4)


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def store(tmp_path):
    return AugmentedPhotosDataset(filepath=str(tmp_path / "copies"))


def contents(folder):
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder): path.read_bytes() for path in files}


def files_of(dataset):
    return sorted(dataset.store.folder.glob("*.arrow"))


def bytes_of(dataset):
    return [row["bytes"] for row in dataset.cast_column("image", Image(decode=False))["image"]]


def test_loads_what_was_saved_in_order(store, maker):
    store.save(maker.numbers([3, 1, 2]))
    loaded = store.load().arrow
    assert loaded.column_names == [*FEATURES, "copy"]
    assert loaded["copy"] == [1, 2] * 3
    expected = [maker.photo(n) for n in (3, 1, 2)]
    assert loaded["photo_id"] == [p.row["photo_id"] for p in expected for _ in p.keys]
    assert bytes_of(loaded) == [image for p in expected for image in p.make([0, 1])]


def test_a_photo_without_copies_and_none_at_all(store, maker):
    store.save(maker.stream([maker.photo(1, copies=0), maker.photo(2, copies=3)]))
    assert store.load().arrow["copy"] == [1, 2, 3]
    store.save(maker.stream([maker.photo(1, copies=0)]))
    assert len(store.load()) == 0
    assert store.load().arrow.column_names == [*FEATURES, "copy"]


def test_nothing_is_made_twice(store, maker):
    store.save(maker.numbers(range(30)))
    first = contents(store._filepath)
    maker.made.clear()
    store.save(maker.numbers(range(30)))
    assert maker.made == []
    assert contents(store._filepath) == first


def test_one_percent_more_photos_make_one_percent_more_copies(store, maker):
    store.save(maker.numbers(range(100)))
    maker.made.clear()
    store.save(maker.numbers([*range(40), 1000, *range(40, 100)]))
    assert maker.made == [(1000, 0), (1000, 1)]
    assert store.load().arrow["photo_id"][80] == maker.photo(1000).row["photo_id"]


def test_more_copies_make_the_new_ones_only(store, maker):
    store.save(maker.numbers(range(10)))
    maker.made.clear()
    store.save(maker.numbers(range(10), copies=3))
    assert maker.made == [(n, 2) for n in range(10)]


def test_a_corrected_label_moves_no_pixels(store, maker):
    store.save(maker.numbers(range(10)))
    maker.made.clear()
    store.save(maker.numbers(range(10), label="b"))
    assert maker.made == []
    assert set(store.load().arrow["label"]) == {"b"}


def test_what_is_no_longer_wanted_is_dropped(store, maker):
    store.save(maker.numbers(range(30)))
    store.save(maker.numbers(range(5)))
    assert len(store.load()) == 10
    rows = sum(shards.read_shard(path, ["key"]).num_rows for path in files_of(store))
    assert rows == 10


def test_other_columns_keep_the_copies(store, maker):
    store.save(maker.numbers(range(10)))
    maker.made.clear()
    photos = [maker.photo(n) for n in range(10)]
    for photo in photos:
        photo.row["grade"] = "A"
    features = Features({**FEATURES, "grade": Value("string")})
    store.save(CopyStream(features, photos, 20, 1))
    assert maker.made == []
    assert set(store.load().arrow["grade"]) == {"A"}


wanted = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 3)), max_size=20, unique_by=lambda x: x[0]
)


@given(st.lists(wanted, min_size=1, max_size=4), st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
def test_only_what_is_wanted_last_decides_the_bytes(tmp_path_factory, saves, workers):
    maker, folder = Maker(), tmp_path_factory.mktemp("copies")
    used, fresh = (AugmentedPhotosDataset(filepath=str(folder / n)) for n in ("used", "fresh"))
    before = set()
    for photos in saves:
        maker.made.clear()
        used.save(maker.stream([maker.photo(n, copies) for n, copies in photos], workers))
        now = {(n, k) for n, copies in photos for k in range(copies)}
        assert sorted(maker.made) == sorted(now - before)
        before = now
    fresh.save(maker.stream([maker.photo(n, copies) for n, copies in saves[-1]]))
    assert contents(used._filepath) == contents(fresh._filepath)


def test_an_error_leaves_the_last_state_and_what_was_finished(store, maker):
    store.save(maker.numbers(range(5)))
    before = bytes_of(store.load().arrow)

    def fail(_):
        raise RuntimeError("no more")

    photos = [maker.photo(n, seed=1) for n in range(40)]
    photos[35] = Copies(photos[35].row, photos[35].keys, fail)
    with pytest.raises(DatasetError, match="no more"):
        store.save(maker.stream(photos))
    assert bytes_of(store.load().arrow) == before
    assert not list(store.store.folder.glob(".*.part"))
    maker.made.clear()
    store.save(maker.numbers(range(40), seed=1))
    assert 0 < len(maker.made) < 60


def test_damaged_files_are_made_anew(store, maker):
    store.save(maker.numbers(range(30)))
    whole = contents(store._filepath)
    paths = files_of(store)
    paths[0].write_bytes(paths[0].read_bytes()[:-200])
    paths[1].write_bytes(b"")
    (store.store.folder / "copies-0.arrow").write_bytes(b"no arrow at all")
    store.save(maker.numbers(range(30)))
    assert contents(store._filepath) == whole


def test_an_absent_store_names_what_to_run(store):
    assert not store.exists()
    with pytest.raises(DatasetError, match="run the augmentation pipeline"):
        store.load()


SLOW_SAVE = textwrap.dedent(
    """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    import test_augmented as t
    from cannabis_ml.photo_sets import shards
    shards.SHARD_PHOTOS = 4
    maker = t.Maker()
    photos = [maker.photo(n) for n in range(120)]
    def slowly(photo):
        def make(wanted):
            time.sleep(0.002)
            return photo.make(wanted)
        return t.Copies(photo.row, photo.keys, make)
    print("begins", flush=True)
    store = t.AugmentedPhotosDataset(filepath=sys.argv[1])
    store.save(t.CopyStream(t.FEATURES, [slowly(p) for p in photos], 240, 2))
    print("done", flush=True)
    """
)


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_ends_the_same(tmp_path, maker):
    undisturbed = AugmentedPhotosDataset(filepath=str(tmp_path / "undisturbed"))
    undisturbed.save(maker.numbers(range(120)))
    wanted = contents(undisturbed._filepath)
    store = AugmentedPhotosDataset(filepath=str(tmp_path / "killed"))
    store.save(maker.numbers(range(0, 120, 40)))
    for delay in (0.01, 0.05, 0.09, None):
        command = [
            sys.executable,
            "-c",
            SLOW_SAVE,
            str(store._filepath),
            str(Path(__file__).parent),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "begins"
        if delay:
            time.sleep(delay)
        while not delay and process.poll() is None and len(files_of(store)) < 12:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(store.load()) in (6, 240)  # readable throughout
    maker.made.clear()
    store.save(maker.numbers(range(120)))
    assert contents(store._filepath) == wanted
    assert len(maker.made) < 220  # what had been finished was kept
