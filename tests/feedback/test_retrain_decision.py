"""Each reason is fired by what it is meant for, and by nothing less."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.feedback.judged import corrected_classes, judged_answers
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.retrain_decision import Evidence, RetrainParams, decide_retraining
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.taxonomy import Taxonomy

TRAINED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = TRAINED + timedelta(days=20)
CLASSES = ["plant", "trim", "hash"]


def record(**changed):
    heads = [{"name": "product", "classes": CLASSES}]
    baseline = Baseline(accuracy=0.9, low=0.88, photos=800)
    told = {
        "at": TRAINED,
        "bundle_id": "b1",
        "taxonomy": Taxonomy.model_validate({"heads": heads}),
        "baselines": {"tier1": {"product": baseline}},
    }
    return TrainingRecord(**told | changed)


def opinions_of(rights, audit=True, **changed):
    """One photo an hour from the training on, each by a person of its own, classes in turn."""
    told = []
    for i, right in enumerate(rights):
        truth = CLASSES[i % 3]
        other = CLASSES[(i + 1) % 3]
        verdict = "confirmed" if right else "corrected"
        fields = {
            "opinion_id": f"o{i}",
            "photo_id": f"{i:064x}",
            "person": f"p{i}",
            "head": "product",
            "verdict": verdict,
            "label": truth,
            "at": TRAINED + timedelta(hours=1 + i),
            "bundle_id": "b1",
            "tier": "tier1",
            "answered": truth if right else other,
            "audit": audit,
        }
        told.append(Opinion(**fields | changed))
    return opinions_table(told)


def vetted_of(opinions):
    rows = opinions[opinions["verdict"].isin(["confirmed", "corrected"])]
    table = rows[["photo_id", "head", "label"]].drop_duplicates()
    return table.assign(confidence=0.9, status="accepted", reason="")


def photos_of(vetted, paths=None):
    labels = vetted.pivot(index="photo_id", columns="head", values="label").reset_index()
    if paths is None:
        paths = {name: f"/store/{name}.jpg" for name in labels["photo_id"]}
    return feedback_photos(labels, paths, {})


def evidence_of(opinions, last=None):
    vetted = vetted_of(opinions)
    nothing = proposals(0, 0).iloc[:0]
    return Evidence(judged_answers(vetted, opinions), photos_of(vetted), nothing, last or record())


def decided(opinions, last=None, now=NOW, **params):
    decision = decide_retraining(evidence_of(opinions, last), RetrainParams(**params), now)
    return {reason.name for reason in decision.firing}, decision


def rights(n, wrong):
    """`wrong` of `n` answers are wrong, spread evenly over time and over three classes."""
    made = np.ones(n, bool)
    made[np.linspace(0, n - 1, wrong).astype(int)] = False
    return made


def test_a_quiet_month_fires_nothing():
    names, decision = decided(opinions_of(rights(300, 30)))
    assert names == set()
    assert not decision.retrain
    assert {reason.name for reason in decision.reasons} == {"accuracy", "new_photos", "age"}


def test_accuracy_that_fell_fires():
    """75% of 300 against 90%: 15 points less, at least 10 with 95% confidence."""
    names, decision = decided(opinions_of(rights(300, 75)))
    assert names == {"accuracy"}
    assert decision.retrain
    reason = decision.firing[0]
    assert reason.value == pytest.approx(-0.15)
    assert reason.high < -0.05
    assert reason.text.startswith("'product' was right on 75.0% of 300 recent photos drawn")


def test_the_same_share_of_few_photos_does_not_fire():
    names, decision = decided(opinions_of(rights(32, 8)))
    assert "accuracy" not in names
    reason = next(one for one in decision.reasons if one.name == "accuracy")
    assert reason.value == pytest.approx(-0.15)
    assert "not surely beyond" in reason.text


def test_too_few_photos_are_not_compared():
    _, decision = decided(opinions_of(rights(20, 15)))
    reason = next(one for one in decision.reasons if one.name == "accuracy")
    assert reason.value is None
    assert "20 photos judged since the last training" in reason.text


def test_without_audit_feedback_is_compared_with_its_own_beginning():
    """People who report errors only are as wrong from the first day on: that is no drop."""
    names, _ = decided(opinions_of(rights(300, 150), audit=False), class_error=0.9)
    assert "accuracy" not in names
    falling = np.concatenate([rights(150, 15), rights(150, 75)])
    names, decision = decided(opinions_of(falling, audit=False), class_error=0.9)
    assert "accuracy" in names
    assert "the first 100 photos after the training" in decision.firing[0].text


def test_answers_of_an_older_bundle_do_not_count():
    names, _ = decided(opinions_of(rights(300, 150), bundle_id="b0"))
    assert names == set()


def test_photos_of_one_person_and_day_count_as_few():
    """A burst of 300 photos by one person in two days is not 300 independent photos."""
    burst = opinions_of(rights(48, 12), person="ann")
    spread = opinions_of(rights(48, 12))
    assert decided(spread)[1].reasons != decided(burst)[1].reasons
    found = [
        next(r for r in decided(one)[1].reasons if r.name == "accuracy") for one in (burst, spread)
    ]
    assert found[0].high - found[0].low > found[1].high - found[1].low


def wrong_of_class(n, name):
    made = np.ones(3 * n, bool)
    made[CLASSES.index(name) :: 3] = False
    return made


def test_a_class_that_is_mostly_missed_fires():
    names, decision = decided(opinions_of(wrong_of_class(20, "trim")), accuracy_drop=0.9)
    assert names == {"class_error"}
    assert decision.firing[0].class_name == "trim"
    assert decision.firing[0].low > 0.3


def test_a_class_that_was_missed_thrice_does_not():
    names, decision = decided(
        opinions_of(wrong_of_class(3, "trim")), accuracy_drop=0.9, min_photos=2
    )
    assert names == set()
    reason = next(one for one in decision.reasons if one.name == "class_error")
    assert reason.value == 1
    assert reason.low < 0.3


def test_one_class_corrected_too_often_fires_from_the_next_on():
    limits = {"accuracy_drop": 0.9, "class_error": 0.99, "corrections_of_class": 20}
    assert decided(opinions_of(wrong_of_class(20, "trim")), **limits)[0] == set()
    names, decision = decided(opinions_of(wrong_of_class(21, "trim")), **limits)
    assert names == {"corrections"}
    assert decision.firing[0].class_name == "hash"  # what was answered for trim


def test_enough_new_photos_fire_from_the_next_on():
    assert decided(opinions_of(rights(40, 4)), new_photos=40)[0] == set()
    assert decided(opinions_of(rights(41, 4)), new_photos=40)[0] == {"new_photos"}


def proposals(photos, people, name="Rosin"):
    return pd.DataFrame([{"head": "product", "name": name, "photos": photos, "people": people}])


def test_a_new_class_takes_photos_and_people():
    told = opinions_of(rights(30, 3))

    def fired(photos, people, last=None):
        evidence = replace(evidence_of(told, last), proposals=proposals(photos, people))
        decision = decide_retraining(evidence, RetrainParams(photos_of_new_class=10), NOW)
        return {reason.name for reason in decision.firing}

    assert fired(9, 3) == set()
    assert fired(20, 1) == set()
    assert fired(10, 2) == {"new_class"}
    heads = [{"name": "product", "classes": [*CLASSES, "rosin "]}]
    assert fired(10, 2, record(taxonomy=Taxonomy.model_validate({"heads": heads}))) == set()


def test_a_class_added_to_the_taxonomy_fires_once_it_has_photos():
    heads = [{"name": "product", "classes": CLASSES[:2]}]
    before = record(taxonomy=Taxonomy.model_validate({"heads": heads}))
    told = opinions_of(rights(30, 0))  # 10 are hash
    assert decided(told, before, photos_of_new_class=11)[0] == set()
    names, decision = decided(told, before, photos_of_new_class=10)
    assert names == {"new_class"}
    assert decision.firing[0].class_name == "hash"


@pytest.mark.parametrize(("days", "fires"), [(29.9, False), (30, True)])
def test_age_fires_after_thirty_days(days, fires):
    names, decision = decided(opinions_of(rights(40, 4)), now=TRAINED + timedelta(days=days))
    assert names == ({"age"} if fires else set())
    assert decision.retrain == fires


def test_age_alone_does_not_train_the_same_photos_again():
    told = opinions_of([])
    names, decision = decided(told, now=TRAINED + timedelta(days=90))
    assert names == set()
    assert not decision.retrain


def test_counts_start_anew_after_each_training():
    """What the training was given counts no more; what was said while it ran still does."""
    told = opinions_of(rights(50, 20))
    assert decided(told, new_photos=40, accuracy_drop=0.9)[0] >= {"new_photos"}
    given = {f"{i:064x}": {"product": CLASSES[i % 3]} for i in range(45)}
    names, decision = decided(told, record(feedback=given), new_photos=40, accuracy_drop=0.9)
    assert "new_photos" not in names
    assert decision.new_photos == 5


def test_a_label_that_changed_since_is_new():
    told = opinions_of(rights(3, 0))
    given = {f"{i:064x}": {"product": "hash"} for i in range(3)}
    assert decided(told, record(feedback=given))[1].new_photos == 2


def test_without_a_recorded_training_rates_wait_and_counts_do_not():
    evidence = evidence_of(opinions_of(rights(60, 30)))
    first = Evidence(evidence.judged, evidence.photos, evidence.proposals)
    decision = decide_retraining(first, RetrainParams(new_photos=50, class_error=0.9), NOW)
    assert {reason.name for reason in decision.firing} == {"new_photos"}
    assert decision.last_training is None


@pytest.mark.parametrize(
    ("answered", "label", "wrong"),
    [
        ("plant", "plant", []),
        ("plant", "trim", ["plant"]),
        ("mould;stems", "stems", ["mould"]),
        ("-", "mould", ["mould"]),
        ("mould;stems", "seeds;stems", ["mould", "seeds"]),
    ],
)
def test_corrected_classes_are_those_answered_in_error(answered, label, wrong):
    assert list(corrected_classes(answered, label)) == wrong


def test_a_photo_that_was_drawn_once_counts_as_drawn_and_the_last_opinion_dates_it():
    early, late = opinions_of([True]), opinions_of([True], audit=False, person="z", opinion_id="z")
    late["at"] += timedelta(days=3)
    both = pd.concat([early, late], ignore_index=True)
    found = judged_answers(vetted_of(both), both)
    assert len(found) == 1
    assert found["audit"].tolist() == [True]
    assert found["at"].iloc[0] == late["at"].iloc[0]


def test_undecided_photos_are_not_judged():
    told = opinions_of(rights(4, 1))
    vetted = vetted_of(told).assign(status=["accepted", "undecided", "refused", "quarantined"])
    assert len(judged_answers(vetted, told)) == 1


def test_photos_that_were_not_kept_are_not_trained_on():
    vetted = vetted_of(opinions_of(rights(4, 1)))
    assert len(photos_of(vetted)) == 4
    assert photos_of(vetted, {vetted["photo_id"][1]: "/a.jpg"})["path"].tolist() == ["/a.jpg"]
    assert photos_of(vetted, {}).empty
