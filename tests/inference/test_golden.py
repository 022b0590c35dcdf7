import json

import numpy as np
import pytest

from cannabis_ml.errors import BundleError
from cannabis_ml.inference import golden
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.golden import ExpectedAnswers
from cannabis_ml.inference.predictor import open_model

ANSWERS = {
    "kind.of thing": [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]],
    "grade": [[0.6, 0.2, 0.1, 0.1], [0.0, 0.1, 0.2, 0.7]],
    "marks": [[0.9, 0.1], [0.4, 0.6]],
    "embedding": [[200.0, -3.0], [10.0, 50.0]],
}


@pytest.fixture
def expected():
    return ExpectedAnswers(file="f", image_size=16, tolerance=1e-2, outputs=ANSWERS)


@pytest.fixture
def same():
    return {name: np.array(values, np.float32) for name, values in ANSWERS.items()}


def test_the_same_answers_pass(small, expected, same):
    report = golden.compare(expected, same, Decision(small.taxonomy))
    assert report.passed
    assert set(report.same_answer.values()) == {1.0}
    assert set(report.largest_difference.values()) == {0.0}


@pytest.mark.parametrize(("change", "passes"), [(0.009, True), (0.011, False), (np.nan, False)])
def test_tolerance_limits_probabilities(small, expected, same, change, passes):
    same["marks"][1, 0] += change
    report = golden.compare(expected, same, Decision(small.taxonomy))
    assert report.passed is passes
    assert report.largest_difference["marks"] == pytest.approx(change, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("change", "passes"), [(1.9, True), (2.1, False)])
def test_large_outputs_differ_relative_to_their_largest_value(
    small, expected, same, change, passes
):
    same["embedding"][1, 1] += change  # of 200: 0.01 is 2
    assert golden.compare(expected, same, Decision(small.taxonomy)).passed is passes


def test_another_answer_is_counted(small, expected, same):
    same["kind.of thing"][0] = [0.2, 0.7, 0.1]
    same["marks"][0, 1] = 0.51
    report = golden.compare(expected, same, Decision(small.taxonomy))
    assert not report.passed
    assert report.same_answer == {"kind.of thing": 0.5, "grade": 1.0, "marks": 0.75}


def test_a_missing_output_fails(small, expected, same):
    del same["grade"]
    report = golden.compare(expected, same, Decision(small.taxonomy))
    assert not report.passed
    assert report.largest_difference["grade"] == np.inf
    assert "grade" not in report.same_answer


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


def test_answers_that_are_no_numbers_are_not_written(model_file, photos, monkeypatch):
    tier = open_model(model_file("onnx"))
    broken = {"grade": np.full((1, 4), np.nan, np.float32)}
    monkeypatch.setattr(tier, "outputs", lambda *_, **__: broken)
    with pytest.raises(BundleError, match="no number for 'grade'"):
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
        assert golden.grey_levels_apart(files[names[i]], files[inputs["16"][i]], 16) == 0
    assert golden.grey_levels_apart(files[names[0]], files[inputs["16"][1]], 16) > 1
