"""Accuracy by audit, and how the retrain decision reads it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.judged import judged_answers
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.recent_audits import judge_auditors, recent_audits
from cannabis_ml.feedback.retrain_decision import Evidence, RetrainParams, decide_retraining
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.feedback.vetting import VettingParams
from cannabis_ml.taxonomy import Taxonomy

TRAINED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = TRAINED + timedelta(days=20)
HEADS = [{"name": "product", "classes": ["plant", "trim"]}]
RECORD = TrainingRecord(
    at=TRAINED,
    bundle_id="b1",
    taxonomy=Taxonomy.model_validate(
        {"heads": [{"name": "product", "classes": ["plant", "trim"]}]}
    ),
    baselines={"tier1": {"product": Baseline(accuracy=0.9, low=0.88, photos=800)}},
)
PEOPLE = pd.DataFrame({"person": ["ann"], "accuracy": [1.0], "quarantined": [False]})
PARAMS = RetrainParams(), AuditParams()


def snapshot(wrong, right, *, chance=(0.1, 0.1), **changed):
    """Audited answers, of which those that are wrong and right were drawn with these chances."""
    told = []
    for i in range(wrong + right):
        fields = {
            "opinion_id": str(i),
            "photo_id": f"{i:064x}",
            "person": "ann",
            "head": "product",
            "verdict": "corrected" if i < wrong else "confirmed",
            "label": "trim" if i < wrong else "plant",
            "at": TRAINED + timedelta(hours=1 + i),
            "bundle_id": "b1",
            "tier": "tier1",
            "answered": "plant",
            "seen_answer": False,
            "audit": True,
        }
        told.append(Opinion(**fields | changed))
    answers = pd.DataFrame(
        {
            "photo_id": [one.photo_id for one in told],
            "head": "product",
            "audit_probability": [chance[0]] * wrong + [chance[1]] * right,
        }
    )
    return FeedbackSnapshot(opinions_table(told), answers)


def test_answers_that_were_drawn_less_often_count_more():
    """10 wrong ones drawn at 0.1 stand for 100, 90 right ones drawn at 0.3 for 300: 75% right."""
    found = recent_audits(snapshot(10, 90, chance=(0.1, 0.3)), PEOPLE, RECORD, PARAMS, NOW)
    assert found["product"].accuracy == pytest.approx(0.75)
    assert found["product"].photos == 100


@pytest.mark.parametrize(
    ("changed", "now"),
    [({"bundle_id": "b0"}, NOW), ({"audit": False}, NOW), ({}, NOW + timedelta(days=60))],
)
def test_other_models_and_times_and_photos_sent_in_do_not_count(changed, now):
    assert recent_audits(snapshot(10, 90, **changed), PEOPLE, RECORD, PARAMS, now) == {}


def test_without_a_recorded_training_nothing_is_measured():
    assert recent_audits(snapshot(1, 9), PEOPLE, None, PARAMS, NOW) == {}


def test_the_decision_rests_on_the_weighted_accuracy():
    """90% of the audited photos are right, as tested; of all answers 75% are."""
    told = snapshot(10, 90, chance=(0.1, 0.3))
    labels = told.opinions[["photo_id", "head", "label"]].assign(status="accepted", confidence=0.9)
    wide = labels[["photo_id", "label"]].rename(columns={"label": "product"})
    photos = feedback_photos(wide, dict.fromkeys(wide["photo_id"], "/a.jpg"), {})
    judged = judged_answers(labels, told.opinions)
    nothing = pd.DataFrame(columns=["head", "name", "photos", "people"])
    plain = Evidence(judged, photos, nothing, RECORD)
    names = {one.name for one in decide_retraining(plain, PARAMS[0], NOW).firing}
    assert "accuracy" not in names
    audits = recent_audits(told, PEOPLE, RECORD, PARAMS, NOW)
    decision = decide_retraining(replace(plain, audits=audits), PARAMS[0], NOW)
    reason = next(one for one in decision.reasons if one.name == "accuracy")
    assert reason.value == pytest.approx(-0.15)
    assert reason.text.startswith("'product' was right on 75.0% of 100 recent photos drawn")


def answers_that_wait(count):
    """Drawn at 0.1 and answered, and judged by nobody."""
    return pd.DataFrame(
        {
            "photo_id": [f"{1000 + i:064x}" for i in range(count)],
            "head": "product",
            "audit_probability": 0.1,
            "at": pd.Timestamp(TRAINED + timedelta(days=2)),
            "bundle_id": "b1",
        }
    )


@pytest.mark.parametrize(("waiting", "fires"), [(0, True), (200, False)])
def test_wrong_answers_that_people_report_by_themselves_do_not_fire(waiting, fires):
    """30 of 100 judged answers are wrong; while 200 wait, accuracy may as well be 90%."""
    told = snapshot(30, 70)
    answers = told.answers.assign(at=pd.Timestamp(TRAINED + timedelta(days=1)), bundle_id="b1")
    answers = pd.concat([answers, answers_that_wait(waiting)], ignore_index=True)
    told = replace(told, answers=answers)
    audits = recent_audits(told, PEOPLE, RECORD, PARAMS, NOW)
    assert audits["product"].accuracy == pytest.approx(0.7)
    assert audits["product"].unjudged == waiting
    photos = feedback_photos(pd.DataFrame({"photo_id": []}), {}, {})
    labels = [f"{i:064x}" for i in range(100)]
    vetted = pd.DataFrame({"photo_id": labels, "head": "product", "confidence": 0.95})
    vetted["label"] = ["trim"] * 30 + ["plant"] * 70
    judged = judged_answers(vetted.assign(status="accepted"), told.opinions)
    judged["group"] = judged["photo_id"]
    nothing = pd.DataFrame(columns=["head", "name", "photos", "people"])
    evidence = Evidence(judged, photos, nothing, RECORD, audits)
    decision = decide_retraining(evidence, RetrainParams(), NOW)
    accuracy = [reason for reason in decision.reasons if reason.name == "accuracy"]
    assert [reason.fires for reason in accuracy] == [fires]


def opinion_of(person, photo, label):
    return Opinion(
        opinion_id=f"{person} {photo}",
        photo_id=f"{photo:064x}",
        person=person,
        head="product",
        verdict="corrected",
        label=label,
        at=TRAINED + timedelta(days=1),
        answered="plant" if label == "trim" else "trim",
        answered_confidence=0.99,
        bundle_id="b1",
        tier="tier1",
        seen_answer=False,
        audit=True,
    )


def test_who_disagrees_with_the_model_alone_is_not_taken_to_be_wrong():
    """Nobody else judged these photos: that the model is sure of other answers is no evidence."""
    told = FeedbackSnapshot(opinions_table([opinion_of("ann", i, "trim") for i in range(20)]))
    people = PEOPLE.assign(accuracy=0.2)
    found = judge_auditors(told, people, RECORD, VettingParams(), 10)
    assert found.to_dict("records") == [{"person": "ann", "accuracy": 1.0, "quarantined": False}]
    quarantined = PEOPLE.assign(quarantined=True)
    found = judge_auditors(told, quarantined, RECORD, VettingParams(), 10)
    assert found["quarantined"].tolist() == [True]


def test_auditors_are_judged_by_each_other():
    others = [opinion_of(name, i, "trim") for name in ("bob", "eve", "dan") for i in range(60)]
    mistaken = [opinion_of("ann", i, "plant" if i < 15 else "trim") for i in range(60)]
    told = FeedbackSnapshot(opinions_table([*others, *mistaken]))
    people = pd.DataFrame({"person": ["ann", "bob", "eve", "dan"], "quarantined": False})
    found = judge_auditors(told, people, RECORD, VettingParams(), 10).set_index("person")
    assert found.loc["ann", "accuracy"] == pytest.approx(0.75, abs=0.05)
    assert found.loc["bob", "accuracy"] > 0.95
