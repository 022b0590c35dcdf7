"""Outputs of a file, calibrators fitted to them, the rule that files carry, and its scores."""

import datasets
import numpy as np
import pandas as pd
import pytest

from cannabis_ml.calibration.choices import ChoiceParams
from cannabis_ml.errors import CalibrationError
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.calibration import nodes
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind", "classes": ["leaf", "bud", "hash"]},
            {"name": "look", "kind": "multilabel", "classes": ["dry", "wet"]},
        ]
    }
)
PARAMS = CalibrationParams.model_validate({"choice": {"repeats": 1}})
COUNT = 600


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).integers(0, 3, COUNT)


@pytest.fixture(scope="module")
def photo_set(truth):
    rows = [
        {
            "photo_id": f"{i:064x}",
            "image": {"bytes": b"", "path": None},
            "split": ["calibration", "validation", "test", "train"][i % 4],
            "group": f"g{i}",
            "kind": TAXONOMY["kind"].class_names[k],
            "look.dry": int(k == 0),
            "look.wet": int(k == 1),
        }
        for i, k in enumerate(truth)
    ]
    features = {name: datasets.Value("string") for name in ("photo_id", "split", "group", "kind")}
    features |= {"image": datasets.Image(), "look.dry": datasets.Value("int8")}
    features |= {"look.wet": datasets.Value("int8")}
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


@pytest.fixture(scope="module")
def outputs(photo_set, truth):
    """Of a network that is three times too sure."""
    random = np.random.default_rng(1)
    logits = random.normal(size=(COUNT, 3)) + 1.5 * (truth[:, None] == np.arange(3))
    # Labels that are drawn from these probabilities are what a calibrated network would give.
    sure = np.exp(3 * logits)
    probs = sure / sure.sum(axis=1, keepdims=True)
    look = np.stack([truth == 0, truth == 1], axis=1) * 0.8 + 0.1
    table = photo_set.labels("photo_id", "split")
    return table.assign(
        kind=pd.Series(list(probs.astype(np.float32)), dtype=object),
        look=pd.Series(list(look.astype(np.float32)), dtype=object),
    )


def test_overconfidence_is_cooled_on_calibration_photos_alone(outputs, photo_set):
    rule, report = nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, DecisionRule(), PARAMS)
    assert report.splits == ["calibration"]
    assert report.heads["kind"].photos == COUNT / 4
    found = rule.calibrators["kind"]
    assert isinstance(found, Temperature)
    assert found.temperature == pytest.approx(2, rel=0.35)  # 3 for 1.5 times what noise allows

    elsewhere = outputs.copy()
    others = outputs["split"] != "calibration"
    elsewhere.loc[others, "kind"] = pd.Series(
        [np.array([0.0, 0.0, 1.0], np.float32)] * others.sum(), index=outputs.index[others]
    )
    again, _ = nodes.calibrate("tier1", elsewhere, photo_set, TAXONOMY, DecisionRule(), PARAMS)
    assert again == rule


def test_a_head_with_too_few_photos_is_not_called_calibrated(outputs, photo_set):
    few = PARAMS.model_copy(update={"choice": ChoiceParams(fewest_groups=1000)})
    rule, report = nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, DecisionRule(), few)
    assert rule.calibrators == {}
    assert not any(choice.is_calibrated for choice in report.heads.values())
    assert "groups of photos, 1,000 are needed" in report.heads["kind"].why


def test_validation_photos_count_where_that_is_asked_for(outputs, photo_set):
    params = PARAMS.model_copy(update={"use_validation": True})
    _, report = nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, DecisionRule(), params)
    assert report.splits == ["calibration", "validation"]
    assert report.heads["kind"].photos == COUNT / 2


def test_no_photo_to_calibrate_on_is_reported_with_a_remedy(outputs, photo_set):
    none = outputs[outputs["split"] != "calibration"]
    with pytest.raises(CalibrationError, match="use_validation"):
        nodes.calibrate("tier1", none, photo_set, TAXONOMY, DecisionRule(), PARAMS)


def test_attributes_are_claimed_as_before_by_thresholds_that_move_along(outputs, photo_set):
    given = DecisionRule(thresholds={"look": {"dry": 0.3, "wet": 0.95}})
    rule, report = nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, given, PARAMS)
    assert report.heads["look"].chosen != "none"
    reports = ReportParams()
    before = nodes.score_file(outputs, photo_set, TAXONOMY, given, reports).heads["look"]
    after = nodes.score_file(outputs, photo_set, TAXONOMY, rule, reports).heads["look"]
    assert before.per_class["wet"].recall == 0
    assert after.confusion == before.confusion
    assert after.per_class["dry"].threshold == rule.thresholds["look"]["dry"]


def test_calibration_is_judged_on_test_photos_before_and_after(outputs, photo_set):
    rule, _ = nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, DecisionRule(), PARAMS)
    found = nodes.judge_calibration(
        outputs, photo_set, TAXONOMY, DecisionRule(), rule, ReportParams()
    )
    before, after = found.before["kind"], found.after["kind"]
    assert before.photos == after.photos == COUNT / 4
    assert before.accuracy == after.accuracy  # a temperature changes no class
    assert before.mean_confidence > before.accuracy + 0.1
    assert after.mean_confidence == pytest.approx(after.accuracy, abs=0.07)
    assert after.log_loss < before.log_loss
    assert after.smooth_ece.value < before.smooth_ece.value
    figures = nodes.draw_reliability(found)
    assert set(figures) == {"kind", "look"}
