import json

import numpy as np
import pytest

from cannabis_ml.errors import BundleError
from cannabis_ml.inference import golden
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.golden import ExpectedAnswers
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.inference.reliability import TierRules

ANSWERS = {
    "kind.of thing": [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]],
    "grade": [[0.6, 0.2, 0.1, 0.1], [0.0, 0.1, 0.2, 0.7]],
    "marks": [[0.9, 0.1], [0.4, 0.6]],
    "embedding": [[200.0, -3.0, 1.0], [10.0, 50.0, 0.0]],
}


RULE = DecisionRule.model_validate(
    {"calibrators": {"kind.of thing": {"kind": "temperature", "temperature": 2.0}}}
)


@pytest.fixture
def same():
    return {name: np.array(values, np.float32) for name, values in ANSWERS.items()}


@pytest.fixture
def rules(small):
    """Calibrated, with sets, back-off and an unknown score of the embedding."""
    return TierRules(Decision(small.taxonomy, RULE), small.reliability, small.unknown_score())


@pytest.fixture
def expected(rules, same):
    return ExpectedAnswers(
        file="f",
        image_size=16,
        tolerance=1e-2,
        outputs=ANSWERS,
        conclusions=golden.conclusions(rules, rules.apply(same)),
    )


def test_the_same_answers_pass(rules, expected, same):
    report = golden.compare(expected, same, rules)
    assert report.passed
    assert set(report.same_decision.values()) == {1.0}
    assert set(report.largest_difference.values()) == {0.0}


@pytest.mark.parametrize(("change", "passes"), [(0.009, True), (0.011, False), (np.nan, False)])
def test_tolerance_limits_probabilities(rules, expected, same, change, passes):
    same["marks"][1, 0] += change
    report = golden.compare(expected, same, rules)
    assert report.passed is passes
    assert report.largest_difference["marks"] == pytest.approx(change, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("change", "passes"), [(1.9, True), (2.1, False)])
def test_large_outputs_differ_relative_to_their_largest_value(
    rules, expected, same, change, passes
):
    same["embedding"][1, 1] += change  # of 200: 0.01 is 2
    assert golden.compare(expected, same, rules).passed is passes


def test_another_answer_is_counted(rules, expected, same):
    same["kind.of thing"][0] = [0.2, 0.7, 0.1]
    same["marks"][0, 1] = 0.51
    report = golden.compare(expected, same, rules)
    assert not report.passed
    assert report.same_decision == {"kind.of thing": 0.5, "grade": 1.0, "marks": 0.75}


def test_a_missing_output_fails(rules, expected, same):
    del same["grade"]
    report = golden.compare(expected, same, rules)
    assert not report.passed
    assert report.largest_difference["grade"] == np.inf
    assert "grade" not in report.same_decision


def test_written_answers_are_the_same_float32(small, model_file, photos):
    tier, given = open_model(model_file("onnx")), photos(4)
    written = golden.expected_answers(tier, given, "f", "float").model_dump_json()
    for name, values in json.loads(written)["outputs"].items():
        np.testing.assert_array_equal(np.array(values, np.float32), tier.outputs(given)[name])


def test_quantizations_that_round_have_more_tolerance(model_file, photos):
    tier = open_model(model_file("onnx"))
    found = [
        golden.expected_answers(tier, photos(1), "f", quantization).tolerance
        for quantization in ("float", "weight_only_int8", "dynamic_int8", "anything")
    ]
    assert found == [1e-3, 1e-3, 2e-2, 2e-2]


def test_outputs_that_are_not_finite_are_not_written(model_file, photos, monkeypatch):
    tier = open_model(model_file("onnx"))
    broken = {"grade": np.full((1, 4), np.nan, np.float32)}
    monkeypatch.setattr(tier, "outputs", lambda *_, **__: broken)
    with pytest.raises(BundleError, match="not finite for 'grade'"):
        golden.expected_answers(tier, photos(1), "tiers/x.onnx", "float")


def test_pictures_hold_the_very_pixels(photos):
    from cannabis_ml.photos.decode import decode
    from cannabis_ml.photos.resize import center_crop_resize

    given = photos(2)
    files, names, inputs = golden.golden_files(given, [16, 8, 16])
    assert names == ["golden/photos/00.png", "golden/photos/01.png"]
    assert list(inputs) == ["8", "16"]
    for i, photo in enumerate(given):
        np.testing.assert_array_equal(decode(files[names[i]]), photo)
        np.testing.assert_array_equal(decode(files[inputs["8"][i]]), center_crop_resize(photo, 8))
        assert golden.gray_levels_apart(files[names[i]], files[inputs["16"][i]], 16) == 0
    assert golden.gray_levels_apart(files[names[0]], files[inputs["16"][1]], 16) > 1


def test_conclusions_follow_the_rules_by_hand(expected, rules):
    found = expected.conclusions
    # The square root of each probability, by their sum: a temperature of 2.
    assert found.calibrated["kind.of thing"][0] == pytest.approx([0.5229, 0.2795, 0.1976], abs=1e-4)
    assert found.answers["kind.of thing"] == ["red", "blaugrün"]
    assert found.answers["marks"] == [["line"], ["dot"]]
    # Absent and present are possible where the probability of the other is at most their limit.
    assert found.sets["marks"] == [
        {"present": ["line"], "absent": ["dot"], "unsure": []},
        {"present": [], "absent": [], "unsure": ["line", "dot"]},
    ]
    assert found.back_off == {"grade": ["grade", "grade"]}
    scores = rules.unknown.score({"embedding": np.array(ANSWERS["embedding"])})
    assert found.unknown == pytest.approx(scores)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"decision": 1.5}, "calibrated"),
        ({"sets": None}, "sets"),
        ({"back_off": []}, "back_off"),
        ({"unknown": "knn"}, "unknown"),
        ({"unknown": None}, "unknown"),
    ],
)
def test_other_rules_do_not_pass_with_the_very_same_outputs(
    small, rules, expected, same, change, wrong
):
    other = {
        "decision": rules.decision,
        "reliability": rules.reliability,
        "unknown": rules.unknown,
    }
    if wrong == "calibrated":
        hot = RULE.calibrators["kind.of thing"].model_copy(update={"temperature": 1.999})
        other["decision"] = Decision(
            small.taxonomy, DecisionRule(calibrators={"kind.of thing": hot})
        )
    elif wrong == "unknown":
        other["unknown"] = change["unknown"] and small.unknown_score("knn")
    else:
        other["reliability"] = rules.reliability.model_copy(update=change)
    report = golden.compare(expected, same, TierRules(**other))
    assert report.in_words().startswith("DIFFERS: outputs within 0e+00")
    assert "follow from the same outputs" in report.in_words()
    assert set(report.largest_difference.values()) == {0.0}
    assert not report.same_rules
    assert not report.passed


def test_what_follows_from_other_outputs_is_counted(rules, expected, same):
    same["marks"][1] = [0.2, 0.6]  # of "line": from unsure to absent
    same["grade"][0] = [0.4, 0.3, 0.2, 0.1]  # too unsure to answer
    same["embedding"][1] = [0.5, 0.5, 0.5]
    report = golden.compare(expected, same, rules)
    assert report.same_rules
    assert report.same_set == {"kind.of thing": 1.0, "grade": 1.0, "marks": 0.75}
    assert report.same_back_off == {"grade": 0.5}
    assert report.unknown_difference > 1e-2
    assert report.same_unknown == 0.5
    assert not report.passed
    # The median of the first grade is B now, on one of two photos.
    assert "the same on 50.0% of photos or more" in report.in_words()


def test_calibration_that_separates_close_outputs_fails(small, same, expected):
    """0.5 and 0.509 are within the tolerance, what a temperature of 0.05 makes of them is not."""
    cold = DecisionRule.model_validate(
        {"calibrators": {"kind.of thing": {"kind": "temperature", "temperature": 0.05}}}
    )
    rules = TierRules(Decision(small.taxonomy, cold))
    same["kind.of thing"][0] = [0.5, 0.5, 0.0]
    outputs = {name: values.tolist() for name, values in same.items()}
    found = golden.conclusions(rules, rules.apply(same))
    expected = expected.model_copy(update={"outputs": outputs, "conclusions": found})
    assert golden.compare(expected, same, rules).passed
    same["kind.of thing"][0] = [0.509, 0.491, 0.0]
    report = golden.compare(expected, same, rules)
    assert max(report.largest_difference.values()) < report.tolerance
    assert report.calibrated_difference["kind.of thing"] > 0.1
    assert not report.passed
