import numpy as np
import pytest
from scipy.stats import betabinom

from cannabis_ml.evaluation.answered import LabeledOutputs
from cannabis_ml.evaluation.reliability_scores import least_coverage, score_reliability
from cannabis_ml.inference.backoff import BackOff
from cannabis_ml.inference.bands import ConfidenceBand
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.prediction_sets import HeadSets, PredictionSets
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "plant", "classes": ["a", "b"]},
            {
                "name": "pest",
                "parent": "plant",
                "classes": ["x", "y", "z"],
                "allowed": {"a": ["x", "y"], "b": ["z"]},
            },
        ]
    }
)
# Of plant: right, right, wrong, right; of pest the answer is right on the first photo alone.
PHOTOS = LabeledOutputs(
    {
        "plant": np.array([[0.95, 0.05], [0.9, 0.1], [0.85, 0.15], [0.6, 0.4]]),
        "pest": np.array([[0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.7, 0.15, 0.15], [0.5, 0.1, 0.4]]),
    },
    {"plant": np.array([0, 0, 1, 0]), "pest": np.array([0, 1, 2, 1])},
    np.arange(4),
)


def limits(*values, groups=40):
    return HeadSets(kind="multiclass", alpha=0.1, limits=values, groups=[groups] * len(values))


def scored(unknown=None, others=None, **parts):
    rules = TierRules(Decision(TAXONOMY), Reliability(**parts), unknown)
    return score_reliability(rules, PHOTOS, others)


def test_coverage_and_size_of_sets_by_hand():
    sets = PredictionSets(heads={"plant": limits(0.5, 0.5)})
    found = scored(sets=sets).sets["plant"]
    assert (found.n, found.groups, found.promised) == (4, 4, 0.9)
    assert found.coverage == 0.75  # the third photo's set holds its answer alone
    assert (found.mean_size, found.single) == (1.0, 1.0)
    # Of 4 photos, 3 are at least what a kept promise gets 39 times in 40.
    assert found.least_by_chance == 0.5
    assert found.kept
    none = scored(sets=PredictionSets(heads={"plant": limits(None, None)})).sets["plant"]
    assert (none.coverage, none.mean_size) == (1.0, 2.0)


def test_least_coverage_is_that_of_split_conformal_prediction():
    """With 39 groups the 36th smallest score is the limit: 36 of 40 places lie at or below it."""
    found = least_coverage(0.1, 39, 50)
    assert betabinom.cdf(50 * found, 50, 36, 4) >= 0.025
    assert betabinom.cdf(50 * found - 1, 50, 36, 4) < 0.025
    assert least_coverage(0.1, 5, 50) == 1.0  # infinite: everything is covered
    simulated = np.random.default_rng(0)
    below = 0
    for _ in range(2000):
        limit = np.sort(simulated.random(39))[35]
        below += (simulated.random(50) <= limit).mean() < found
    assert below / 2000 <= 0.035


def test_sets_that_miss_too_often_broke_their_promise():
    many = LabeledOutputs(
        {name: np.repeat(values, 50, axis=0) for name, values in PHOTOS.outputs.items()},
        {name: np.repeat(values, 50) for name, values in PHOTOS.truth.items()},
        np.arange(200),
    )
    sets = PredictionSets(heads={"plant": limits(0.5, 0.5, groups=400)})
    rules = TierRules(Decision(TAXONOMY), Reliability(sets=sets))
    assert not score_reliability(rules, many).sets["plant"].kept


def test_bands_are_held_against_the_share_right():
    flat = {"level": 0.95, "photos": [9, 9]}
    wide = ConfidenceBand(low=[0.5, 0.5], high=[1, 1], **flat)
    found = scored(bands={"plant": wide}).bands["plant"]
    assert (found.answers, found.bins, found.consistent_bins) == (4, 1, 1)
    assert found.mean_width == pytest.approx(0.5)
    # 3 of 4 right are 30% to 95%; a band at 0 to 10% is never consistent with that.
    low = ConfidenceBand(low=[0, 0], high=[0.1, 0.1], **flat)
    unsure = LabeledOutputs(
        {"plant": np.full((4, 2), [0.051, 0.05])}, {"plant": PHOTOS.truth["plant"]}, np.arange(4)
    )
    alone = Taxonomy.model_construct(heads=[TAXONOMY["plant"]])
    rules = TierRules(Decision(alone), Reliability(bands={"plant": low}))
    assert score_reliability(rules, unsure).bands["plant"].consistent_bins == 0


def test_wrong_branches_by_hand():
    at = {"alpha": 0.05, "groups": 40}
    never = BackOff(heads=["plant", "pest"], threshold=0.0, **at)
    found = scored(back_off=[never]).back_off["pest"]
    assert found.wrong_branch == found.wrong_without == 0.75
    assert found.answered == {"plant": 0.0, "pest": 1.0, "": 0.0}
    sure = BackOff(heads=["plant", "pest"], threshold=0.88, **at)
    found = scored(back_off=[sure]).back_off["pest"]
    # pest answers the first photo, plant the second; nothing is answered for the others.
    assert found.answered == {"plant": 0.25, "pest": 0.25, "": 0.5}
    assert found.wrong_branch == 0.0
    assert found.kept


def test_false_alarms_and_what_is_caught():
    score = UnknownScore("max_probability", "plant", threshold=-0.7, kept=0.95, groups=40)
    blank = {"plant": np.array([[0.5, 0.5], [0.9, 0.1]])}
    found = scored(score, {"noise": blank, "text": {"plant": blank["plant"][:1]}}).unknown
    assert found.false_alarms == 0.25
    assert found.caught == {"noise": 0.5, "text": 1.0}
    assert found.kept == (found.most_by_chance >= 0.25)
    assert scored().unknown is None
