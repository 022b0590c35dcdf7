import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.audit import (
    AuditParams,
    draw_for_audit,
    half_width,
    is_drawn,
    photos_needed,
    plan_audit,
)
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.release_accuracy import (
    accuracy_after_release,
    audited_answers,
    estimate_accuracy,
    expected_accuracy,
    with_unjudged,
)
from cannabis_ml.taxonomy import Taxonomy

PLAIN = AuditParams(correct_for_people=False)
REPEATS = 200
LEAST, MOST = binom.ppf([0.005, 0.995], REPEATS, 0.95)
"""Of 200 intervals that hold the truth 95 times in 100, in 99 of 100 cases."""


def audited(agreement, probability, skill=1.0, weight=1.0, blind=True):
    return pd.DataFrame(
        {
            "agreement": np.asarray(agreement, float),
            "probability": probability,
            "skill": skill,
            "weight": weight,
            "blind": blind,
        }
    )


def test_five_points_with_95_percent_take_so_many():
    n = photos_needed(0.05, 0.5, 0.95)
    assert n == 381  # Wilson's needs z² = 3.84 fewer than the 385 of the usual formula
    ends = binomtest(round(n * 0.5), n).proportion_ci(0.95, method="wilson")
    assert (ends.high - ends.low) / 2 == pytest.approx(0.05, abs=1e-4)
    assert half_width(n - 1, 0.5, 0.95) > 0.05


def test_the_plan_is_a_rate_and_a_sentence():
    params = AuditParams(planned_accuracy=0.5, weeks=2, response=0.5)
    plan = plan_audit(4000, params)
    assert plan.per_week == 381  # 381 judged in two weeks, half of those put up
    assert plan.rate == pytest.approx(381 / 4000)
    assert plan.reason == "±5 points with 95% within 2 weeks take 381 answers a week, 9.5% of 4,000"
    few = plan_audit(100, AuditParams(planned_accuracy=0.5))
    assert (few.rate, few.per_week) == (1.0, 100)
    assert few.half_width == pytest.approx(half_width(100, 0.5, 0.95))
    assert "there are 100, so all are put up, for ±9.6 points" in few.reason
    assert plan_audit(0, params).per_week == 0


def test_draws_are_uniform_and_do_not_depend_on_each_other():
    photos = [f"{i:064x}" for i in range(20_000)]
    drawn = draw_for_audit(photos, 0.1)
    low, high = binom.ppf([0.0005, 0.9995], len(photos), 0.1)
    assert low <= len(drawn) <= high
    assert draw_for_audit(reversed(photos), 0.1) == drawn
    assert set(drawn) <= set(draw_for_audit(photos, 0.2))
    assert set(drawn) != set(draw_for_audit(photos, 0.1, salt="next"))
    assert not is_drawn(photos[0], 0.0)
    assert is_drawn(photos[0], 1.0)


def test_weights_undo_unequal_draws_by_hand():
    """Of 10 answers drawn at 0.5 nine are right, of 10 drawn at 0.1 four: 20 and 100 answers."""
    table = audited([1] * 9 + [0] + [1] * 4 + [0] * 6, [0.5] * 10 + [0.1] * 10)
    found = estimate_accuracy(table, 5, PLAIN)
    assert found.accuracy == pytest.approx((18 + 40) / 120)
    assert found.effective_photos == pytest.approx(120**2 / (10 * 4 + 10 * 100))


def test_without_weights_the_interval_is_wilsons():
    found = estimate_accuracy(audited([1] * 80 + [0] * 20, 0.25), 5, PLAIN)
    ends = binomtest(80, 100).proportion_ci(0.95, method="wilson")
    assert [found.low, found.high] == pytest.approx([ends.low, ends.high])
    assert "right in 80.0%" in found.reason


def test_nothing_audited_is_nothing_known():
    assert estimate_accuracy(audited([], 1.0), 5, PLAIN).accuracy is None


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.97])
def test_intervals_cover_where_answers_are_drawn_unequally(accuracy):
    """Hard answers are drawn more often, and are wrong more often: the plain mean is too low."""
    random = np.random.default_rng(0)
    covered, plain = 0, []
    for _ in range(REPEATS):
        hard = random.random(4000) < 0.3
        right = random.random(4000) < np.where(hard, 2 * accuracy - 1, (1 + accuracy) / 2)
        truth = 0.3 * (2 * accuracy - 1) + 0.7 * (1 + accuracy) / 2
        probability = np.where(hard, 0.1, 0.05)
        drawn = random.random(4000) < probability
        found = estimate_accuracy(audited(right[drawn], probability[drawn]), 5, PLAIN)
        covered += found.low <= truth <= found.high
        plain.append(right[drawn].mean() - truth)
    assert covered >= LEAST
    assert np.mean(plain) < -0.005


@pytest.mark.parametrize(("classes", "skill"), [(5, 0.9), (2, 0.8)])
def test_intervals_cover_where_auditors_err(classes, skill):
    random = np.random.default_rng(1)
    covered = naive = 0
    for _ in range(REPEATS):
        right = random.random(300) < 0.85
        agree = random.random(300) < np.where(right, skill, (1 - skill) / (classes - 1))
        table = audited(agree, 0.1, skill=skill)
        found = estimate_accuracy(table, classes, AuditParams())
        covered += found.low <= 0.85 <= found.high
        found = estimate_accuracy(table, classes, PLAIN)
        naive += found.low <= 0.85 <= found.high
    assert LEAST <= covered <= MOST
    assert naive < LEAST


def test_intervals_cover_where_photos_come_in_bursts():
    random = np.random.default_rng(2)
    covered = naive = 0
    groups = np.repeat(np.arange(40), 5)
    for _ in range(REPEATS):
        own = random.beta(0.85 * 2, 0.15 * 2, 40)
        table = audited(random.random(200) < own[groups], 0.2)
        found = estimate_accuracy(table, 5, PLAIN, groups)
        covered += found.low <= 0.85 <= found.high
        found = estimate_accuracy(table, 5, PLAIN)
        naive += found.low <= 0.85 <= found.high
    assert covered >= LEAST
    assert naive < LEAST


def test_an_auditor_who_tells_nothing_is_not_asked():
    table = audited([1, 1, 0, 0], 0.5, skill=[0.95, 0.95, 0.3, 0.3])
    assert estimate_accuracy(table, 5, AuditParams()).photos == 2


@pytest.fixture(scope="module")
def judged():
    def row(number, person, photo, verdict, label, **fields):
        given = {"answered": "plant", "head": "kind", "seen_answer": False, "audit": True, **fields}
        return Opinion(
            opinion_id=f"{number}",
            photo_id=photo,
            person=person,
            verdict=verdict,
            label=label,
            at=pd.Timestamp("2026-03-01", tz="UTC").to_pydatetime(),
            **given,
        )

    opinions = opinions_table(
        [
            row(0, "ada", "p1", "confirmed", "plant"),
            row(1, "ben", "p1", "corrected", "hash", seen_answer=True),
            row(2, "ada", "p2", "corrected", "hash"),
            row(3, "eve", "p2", "confirmed", "plant"),
            row(4, "ada", "p3", "unsure", None),
            row(5, "ada", "p4", "corrected", "hash", audit=False),
            row(6, "ben", "p5", "confirmed", "plant", seen_answer=True),
            row(7, "ada", "p5", "confirmed", [], head="look", answered=[]),
            row(8, "ada", "p6", "none_of_these", None),
        ]
    )
    people = pd.DataFrame(
        {
            "person": ["ada", "ben", "eve"],
            "accuracy": [0.9, 0.8, 0.1],
            "quarantined": [False, False, True],
        }
    )
    answers = pd.DataFrame({"photo_id": [f"p{i}" for i in range(7)], "audit_probability": 0.25})
    return opinions, answers, people


def test_audited_answers_are_what_people_judged_of_photos_drawn(judged):
    found = audited_answers(*judged, AuditParams()).set_index(["photo_id", "head"])
    assert list(found.index) == [
        ("p1", "kind"),
        ("p2", "kind"),
        ("p5", "kind"),
        ("p5", "look"),
        ("p6", "kind"),
    ]
    assert found["agreement"].tolist() == pytest.approx([1 / 1.5, 0, 1, 1, 0])
    assert found["weight"].tolist() == [1, 1, 0.5, 1, 1]
    assert found["blind"].tolist() == [True, True, False, True, True]
    assert found.loc[("p1", "kind"), "skill"] == pytest.approx((0.9 + 0.5 * 0.8) / 1.5)
    assert (found["probability"] == 0.25).all()


def test_who_had_seen_the_answer_can_be_left_out(judged):
    found = audited_answers(*judged, AuditParams(seen_answer=0)).set_index(["photo_id", "head"])
    assert ("p5", "kind") not in found.index
    assert found.loc[("p1", "kind"), "agreement"] == 1


def test_the_gap_between_those_who_saw_and_those_who_did_not():
    table = audited([1, 1, 0, 1], 0.5, weight=[0.5, 0.5, 1, 1], blind=[False, False, True, True])
    found = estimate_accuracy(table, 5, PLAIN)
    assert found.seen_gap == pytest.approx(0.5)
    assert found.blind == pytest.approx(2 / 3)
    assert found.accuracy == pytest.approx(2 / 3)


def test_an_audited_photo_without_its_probability_is_an_error(judged):
    opinions, answers, people = judged
    with pytest.raises(FeedbackError, match=r"1 audited photo of 4 have no inclusion .* p6"):
        audited_answers(opinions, answers[:6], people, AuditParams())


def test_expected_accuracy_holds_where_confidence_is_true():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(REPEATS):
        confidence = random.beta(8, 2, 400)
        right = np.mean(random.random(400) < confidence)
        found = expected_accuracy(confidence)
        covered += found.low <= right <= found.high
    assert LEAST <= covered <= MOST
    assert expected_accuracy(np.array([np.nan])) is None
    assert expected_accuracy(np.array([0.5, np.nan, 0.7])).accuracy == pytest.approx(0.6)


def test_an_audit_contradicts_confidence_that_is_too_high():
    expected = expected_accuracy(np.full(500, 0.95))
    worse = estimate_accuracy(audited([1] * 80 + [0] * 20, 0.2), 5, PLAIN)
    as_good = estimate_accuracy(audited([1] * 94 + [0] * 6, 0.2), 5, PLAIN)
    assert expected.is_contradicted_by(worse)
    assert not expected.is_contradicted_by(as_good)


def test_an_auditor_of_attributes_who_errs_makes_no_list_look_wrong():
    """Five attributes, each judged right 95 times in 100: 77% of right lists are agreed with."""
    random = np.random.default_rng(0)
    held, means = 0, []
    for _ in range(REPEATS):
        wrong = np.where(random.random(300) < 0.2, random.integers(1, 3, 300), 0)
        is_wrong = random.permuted(np.arange(5) < wrong[:, None], axis=1)
        seen_wrong = is_wrong ^ (random.random((300, 5)) < 0.05)
        table = audited(~seen_wrong.any(axis=1), 0.5, skill=0.95)
        found = estimate_accuracy(table, 5, AuditParams(), attributes=True)
        means.append(found.accuracy)
        held += found.low <= (wrong == 0).mean() <= found.high
    assert np.mean(means) == pytest.approx(0.8, abs=0.01)
    assert np.mean(means) < 0.8  # lists with two wrong attributes are agreed with less often
    assert held >= LEAST


def test_auditors_who_are_right_too_seldom_for_a_list_tell_nothing():
    table = audited([1.0] * 50, 0.5, skill=0.8)
    found = estimate_accuracy(table, 6, AuditParams(), attributes=True)
    assert found.accuracy is None
    assert found.reason == "nobody who audited is right often enough"


def test_answers_that_wait_for_a_judgment_may_all_be_right():
    judged = audited([0.0] * 30 + [1.0] * 70, 0.5)
    waiting = pd.Series([0.5] * 100)
    alone = estimate_accuracy(judged, 3, PLAIN)
    found = with_unjudged(alone, judged, waiting, 3, PLAIN)
    assert (found.accuracy, found.low, found.high) == (alone.accuracy, alone.low, alone.high)
    assert found.unjudged == 100
    whole = estimate_accuracy(audited([0.0] * 30 + [1.0] * 170, 0.5), 3, PLAIN)
    assert found.high_at_best == pytest.approx(whole.high)
    assert with_unjudged(alone, judged, waiting[:0], 3, PLAIN).high_at_best == alone.high


def test_each_head_has_its_accuracy_beside_what_confidence_promises():
    heads = ["kind", "look"]
    taxonomy = Taxonomy(
        heads=[
            {"name": "kind", "classes": ["plant", "hash"]},
            {"name": "look", "kind": "multilabel", "classes": ["seeds"]},
        ]
    )
    table = audited([1] * 60 + [0] * 40, 0.5).assign(head="kind")
    answers = pd.DataFrame({"head": heads * 200, "answered_confidence": [0.95, np.nan] * 200})
    found = accuracy_after_release(table, answers, taxonomy, PLAIN).set_index("head")
    assert found.loc["kind", ["accuracy", "expected"]].tolist() == pytest.approx([0.6, 0.95])
    assert found["contradicted"].tolist() == [True, False]
    assert found["photos"].tolist() == [100, 0]
    assert np.isnan(found.loc["look", ["accuracy", "low", "expected"]].astype(float)).all()
    assert found.loc["look", "reason"] == "no answer was audited"
