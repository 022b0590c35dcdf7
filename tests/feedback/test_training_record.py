from datetime import UTC, datetime
from types import SimpleNamespace

import pandas as pd
import pytest

from cannabis_ml.evaluation.scores import Evaluation, MulticlassScores, MultilabelScores
from cannabis_ml.feedback.training_record import record_of
from cannabis_ml.pipelines.bundle.nodes import record_training
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "product", "classes": ["plant", "trim"]}]})
PHOTOS = pd.DataFrame(
    {
        "photo_id": ["a", "b"],
        "path": ["/a", "/b"],
        "sent_as": ["x", ""],
        "product": ["plant", None],
        "look.mould": ["1", "0"],
    },
    dtype="str",
)


def scores(model, **known):
    return model.model_construct(**dict.fromkeys(model.model_fields) | known)


@pytest.fixture
def record():
    heads = {
        "product": scores(MulticlassScores, n=90, accuracy=0.9, accuracy_interval=(0.8, 0.95)),
        "look": scores(MultilabelScores, n=90, accuracy=0.7, accuracy_interval=(0.6, 0.8)),
        "grade": scores(MulticlassScores, n=0),
    }
    evaluation = Evaluation.model_construct(heads=heads)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return record_of(at, "b1", TAXONOMY, PHOTOS, {"tier1": evaluation})


def test_baselines_are_those_of_heads_with_one_class_and_test_labels(record):
    assert list(record.baselines["tier1"]) == ["product"]
    baseline = record.baselines["tier1"]["product"]
    assert (baseline.accuracy, baseline.low, baseline.photos) == (0.9, 0.8, 90)


def test_labels_that_the_training_was_given_are_known_and_no_others(record):
    assert record.feedback == {
        "a": {"product": "plant", "look.mould": "1"},
        "b": {"look.mould": "0"},
    }
    assert record.knows("a", {"product": "plant"})
    assert not record.knows("a", {"product": "trim"})
    assert not record.knows("b", {"product": "plant"})
    assert not record.knows("c", {"product": "plant"})


def test_a_record_survives_json(record):
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_the_bundle_stage_records_its_bundle_and_time():
    bundle = SimpleNamespace(manifest=SimpleNamespace(content_sha256="c" * 64))
    heads = {"product": scores(MulticlassScores, n=9, accuracy=0.8, accuracy_interval=(0.6, 0.9))}
    found = record_training(
        bundle,
        TAXONOMY,
        "2026-03-01T12:00:00+00:00",
        PHOTOS,
        tier3=Evaluation.model_construct(heads=heads),
    )
    assert found.bundle_id == "c" * 64
    assert found.at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert list(found.baselines) == ["tier3"]
    assert list(found.feedback) == ["a", "b"]
