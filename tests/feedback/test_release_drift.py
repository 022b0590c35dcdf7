"""Drift after release against photos that stand for training, and when it makes a training due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.feedback.columns import EMBEDDING_COLUMNS
from cannabis_ml.feedback.drift import CONFIDENCE, DriftParams
from cannabis_ml.feedback.drift_reasons import drift_reasons
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.reference import outlier_evidence, reference_photos
from cannabis_ml.feedback.release_drift import release_drift
from cannabis_ml.feedback.retrain_decision import Evidence, RetrainParams, decide_retraining
from cannabis_ml.feedback.snapshot import FeedbackSnapshot, empty_table
from cannabis_ml.feedback.training_record import TrainingRecord
from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.taxonomy import Taxonomy

TRAINED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = TRAINED + timedelta(days=14)
TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "product", "classes": ["plant", "trim"]},
            {"name": "look", "kind": "multilabel", "classes": ["seeds"]},
        ]
    }
)
RECORD = TrainingRecord(at=TRAINED, bundle_id="b1", taxonomy=TAXONOMY)
QUICK = DriftParams(permutations=499)


def file_outputs(count=200, seed=0):
    random = np.random.default_rng(seed)
    first = random.beta(8, 2, count).astype(np.float32)
    return pd.DataFrame(
        {
            "photo_id": [f"{i:064x}" for i in range(count)],
            "split": ["train", "calibration", "test", "test"] * (count // 4),
            "product": [np.array([p, 1 - p]) for p in first],
            "look": [np.array([0.2], np.float32)] * count,
            "embedding": list(random.normal(0, 1, (count, 8)).astype(np.float32)),
        }
    )


def labels_of(outputs):
    labels = outputs[["photo_id"]].assign(product="plant", group="g")
    labels["group"] = labels["photo_id"].str[-3:]
    return labels


def reference():
    outputs = file_outputs()
    return reference_photos(outputs, labels_of(outputs), TAXONOMY, DecisionRule())


def answers(count=150, *, sure=None, away=0.0, seed=1):
    """Answers since the training, whose confidence and embeddings may have moved."""
    random = np.random.default_rng(seed)
    of_training = random.beta(8, 2, count)
    sure = np.maximum(of_training, 1 - of_training) if sure is None else sure
    rows = pd.DataFrame(
        {
            "photo_id": [f"{10_000 + i:064x}" for i in range(count)],
            "person": [f"p{i}" for i in range(count)],
            "at": [pd.Timestamp(TRAINED + timedelta(hours=1 + i)) for i in range(count)],
            "bundle_id": "b1",
            "tier": "tier1",
        }
    )
    table = rows.assign(head="product", answered="plant", answered_confidence=sure)
    table = table.assign(audit=False, audit_probability=np.nan)
    embeddings = rows.assign(
        embedding=list(random.normal(away, 1, (count, 8)).astype(np.float32)),
    )
    return FeedbackSnapshot(answers=table, embeddings=embeddings)


def found(snapshot, references=None):
    references = {"tier1": reference()} if references is None else references
    return release_drift(snapshot, RECORD, references, (RetrainParams(), QUICK), NOW)


def test_photos_that_stand_for_training_are_held_out_ones_with_calibrated_confidence():
    outputs = file_outputs()
    rule = DecisionRule(calibrators={"product": Temperature(temperature=2.0)})
    table = reference_photos(outputs, labels_of(outputs), TAXONOMY, rule)
    held_out = outputs[outputs["split"] != "train"].reset_index(drop=True)
    assert table["photo_id"].tolist() == held_out["photo_id"].tolist()
    p = np.stack(held_out["product"].tolist()).astype(float)
    softened = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table[CONFIDENCE + "product"], softened.max(axis=1), atol=1e-6)
    assert CONFIDENCE + "look" not in table
    np.testing.assert_array_equal(table["embedding"][0], held_out["embedding"][0])


def test_nothing_has_drifted_where_nothing_has_changed():
    tests = found(answers())
    assert [(one.tier, one.head, one.drifted) for one in tests] == [
        ("tier1", None, False),
        ("tier1", "product", False),
    ]
    assert tests[1].low < 0 < tests[1].high


def test_embeddings_that_moved_are_noticed_and_alone_make_no_training_due():
    tests = found(answers(away=0.8))
    assert [one.drifted for one in tests] == [True, False]
    (reason,) = drift_reasons(tests, 1000, RetrainParams())
    assert not reason.fires
    assert reason.text.startswith("Embeddings of tier1 drifted (p = ")


def test_a_fall_in_confidence_makes_a_training_due_where_there_is_more_to_learn_from():
    tests = found(answers(sure=np.random.default_rng(2).uniform(0.5, 0.8, 150), away=0.8))
    assert [one.drifted for one in tests] == [True, True]
    before = reference()[CONFIDENCE + "product"].mean()
    assert tests[1].now - tests[1].before == pytest.approx(0.65 - before, abs=0.02)
    quiet = list(drift_reasons(tests, 99, RetrainParams()))
    assert not any(reason.fires for reason in quiet)
    assert "it takes 100 new photos with labels to learn from, there are 99" in quiet[1].text
    loud = list(drift_reasons(tests, 100, RetrainParams()))
    assert [reason.fires for reason in loud] == [False, True]
    assert "embeddings drifted too" in loud[1].text


def test_answers_that_came_because_people_judged_them_make_no_training_due():
    """People judge wrong answers sooner, and of these the model is less sure."""
    snapshot = answers(sure=np.random.default_rng(2).uniform(0.5, 0.8, 150))
    opinions = opinions_table(
        Opinion(
            opinion_id=photo,
            photo_id=photo,
            person="ann",
            head="product",
            verdict="unsure",
            at=TRAINED,
        )
        for photo in snapshot.answers["photo_id"][:100]
    )
    tests = found(replace(snapshot, opinions=opinions))
    assert tests[1].volunteered == pytest.approx(100 / 150)
    (reason,) = drift_reasons(tests, 1000, RetrainParams())
    assert not reason.fires
    assert "67% of these answers came because somebody judged them" in reason.text


def test_a_later_tier_that_gets_the_difficult_photos_makes_no_training_due():
    """Nothing has changed: the first tier keeps what it is sure of, the second gets the rest."""
    snapshot = answers(400)
    table = snapshot.answers
    table["tier"] = np.where(table["answered_confidence"] >= 0.8, "tier1", "tier2")
    tests = found(snapshot, {"tier1": reference(), "tier2": reference()})
    (second,) = (one for one in tests if one.tier == "tier2" and one.head)
    assert second.drifted
    assert second.high < -RetrainParams().accuracy_drop
    assert second.answered_before == (table["tier"] == "tier1").mean()
    reasons = list(drift_reasons(tests, 1000, RetrainParams()))
    assert not any(reason.fires for reason in reasons)
    assert "left tier2 those that they are less sure of" in reasons[-1].text
    only = answers(sure=np.random.default_rng(2).uniform(0.5, 0.7, 150))
    only.answers["tier"] = "tier2"
    tests = found(only, {"tier1": reference(), "tier2": reference()})
    assert [reason.fires for reason in drift_reasons(tests, 1000, RetrainParams())] == [True]


def test_the_decision_lists_drift_and_fires_by_it():
    photos = pd.DataFrame({"photo_id": [f"{i}" for i in range(120)], "path": "", "sent_as": ""})
    photos["product"] = "plant"
    tests = found(answers(sure=np.random.default_rng(2).uniform(0.5, 0.7, 150)))
    judged = pd.DataFrame(
        columns=["photo_id", "head", "label", "answered", "right", "at", "audit", "tier", "group"]
    ).assign(at=pd.Series(dtype="datetime64[us, UTC]"), bundle_id="")
    judged = judged.astype({"right": bool, "audit": bool, "label": "str", "answered": "str"})
    nothing = pd.DataFrame(columns=["head", "name", "photos", "people"])
    evidence = Evidence(judged, photos, nothing, RECORD, drift=tests)
    decision = decide_retraining(evidence, RetrainParams(), NOW)
    assert [reason.name for reason in decision.firing] == ["drift"]


def test_without_embeddings_confidence_is_tested_alone():
    whole = answers()
    told = FeedbackSnapshot(answers=whole.answers, embeddings=empty_table(EMBEDDING_COLUMNS))
    tests = found(told)
    assert tests[0].p_value is None
    assert tests[1].p_value is not None


def test_answers_of_another_bundle_or_without_a_reference_are_not_tested():
    other = answers()
    other.answers["bundle_id"] = "b0"
    assert found(other) == []
    assert found(answers(), {"tier1": pd.DataFrame()}) == []


def test_photos_of_a_refused_network_stand_for_nothing():
    """Two networks embed the same photo differently."""
    record = RECORD.model_copy(update={"bundle_id": "refused"}).in_service("b1", [RECORD])
    references = {"tier1": reference()}
    snapshot = answers(away=0.8)
    params = (RetrainParams(), QUICK)
    assert release_drift(snapshot, RECORD, references, params, NOW)
    assert release_drift(snapshot, record, references, params, NOW) == []
    assert outlier_evidence(snapshot, record, references) == (None, None)
    assert TrainingRecord.model_validate_json(RECORD.model_dump_json()) == RECORD


def test_outliers_are_found_by_embeddings_of_one_bundle_and_tier():
    snapshot = answers()
    own, known = outlier_evidence(snapshot, RECORD, {"tier1": reference()})
    assert own.values.shape == (150, 8)
    assert known.photos["product"].unique().tolist() == ["plant"]
    assert outlier_evidence(snapshot, None, {"tier1": reference()}) == (None, None)
    assert outlier_evidence(snapshot, RECORD, {"tier1": pd.DataFrame()}) == (None, None)
