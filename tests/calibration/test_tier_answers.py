"""What routing sees of tiers, and which score routes."""

import numpy as np
import pytest

from cannabis_ml.calibration.tier_answers import (
    RoutedHead,
    choose_score,
    routed_head,
    routing_head,
)
from cannabis_ml.errors import CalibrationError
from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.routing import TierCost
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "marks", "kind": "multilabel", "classes": ["x", "y"]},
            {"name": "kind", "classes": ["a", "b", "c"]},
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B"]},
        ]
    }
)
OUTPUTS = {
    "marks": np.array([[0.9, 0.1], [0.2, 0.1]]),
    "kind": np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2]]),
    "kind.epistemic": np.array([0.1, 0.4]),
    "grade": np.array([[0.9, 0.1], [0.4, 0.6]]),
}
DECISION = Decision(TAXONOMY, DecisionRule(calibrators={"kind": Temperature(temperature=0.5)}))
LABELS = np.array([0, 0])


def test_answers_by_hand():
    unknown = UnknownScore("max_probability", "kind", threshold=-0.6)
    found = routed_head(TAXONOMY["kind"], OUTPUTS, LABELS, DECISION, unknown)
    assert found.right.tolist() == [True, False]
    assert found.answers.tolist() == ["a", "b"]
    # A temperature of one half squares the odds: 64 / 66 and 25 / 38.
    assert found.scores["max_probability"] == pytest.approx([64 / 66, 25 / 38])
    assert found.scores["agreement"].tolist() == [-0.1, -0.4]
    # Of raw probabilities.
    assert found.unknown == pytest.approx([-0.8, -0.5])
    tier = found.by("tier1", "margin", TierCost(5))
    assert tier.score == pytest.approx([63 / 66, 16 / 38])
    assert tier.known.tolist() == [True, False]
    assert tier.cost == TierCost(5)


def test_without_a_threshold_every_photo_is_known():
    found = routed_head(
        TAXONOMY["kind"], OUTPUTS, LABELS, DECISION, UnknownScore("max_probability", "kind")
    )
    assert found.unknown_above is None
    assert found.by("tier1", "entropy").known.all()


def test_which_head_routes():
    assert routing_head(TAXONOMY).name == "kind"
    assert routing_head(TAXONOMY, "grade").name == "grade"
    with pytest.raises(CalibrationError, match="'marks' is not a multiclass or ordinal head"):
        routing_head(TAXONOMY, "marks")


def test_a_score_that_a_file_does_not_give_is_named():
    silent = {name: values for name, values in OUTPUTS.items() if name != "kind.epistemic"}
    found = routed_head(TAXONOMY["kind"], silent, LABELS, DECISION)
    with pytest.raises(CalibrationError, match="tier1 does not give the routing score 'agreement'"):
        found.by("tier1", "agreement")


def test_photos_without_a_label_are_refused():
    with pytest.raises(ValueError, match="1 of 2 photos have no label of 'kind'"):
        routed_head(TAXONOMY["kind"], OUTPUTS, np.array([0, -1]), DECISION)


def drawn(better, seed=0, photos=300):
    """Scores that all rank alike, but one, which knows more."""
    random = np.random.default_rng(seed)
    hard = random.random(photos)
    right = random.random(photos) > hard
    noisy = -hard + random.normal(size=photos)
    scores = dict.fromkeys(("max_probability", "margin", "entropy"), noisy)
    return RoutedHead({**scores, better: -hard}, right, np.full(photos, "a", object))


def test_the_score_that_ranks_errors_best_routes():
    chosen = choose_score([drawn("entropy"), drawn("entropy", 1)], np.arange(300))
    assert chosen.score == "entropy"
    assert chosen.because.startswith("entropy has the lowest AUGRC")
    assert chosen.augrc["entropy"] < chosen.augrc["margin"]


def test_of_scores_that_do_not_differ_the_simplest_routes():
    tier = drawn("margin", photos=12)
    scores = {name: tier.scores["margin"].copy() for name in ("max_probability", "margin")}
    scores["max_probability"][0] = scores["max_probability"][1]
    chosen = choose_score([RoutedHead(scores, tier.right, tier.answers)], np.arange(12))
    assert chosen.score == "max_probability"


def test_scores_that_one_tier_lacks_take_no_part():
    first, second = drawn("margin"), drawn("agreement", 1)
    del second.scores["margin"]
    chosen = choose_score([first, second], np.arange(300))
    assert set(chosen.augrc) == {"max_probability", "entropy"}
