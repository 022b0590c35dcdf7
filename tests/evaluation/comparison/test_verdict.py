import numpy as np
import pytest

from cannabis_ml.evaluation.comparison.answers import ModelAnswers
from cannabis_ml.evaluation.comparison.models import compare_models
from cannabis_ml.evaluation.comparison.paired import PairedParams
from cannabis_ml.evaluation.comparison.params import Budget, GateParams
from cannabis_ml.evaluation.comparison.risk import RiskComparison
from cannabis_ml.evaluation.comparison.unlabeled import compare_unlabeled
from cannabis_ml.evaluation.comparison.verdict import (
    Cost,
    TierEvidence,
    first_champion,
    judge_challenger,
    the_champion_itself,
)
from cannabis_ml.inference.routing import Promised
from cannabis_ml.taxonomy import Taxonomy

CLASSES = [f"c{k}" for k in range(5)]
TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": CLASSES}]})
GATE = GateParams(paired=PairedParams(draws=300))


def model(truth, right, seed=0, sure=None):
    """Calibrated: as sure as it is right."""
    random = np.random.default_rng(seed)
    wrong = (truth + random.integers(1, 5, len(truth))) % 5
    decided = np.where(right, truth, wrong)
    sure = right.mean() if sure is None else sure
    probs = np.full((len(truth), 5), (1 - sure) / 4)
    probs[np.arange(len(truth)), decided] = sure
    return ModelAnswers(TAXONOMY, {"kind": decided}, {"kind": probs})


def judged(truth, before, after, gate=GATE, **evidence):
    champion, challenger = model(truth, before), model(truth, after)
    groups = np.arange(len(truth))
    labelled = compare_models(champion, challenger, {"kind": truth}, groups, gate.paired)
    names = [str(i) for i in groups]
    unlabelled = compare_unlabeled(champion, challenger, names)
    found = TierEvidence(labelled=labelled, unlabelled=unlabelled, **evidence)
    return judge_challenger("old", "new", {"tier1": found}, gate)


@pytest.fixture(scope="module")
def truth():
    return np.arange(1500) % 5


@pytest.fixture(scope="module")
def before(truth):
    return np.random.default_rng(0).random(len(truth)) < 0.9


def abouts(report, bearing):
    return {reason.about for reason in report.of(bearing)}


def test_a_challenger_that_is_as_good_is_promoted(truth, before):
    after = before.copy()
    after[[3, 400]] = ~after[[3, 400]]
    report = judged(truth, before, after)
    assert report.outcome == "promote"
    assert (report.champion, report.challenger) == ("old", "new")
    assert "promoted" in report.in_words


def test_a_challenger_that_is_worse_overall_is_refused(truth, before):
    after = before & (np.random.default_rng(1).random(len(truth)) < 0.94)
    report = judged(truth, before, after)
    assert report.outcome == "refuse"
    assert "overall" in abouts(report, "refuse")


def test_a_class_is_not_given_up_for_the_others(truth, before):
    after = np.where(truth == 2, before & (np.arange(len(truth)) % 4 > 0), True)
    report = judged(truth, before, after)
    assert report.of("passes")[0].about == "overall"
    assert report.outcome == "refuse"
    (reason,) = [r for r in report.of("refuse") if r.about == "class"]
    assert "kind.c2" in reason.text


def test_few_photos_are_left_to_a_person_with_how_many_would_do(truth, before):
    few = slice(0, 60)
    report = judged(truth[few], before[few], before[few])
    assert report.outcome == "look"
    assert "would" in report.in_words
    assert "kedro promote" in report.in_words


def test_classes_that_are_too_rare_to_judge_are_listed():
    truth = np.array([0] * 300 + [1] * 4)
    right = np.ones(len(truth), bool)
    report = judged(truth, right, right)
    assert report.too_few_photos == ["tier1: kind.c1 (4 groups)"]


def test_many_other_answers_are_looked_at_though_as_many_are_right(truth, before):
    random = np.random.default_rng(2)
    after = before[random.permutation(len(truth))]
    gate = GATE.model_copy(update={"margin": 0.05})
    report = judged(truth, before, after, gate)
    assert "agreement" in abouts(report, "look")
    assert report.outcome == "look"


@pytest.mark.parametrize("share", [0.99, 0.999])
def test_a_challenger_that_is_too_sure_is_refused(truth, before, share):
    champion, boast = model(truth, before), model(truth, before, sure=share)
    groups = np.arange(len(truth))
    labelled = compare_models(champion, boast, {"kind": truth}, groups, GATE.paired)
    same = compare_unlabeled(champion, boast, [str(i) for i in groups])
    evidence = {"tier1": TierEvidence(labelled=labelled, unlabelled=same)}
    assert abouts(judge_challenger("a", "b", evidence, GATE), "refuse") == {"calibration"}


def test_budgets_are_of_each_tier(truth, before):
    gate = GATE.model_copy(update={"budgets": {"tier1": Budget(milliseconds=50, megabytes=20)}})
    dear = judged(truth, before, before, gate, cost=Cost(milliseconds=51, megabytes=19))
    assert abouts(dear, "refuse") == {"latency"}
    fits = judged(truth, before, before, gate, cost=Cost(milliseconds=49, megabytes=19))
    assert fits.outcome == "promote"


def test_accepted_answers_may_not_be_wrong_more_often(truth, before):
    risk = RiskComparison(
        groups=1500,
        champion_accepted=0.8,
        challenger_accepted=0.9,
        champion=0.02,
        challenger=0.05,
        difference=0.03,
        interval=(0.01, 0.05),
    )
    assert abouts(judged(truth, before, before, risk=risk), "refuse") == {"risk"}
    unsure = risk.model_copy(update={"interval": (-0.001, 0.05)})
    assert judged(truth, before, before, risk=unsure).outcome == "promote"


def test_a_promise_is_not_taken_back(truth, before):
    def of(error_rate):
        return Promised(error_rate=error_rate, confidence=0.95, groups=200, accepted=150, errors=1)

    model = judged(truth, before, before)
    for after, outcome in ((of(0.05), "promote"), (of(0.1), "refuse"), (None, "refuse")):
        found = judge_challenger("a", "b", model.tiers, GATE, (of(0.05), after))
        assert found.outcome == outcome
    assert judge_challenger("a", "b", model.tiers, GATE, (None, of(0.2))).outcome == "promote"


def test_the_champion_is_not_compared_with_itself():
    report = the_champion_itself("abc")
    assert (report.outcome, report.champion, report.challenger) == ("promote", "abc", "abc")


def test_the_first_bundle_is_promoted_with_that_reason():
    report = first_champion("abc")
    assert (report.outcome, report.champion, report.challenger) == ("promote", None, "abc")
    assert "no champion" in report.reasons[0].text


def test_worse_challengers_seldom_pass_and_better_ones_do():
    """Right on 84 and 93 of 100 photos, the champion on 90; bench_gate.py has many samples."""
    random = np.random.default_rng(0)
    promoted = {"worse": 0, "better": 0}
    for _ in range(5):
        truth = np.arange(1000) % 5
        before, drawn = random.random(1000) < 0.9, random.random(1000)
        challengers = {
            "worse": np.where(before, drawn < 0.91, drawn < 0.2),
            "better": np.where(before, drawn < 0.985, drawn < 0.45),
        }
        for name, after in challengers.items():
            promoted[name] += judged(truth, before, after).outcome == "promote"
    assert promoted == {"worse": 0, "better": 5}
