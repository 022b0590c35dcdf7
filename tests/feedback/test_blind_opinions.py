"""Judgments of people who did not see the answer are held against it."""

from datetime import UTC, datetime, timedelta

import pandas as pd

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.blind_opinions import with_answers
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.release_accuracy import audited_answers

AT = datetime(2026, 3, 2, tzinfo=UTC)


def blind(photo, label, **changed):
    fields = {
        "opinion_id": f"{photo} {label}",
        "photo_id": photo,
        "person": "ann",
        "head": "product",
        "verdict": "corrected",
        "label": label,
        "at": AT + timedelta(days=1),
        "seen_answer": False,
        "audit": True,
    }
    return Opinion(**fields | changed)


def answers_of(*rows):
    columns = ["photo_id", "head", "answered", "answered_confidence", "bundle_id", "at"]
    table = pd.DataFrame(rows, columns=columns)
    table["answered"] = table["answered"].astype(object)
    return table.assign(tier="tier1", audit_probability=0.5)


def test_a_blind_judgment_gets_the_latest_answer_beside_it():
    answers = answers_of(
        ("a", "product", "trim", 0.9, "b2", AT),
        ("a", "product", "hash", 0.4, "b1", AT - timedelta(days=9)),
        ("b", "product", "hash", 0.8, "b2", AT),
        ("c", "look", ["frosty"], 0.8, "b2", AT),
    )
    told = opinions_table(
        [
            blind("a", "trim"),
            blind("b", "trim"),
            blind("c", ["frosty"], head="look", opinion_id="c"),
            blind("d", "trim"),
            blind("a", "trim", audit=False, person="bob", opinion_id="x"),
        ]
    )
    found = with_answers(told, answers)
    assert found["answered"].tolist()[:3] == ["trim", "hash", ["frosty"]]
    assert found["answered"].isna().tolist()[3:] == [True, True]
    assert found["bundle_id"].tolist() == ["b2", "b2", "b2", "", ""]
    assert found.dtypes.equals(told.dtypes)
    people = pd.DataFrame({"person": ["ann"], "accuracy": [1.0], "quarantined": [False]})
    judged = audited_answers(found, answers, people, AuditParams())
    assert judged["agreement"].tolist() == [1.0, 0.0, 1.0]
    assert judged["blind"].all()


def test_what_came_with_an_answer_keeps_it():
    told = opinions_table([blind("a", "trim", answered="hash", bundle_id="b1", tier="tier3")])
    found = with_answers(told, answers_of(("a", "product", "trim", 0.9, "b2", AT)))
    pd.testing.assert_frame_equal(found, told)
