"""From a store of feedback to photos for ingestion, a summary, a page and a decision."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from cannabis_ml.datasets.audit_draw import AuditDrawDataset
from cannabis_ml.datasets.feedback_photos import FeedbackPhotosDataset
from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset
from cannabis_ml.datasets.review_queue import ReviewQueueDataset
from cannabis_ml.datasets.table import TableDataset
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.decision_now import DecisionParams, decide_now
from cannabis_ml.feedback.retrain_decision import RetrainParams
from cannabis_ml.feedback.snapshot import FeedbackSnapshot, snapshot_of
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.feedback.vetting import VettingParams
from cannabis_ml.pipelines.feedback import create_pipeline
from cannabis_ml.pipelines.feedback.nodes import vet
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec

TRAINED = datetime(2026, 3, 1, tzinfo=UTC)
TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "product", "classes": ["plant", "trim", "<b>hash</b>"]},
            {"name": "look", "kind": "multilabel", "classes": ["mould", "stems"]},
        ]
    }
)
RECORD = TrainingRecord(
    at=TRAINED,
    bundle_id="b1",
    taxonomy=TAXONOMY,
    baselines={"tier1": {"product": Baseline(accuracy=0.9, low=0.85, photos=200)}},
)
SPEC = TaxonomySpec.model_validate(TAXONOMY.model_dump())
DERIVED = TaxonomySpec.model_validate({"heads": [{"name": "product", "classes": "derived"}]})
TABLES = ("vetted_photos", "judged_answers", "annotators", "proposed_classes")


@pytest.fixture(scope="module")
def store(tmp_path_factory, encode, draw):
    """12 photos: 8 confirmed, 3 of trim corrected to plant, one kept by nobody's consent."""
    folder = tmp_path_factory.mktemp("store")
    dataset = FeedbackStoreDataset(url=f"sqlite:///{folder}/feedback.db")
    with dataset.open() as opened:
        for i in range(12):
            is_wrong = i in (3, 4, 5)
            answered = {"product": {"label": "trim" if is_wrong else "plant", "confidence": 0.7}}
            for person in ("ann", "bob"):
                opinion = {"head": "product", "verdict": "confirmed"}
                if is_wrong:
                    opinion |= {"verdict": "corrected", "label": "plant", "confidence": 0.9}
                told = {
                    "key": f"{person}{i}",
                    "person": person,
                    "at": (TRAINED + timedelta(days=1, hours=i)).isoformat(),
                    "consent": i != 11,
                    "answered": {"bundle_id": "b1", "tier": "tier1", "heads": answered},
                    "opinions": [opinion],
                }
                opened.add(read_submission(told, TAXONOMY), encode(draw(i)))
    return dataset


def catalog_of(folder, store, record=RECORD, **retrain):
    def typed(name, model):
        return TypedJSONDataset(filepath=str(folder / f"{name}.json"), model=model)

    room = "cannabis_ml.feedback"
    return DataCatalog(
        {
            "feedback_store": store,
            "training_record_before": MemoryDataset(record),
            "started": MemoryDataset((TRAINED + timedelta(days=10)).isoformat()),
            "params:taxonomy": MemoryDataset(SPEC),
            "params:feedback.vetting": MemoryDataset(VettingParams()),
            "params:feedback.retrain": MemoryDataset(RetrainParams(**retrain)),
            "params:feedback.audit": MemoryDataset(AuditParams()),
            **{f"tier{i}.reference_before": MemoryDataset(pd.DataFrame()) for i in (1, 2, 3)},
            "feedback_photos": FeedbackPhotosDataset(filepath=str(folder / "photos.parquet")),
            "feedback_page": MemoryDataset(),
            "audit_tasks": JSONDataset(filepath=str(folder / "audit_tasks.json")),
            "feedback_summary": typed("summary", f"{room}.summary.FeedbackSummary"),
            "retrain_decision": typed("decision", f"{room}.retrain_decision.RetrainDecision"),
            **{name: TableDataset(filepath=str(folder / f"{name}.parquet")) for name in TABLES},
        }
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory, encode, draw):
    """40 answers, whose embeddings and confidence are other than those of training."""
    folder = tmp_path_factory.mktemp("audited")
    dataset = FeedbackStoreDataset(url=f"sqlite:///{folder}/feedback.db")
    random = np.random.default_rng(0)
    with dataset.open() as opened:
        for i in range(40):
            head = {"label": "plant", "confidence": float(random.uniform(0.5, 0.6))}
            answered = {"bundle_id": "b1", "tier": "tier1", "heads": {"product": head}}
            told = {
                "key": f"k{i}",
                "person": f"p{i}",
                "at": datetime.now(UTC).isoformat(),
                "consent": True,
                "answered": answered | {"embedding": random.normal(2, 1, 8).tolist()},
            }
            opened.add(read_submission(told, TAXONOMY), encode(draw(100 + i)))
    return dataset


def reference():
    """Photos that stand for training, as calibration writes them."""
    random = np.random.default_rng(1)
    names = [f"{i:064x}" for i in range(100)]
    table = pd.DataFrame({"photo_id": names, "group": names, "product": "plant"})
    table["confidence of product"] = random.uniform(0.8, 1, 100)
    return table.assign(embedding=list(random.normal(0, 1, (100, 8)).astype(np.float32)))


def assert_same_accuracy(one, other):
    """What the service answers is what the pipeline decides."""
    accuracy, theirs = (
        [reason for reason in decision.reasons if reason.name == "accuracy"]
        for decision in (one, other)
    )
    assert accuracy == theirs
    assert len(accuracy) == 1


def test_answers_are_put_up_for_audit_judged_and_weighed(tmp_path, audited):
    """Run, let somebody judge what was put up without seeing the answers, run again."""
    trained = datetime.now(UTC) - timedelta(days=2)
    record = RECORD.model_copy(update={"at": trained})

    def run():
        catalog = catalog_of(tmp_path, audited, record)
        catalog["audit_draw"] = AuditDrawDataset(url=audited._url)
        catalog["audit_queue"] = ReviewQueueDataset(url=audited._url)
        catalog["started"] = MemoryDataset(datetime.now(UTC).isoformat())
        catalog["tier1.reference_before"] = MemoryDataset(reference())
        SequentialRunner().run(create_pipeline(), catalog)
        return catalog

    first = run()
    tasks = first.load("audit_tasks")
    summary = first.load("feedback_summary")
    assert len(tasks) == summary.to_judge == 40  # so few come in that all of them are put up
    assert all(set(task["data"]) == {"image", "photo_id"} for task in tasks)
    assert "40 photos wait to be judged" in first.load("feedback_page")
    assert summary.audits[0].accuracy is None
    assert summary.audits[0].expected == pytest.approx(0.55, abs=0.02)
    assert [(one.tier, one.head, one.drifted) for one in summary.drift] == [
        ("tier1", None, True),
        ("tier1", "product", True),
    ]
    drift = [one for one in first.load("retrain_decision").reasons if one.name == "drift"]
    assert [one.fires for one in drift] == [False, False]
    with audited.open() as store:
        assert set(store.audit_rates().values()) == {1.0}
        up, waiting = store.waiting("ann", 1, 100)
        assert up == 40
        assert {one.photo_id for one in waiting} == {task["data"]["photo_id"] for task in tasks}
        assert all(one.blind and one.suggestion.tier == "tier1" for one in waiting)
        assert store.waiting("p7", 1, 100)[0] == 40  # p7 sent the photo, and has told nothing yet
        for i, task in enumerate(tasks):
            label = "trim" if i < 10 else "plant"
            opinion = {"head": "product", "verdict": "corrected", "label": label}
            told = {
                "key": f"judged{i}",
                "person": "ann",
                "at": datetime.now(UTC).isoformat(),
                "photo_id": task["data"]["photo_id"],
                "seen_answer": False,
                "opinions": [opinion],
            }
            store.add(read_submission(told, TAXONOMY))
        assert store.waiting("bob", 1, 100)[0] == 0
    second = run()
    assert second.load("audit_tasks") == []
    (product, *_) = second.load("feedback_summary").audits
    assert (product.photos, product.unjudged) == (40, 0)
    assert product.low < 0.75 < product.high
    decided = second.load("retrain_decision")
    with audited.open() as store:
        now = decide_now(
            snapshot_of(store), RECORD.taxonomy, record, DecisionParams(), decided.decided_at
        )
    assert_same_accuracy(now, decided)
    page = second.load("feedback_page")
    assert "No photo waits to be judged" in page
    assert "◆ Drifted" in page


@pytest.fixture(scope="module")
def done(tmp_path_factory, store):
    catalog = catalog_of(tmp_path_factory.mktemp("out"), store, new_photos=10)
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


def test_accepted_photos_that_were_kept_are_listed_with_their_files(done, store):
    photos = done.load("feedback_photos")
    assert len(photos) == 11
    assert photos["product"].tolist() == ["plant"] * 11
    assert dict(zip(photos["photo_id"], photos["path"], strict=True)) == store.load().paths
    assert photos["sent_as"].str.len().min() == 64


def test_the_summary_counts_confirmed_and_corrected(done):
    summary = done.load("feedback_summary")
    assert (summary.photos, summary.people, summary.opinions) == (12, 2, 24)
    assert summary.photos_kept == 11
    assert (summary.confirmed, summary.corrected) == (9, 3)
    assert summary.by_verdict["corrected"] == 6
    assert summary.by_status == {"accepted": 12}
    assert [(one.class_name, one.count) for one in summary.most_corrected] == [("trim", 3)]
    confusion = summary.confusions[0]
    assert confusion.classes == ["plant", "trim"]
    assert confusion.counts == [[9, 3], [0, 0]]
    assert confusion.right == pytest.approx(0.75)


def test_the_decision_fires_on_the_photos_that_are_new(done):
    decision = done.load("retrain_decision")
    assert decision.retrain
    assert decision.new_photos == 11
    assert [reason.name for reason in decision.firing] == ["new_photos"]


def test_the_page_shows_the_decision_and_corrections(done):
    page = done.load("feedback_page")
    assert "Train anew" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert "answered trim" in page
    assert "http" not in page.split("</style>")[1]


def test_names_of_strangers_are_shown_and_never_obeyed(tmp_path, store, monkeypatch):
    snapshot = store.load()
    opinions = snapshot.opinions.copy()
    opinions["person"] = opinions["person"].replace("ann", "<script>alert(1)</script>")
    hostile = FeedbackSnapshot(opinions, snapshot.answers, snapshot.photos, paths={})
    catalog = catalog_of(tmp_path, MemoryDataset(hostile, copy_mode="assign"))
    SequentialRunner().run(create_pipeline(), catalog)
    page = catalog.load("feedback_page")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_the_last_training_was_given_is_not_new(tmp_path, store, done):
    given = {name: {"product": "plant"} for name in done.load("feedback_photos")["photo_id"]}
    record = RECORD.model_copy(update={"feedback": given})
    catalog = catalog_of(tmp_path, store, record, new_photos=10)
    SequentialRunner().run(create_pipeline(), catalog)
    decision = catalog.load("retrain_decision")
    assert decision.new_photos == 0
    assert not decision.retrain


@pytest.mark.parametrize("record", [None, RECORD])
def test_without_feedback_nothing_is_listed_and_nothing_fires(tmp_path, record):
    store = FeedbackStoreDataset(url=f"sqlite:///{tmp_path}/none.db")
    catalog = catalog_of(tmp_path, store, record)
    SequentialRunner().run(create_pipeline(), catalog)
    assert catalog.load("feedback_photos").empty
    assert not catalog.load("retrain_decision").retrain
    assert catalog.load("feedback_summary").photos == 0
    assert "No need to train anew" in catalog.load("feedback_page")


def test_feedback_without_known_classes_is_reported(store):
    with pytest.raises(FeedbackError, match=r"(?s)24 opinions, but no class is known.*kedro run"):
        vet(store.load(), None, DERIVED, VettingParams())


def test_classes_left_to_the_labels_are_those_of_the_last_training(store):
    photos, *_ = vet(store.load(), RECORD, DERIVED, VettingParams())
    assert photos["label"].tolist() == ["plant"] * 12


def test_a_class_added_to_the_taxonomy_makes_labels_of_proposals(store):
    snapshot = store.load()
    opinions = snapshot.opinions.assign(verdict="proposed", label="rosin")
    told = FeedbackSnapshot(opinions, paths=snapshot.paths)
    _, labels, _, proposed = vet(told, RECORD, SPEC, VettingParams())
    assert labels.empty
    assert proposed[["name", "photos", "people"]].to_numpy().tolist() == [["rosin", 12, 2]]
    heads = [{"name": "product", "classes": ["plant", "trim", "rosin"]}]
    added = TaxonomySpec.model_validate({"heads": heads})
    _, labels, _, proposed = vet(told, RECORD, added, VettingParams())
    assert set(labels["product"]) == {"rosin"}
    assert proposed.empty
