"""The store, photos with vetted labels and the record of a training, in the catalog."""

from datetime import UTC, datetime

import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.feedback_photos import FeedbackPhotosDataset
from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset
from cannabis_ml.datasets.review_queue import ReviewQueueDataset
from cannabis_ml.datasets.training_record import TrainingRecordDataset
from cannabis_ml.feedback.review_queue import QueueEntry, QueueList
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.photo_sets.feedback_source import OWN_COLUMNS
from cannabis_ml.photos.fingerprint import photo_id as id_of
from cannabis_ml.promotion.records import PromotionRecord
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "product", "classes": ["plant", "trim"]}]})


def test_a_store_that_is_not_there_is_empty_and_not_made(tmp_path):
    dataset = FeedbackStoreDataset(url=f"sqlite:///{tmp_path}/a/feedback.db")
    snapshot = dataset.load()
    assert snapshot.opinions.empty
    assert snapshot.answers.empty
    assert snapshot.photos.empty
    assert snapshot.paths == {}
    assert not (tmp_path / "a").exists()
    assert dataset.preview()["data"] == []


def submission(**changed):
    told = {
        "key": "k1",
        "person": "ann",
        "at": "2026-03-01T12:00:00Z",
        "consent": True,
        "opinions": [{"head": "product", "verdict": "proposed", "label": "rosin"}],
    }
    return read_submission(told | changed, TAXONOMY)


@pytest.fixture
def store(tmp_path):
    return FeedbackStoreDataset(url=f"sqlite:///{tmp_path}/a/feedback.db")


def test_a_store_loads_opinions_and_the_paths_of_photos(store, encode):
    with store.open() as opened:
        receipt = opened.add(submission(), encode())
    snapshot = store.load()
    assert snapshot.opinions["label"].tolist() == ["rosin"]
    path = snapshot.paths[receipt.photo_id]
    with open(path, "rb") as file:  # noqa: PTH123 - the path as a client opens it
        assert file.read(2) == b"\xff\xd8"


def test_photos_elsewhere_are_copied_once(tmp_path, encode):
    where = {"url": f"sqlite:///{tmp_path}/feedback.db", "photos": "memory://feedback-photos"}
    store = FeedbackStoreDataset(**where, cache=str(tmp_path / "cache"))
    with store.open() as opened:
        receipt = opened.add(submission(), encode())
    paths = store.load().paths
    copy = tmp_path / "cache" / receipt.photo_id[:2] / f"{receipt.photo_id}.jpg"
    assert paths == {receipt.photo_id: str(copy)}
    before = copy.stat().st_mtime_ns
    store.load()
    assert copy.stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match="`cache`"):
        FeedbackStoreDataset(**where).load()


def test_a_password_is_not_shown():
    store = FeedbackStoreDataset(credentials={"url": "postgresql://ann:secret@host/name"})
    assert "secret" not in str(store)
    with pytest.raises(DatasetError, match="`url`"):
        FeedbackStoreDataset()


def test_pipelines_do_not_write_the_store(store):
    with pytest.raises(DatasetError, match="pipelines read it"):
        store.save({})


def test_photos_are_empty_until_first_written(tmp_path):
    photos = FeedbackPhotosDataset(filepath=str(tmp_path / "photos.parquet")).load()
    assert list(photos.columns) == list(OWN_COLUMNS)
    assert photos.empty


def test_there_is_no_record_before_the_first_training(tmp_path):
    def entry(save=None):
        version = Version(None, save)
        return TrainingRecordDataset(filepath=str(tmp_path / "record.json"), version=version)

    assert entry().load() is None
    record = TrainingRecord(at=datetime(2026, 3, 1, tzinfo=UTC), taxonomy=TAXONOMY)
    entry("2026-03-01T00.00.00.000Z").save(record)
    assert entry().load() == record


def test_answers_are_measured_against_the_champion_even_if_its_successor_was_refused(tmp_path):
    champion = {"filepath": str(tmp_path / "champion")}
    path = str(tmp_path / "record.json")

    def entry(save=None, **options):
        return TrainingRecordDataset(filepath=path, version=Version(None, save), **options)

    for day, share in ((1, 0.8), (2, 0.6), (3, 0.5)):
        record = TrainingRecord(
            at=datetime(2026, 3, day, tzinfo=UTC),
            bundle_id=str(day) * 64,
            taxonomy=TAXONOMY,
            baselines={"tier1": {"kind": Baseline(accuracy=share, low=share - 0.1, photos=50)}},
            feedback={"photo": {"kind": f"label {day}"}},
        )
        entry(f"2026-03-0{day}T00.00.00.000Z").save(record)
    assert entry(champion=champion).load() == record

    promote(tmp_path / "champion", "1" * 64)
    loaded = entry(champion=champion).load()
    assert loaded.bundle_id == "1" * 64
    assert loaded.baselines["tier1"]["kind"].accuracy == 0.8
    assert (loaded.at, loaded.feedback) == (record.at, record.feedback)
    assert entry().load() == record

    promote(tmp_path / "champion", "9" * 64)
    loaded = entry(champion=champion).load()
    assert (loaded.bundle_id, loaded.baselines) == ("9" * 64, {})


def promote(folder, bundle_id):
    """Leave a record of a promotion."""
    records = folder / "records"
    records.mkdir(parents=True, exist_ok=True)
    number = len(list(records.iterdir())) + 1
    record = PromotionRecord(
        number=number,
        kind="promotion",
        bundle_id=bundle_id,
        name="small",
        created="2026-03-01T00:00:00+00:00",
        previous=None,
        at=datetime(2026, 3, 9, tzinfo=UTC),
        by="gate",
        reason="no worse",
        outcome=None,
        test=[],
        photo_set_fingerprint=None,
        run=None,
    )
    (records / f"{number:04}.json").write_text(record.model_dump_json(), "utf-8")


def test_saving_a_list_fills_the_queue_and_an_empty_one_empties_it(tmp_path, encode, draw):
    url = f"sqlite:///{tmp_path}/b/feedback.db"
    queue = ReviewQueueDataset(url=url)
    nothing = QueueList(sources=("label_next",), entries=())
    queue.save(nothing)
    assert not (tmp_path / "b").exists()

    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(draw(seed=1)))
    given = {"photo_id": id_of(path.read_bytes()), "path": str(path), "source": "label_next"}
    entry = QueueEntry(**given, rank=1, kind="margin", reason="the model wavers")
    queue.save(QueueList(sources=("label_next",), entries=(entry,)))
    assert queue.load().entries == (entry,)
    with FeedbackStoreDataset(url=url).open() as store:
        assert store.waiting("ann", 1, 9)[0] == 1
        queue.save(nothing)
        assert store.waiting("ann", 1, 9)[0] == 0
