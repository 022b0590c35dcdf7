import itertools
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cannabis_ml.errors import BundleError, PromotionError
from cannabis_ml.evaluation.comparison.verdict import first_champion
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.promotion.records import Standing
from cannabis_ml.promotion.store import ChampionStore


def why(reason="better", **other):
    return Standing(by="Ada", reason=reason, at=datetime(2026, 11, 27, tzinfo=UTC), **other)


@pytest.fixture(scope="module")
def bundles(onnx_contents, tmp_path_factory):
    """Three bundles of different names."""
    root = tmp_path_factory.mktemp("bundles")
    return [write_bundle(root / name / "bundle", onnx_contents(name=name)) for name in "abc"]


@pytest.fixture
def store(tmp_path):
    return ChampionStore(tmp_path / "champion")


def id_of(bundle):
    return bundle.manifest.content_sha256


def test_there_is_no_champion_at_first(store):
    assert store.current() is None
    assert store.open() is None
    with pytest.raises(PromotionError, match="no champion"):
        store.roll_back(why())


def test_a_promotion_leaves_a_record_of_who_why_and_what_was_tested(store, bundles):
    report = first_champion(id_of(bundles[0]))
    store.promote(bundles[0], why("the first", report=report))
    (record,) = store.records()
    assert (record.number, record.kind, record.by, record.reason) == (
        1,
        "promotion",
        "Ada",
        "the first",
    )
    assert (record.bundle_id, record.previous) == (id_of(bundles[0]), None)
    assert (record.run, record.photo_set_fingerprint) == ("abc", "def")
    assert record.outcome == "promote"
    assert record.test == report.reasons


def test_what_is_served_is_the_champion_whole(store, bundles):
    for bundle in bundles:
        store.promote(bundle, why())
        assert id_of(Bundle.open(store.served)) == id_of(bundle)
        assert id_of(store.open()) == id_of(bundle)


def test_promoting_the_champion_again_changes_nothing(store, bundles):
    first = store.promote(bundles[0], why())
    assert store.promote(bundles[0], why("again")) == first
    assert len(store.records()) == 1


def test_rollback_brings_back_the_very_bytes_and_further_back_each_time(store, bundles):
    for bundle in bundles:
        store.promote(bundle, why())
    for expected in (bundles[1], bundles[0]):
        record = store.roll_back(why("it was wrong on hash"))
        assert (record.kind, record.bundle_id) == ("rollback", id_of(expected))
        packed = expected.path.with_name("bundle.zip")
        assert store.served.read_bytes() == packed.read_bytes()
    with pytest.raises(PromotionError, match="no champion before"):
        store.roll_back(why())
    assert [record.number for record in store.records()] == [1, 2, 3, 4, 5]


def test_a_rollback_can_be_rolled_back_by_name(store, bundles):
    for bundle in bundles[:2]:
        store.promote(bundle, why())
    store.roll_back(why())
    store.roll_back(why(), to=id_of(bundles[1])[:12])
    assert store.current().bundle_id == id_of(bundles[1])
    with pytest.raises(PromotionError, match="champion already"):
        store.roll_back(why(), to=id_of(bundles[1]))
    with pytest.raises(PromotionError, match="begins with 'xyz'"):
        store.roll_back(why(), to="xyz")


def test_a_bundle_that_comes_back_by_promotion_has_the_other_before_it(store, bundles):
    for number in (0, 1, 0):
        store.promote(bundles[number], why())
    assert store.roll_back(why()).bundle_id == id_of(bundles[1])


def test_the_champion_outlives_the_files_it_came_from(store, onnx_contents, tmp_path):
    bundle = write_bundle(tmp_path / "run" / "bundle", onnx_contents(name="d"))
    store.promote(bundle, why())
    shutil.rmtree(tmp_path / "run")
    assert id_of(store.open()) == id_of(bundle)


def test_checkpoints_of_the_champion_are_kept_beside_it(store, bundles, tmp_path):
    given = tmp_path / "given.safetensors"
    given.write_bytes(b"weights")
    store.promote(bundles[0], why(), {"tier1": given})
    given.unlink()
    first, second = id_of(bundles[0]), id_of(bundles[1])
    assert store.checkpoint("tier1", first).read_bytes() == b"weights"
    assert store.checkpoint("tier2", first) is None
    store.promote(bundles[1], why())
    assert store.checkpoint("tier1", second) is None
    assert store.checkpoint("tier1", first).read_bytes() == b"weights"


def test_a_damaged_zip_does_not_become_champion(store, onnx_contents, tmp_path):
    bundle = write_bundle(tmp_path / "run" / "bundle", onnx_contents(name="d"))
    packed = tmp_path / "run" / "bundle.zip"
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(BundleError):
        store.promote(bundle, why())
    assert store.current() is None


def test_what_a_killed_promotion_left_is_put_right(store, bundles):
    store.promote(bundles[0], why())
    old = store.served.read_bytes()
    store.promote(bundles[1], why())
    store.served.unlink()
    store.served.write_bytes(old)  # killed between the record and the file
    store.promote(bundles[1], why())
    assert id_of(Bundle.open(store.served)) == id_of(bundles[1])


def test_a_damaged_record_is_named(store, bundles):
    store.promote(bundles[0], why())
    path = store.root / "records" / "0001.json"
    path.write_text(json.dumps({"number": 1}))
    with pytest.raises(PromotionError, match=r"0001\.json"):
        store.current()


PROMOTE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.promotion.records import Standing
from cannabis_ml.promotion.store import ChampionStore

for path in sys.argv[2:]:
    ChampionStore(Path(sys.argv[1])).promote(
        Bundle.open(path), Standing(by="x", reason="y", at=datetime.now(UTC))
    )
"""


@pytest.mark.slow
def test_promotions_at_the_same_time_leave_one_line_of_records(store, bundles):
    paths = [str(bundle.path) for bundle in bundles]
    orders = [paths, paths[::-1], paths[1:]]
    running = [
        subprocess.Popen([sys.executable, "-c", PROMOTE, str(store.root), *order])
        for order in orders
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    records = store.records()
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    for before, after in itertools.pairwise(records):
        assert after.previous == before.bundle_id != after.bundle_id
    assert id_of(Bundle.open(store.served)) == records[-1].bundle_id
