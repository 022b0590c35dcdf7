import datasets
import numpy as np
import pytest
from PIL import Image

from cannabis_ml.errors import ExportError
from cannabis_ml.pipelines.export import parity as gate
from cannabis_ml.pipelines.export.params import ExportParams
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind", "classes": ["a", "b"]},
            {"name": "grade", "kind": "ordinal", "classes": ["1", "2", "3"]},
            {"name": "marks", "kind": "multilabel", "classes": ["u", "v"]},
        ]
    }
)
EXPECTED = {
    "kind": np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]),
    "grade": np.array([[0.4, 0.35, 0.25], [0.0, 0.1, 0.9], [1.0, 0.0, 0.0]]),
    "marks": np.array([[0.9, 0.2], [0.6, 0.4], [0.1, 0.5]]),
    "embedding": np.zeros((3, 4)),
}
TRUTH = {
    "kind": np.array([0, 1, 0]),
    "grade": np.array([1, -1, 0]),
    "marks": np.array([[1, 0], [np.nan, 0], [0, np.nan]]),
}


def compared(**changed):
    return gate.compare(TAXONOMY, {**EXPECTED, **changed}, EXPECTED, TRUTH)["heads"]


def photo_set(splits):
    image = Image.fromarray(np.zeros((8, 10, 3), np.uint8))
    rows = {
        "image": [image] * len(splits),
        "split": splits,
        "kind": ["a", None] * (len(splits) // 2),
    }
    texts = {name: datasets.Value("string") for name in ("split", "kind")}
    features = datasets.Features({"image": datasets.Image(), **texts})
    return datasets.Dataset.from_dict(rows, features=features)


def test_same_answers_lose_nothing():
    for head in compared().values():
        assert head["largest_difference"] == 0
        assert head["same_answer"] == 1
        assert head["accuracy_lost"] == 0


def test_accuracy_counts_known_labels_only():
    heads = compared()
    assert (heads["kind"]["accuracy"], heads["kind"]["labelled"]) == (pytest.approx(2 / 3), 3)
    # The median of the first grade is the second class, though the first is likelier.
    assert (heads["grade"]["accuracy"], heads["grade"]["labelled"]) == (1, 2)
    assert (heads["marks"]["accuracy"], heads["marks"]["labelled"]) == (1, 4)


def test_what_changed_is_counted():
    kind = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8]])
    head = compared(kind=kind)["kind"]
    assert head["largest_difference"] == pytest.approx(0.15)
    assert head["same_answer"] == pytest.approx(2 / 3)
    assert head["accuracy_lost"] == pytest.approx(1 / 3)
    assert head["accuracy_pytorch"] == pytest.approx(2 / 3)


def test_head_without_labels_has_no_accuracy():
    unknown = {**TRUTH, "kind": np.full(3, -1)}
    head = gate.compare(TAXONOMY, EXPECTED, EXPECTED, unknown)["heads"]["kind"]
    assert head["accuracy"] is None
    assert head["accuracy_lost"] is None
    found = {"heads": {"kind": head}}
    assert gate.quantised_faults(found, ExportParams()) == []


@pytest.mark.parametrize("wrong", [0.0011, float("nan")])
def test_float_file_may_not_differ(wrong):
    marks = EXPECTED["marks"].copy()
    marks[0, 0] += wrong
    (fault,) = gate.float_faults({"heads": compared(marks=marks)}, ExportParams())
    assert fault.startswith("'marks' by")
    assert gate.float_faults({"heads": compared()}, ExportParams()) == []


def test_float_file_may_not_give_another_answer_however_close():
    marks = EXPECTED["marks"].copy()
    marks[2, 1] -= 1e-6
    (fault,) = gate.float_faults({"heads": compared(marks=marks)}, ExportParams())
    assert fault == "'marks' in 16.67% of top answers"


def test_quantised_file_may_lose_a_point_and_no_more():
    def faults(lost, kind="multiclass"):
        head = {"kind": kind, "largest_difference": 0.1, "accuracy_lost": lost}
        return gate.quantised_faults({"heads": {"kind": head}}, ExportParams())

    assert faults(0.9 - 0.89) == []  # 0.010000000000000009
    assert faults(-0.2) == []
    assert faults(0.011) == ["'kind' loses 1.1 points, allowed 1"]
    assert faults(0.011, "ordinal") == []
    assert faults(0.04, "multilabel") == ["'kind' loses 4.0 points, allowed 3"]


def test_quantised_file_must_give_numbers():
    kind = np.full((3, 2), np.nan)
    faults = gate.quantised_faults({"heads": compared(kind=kind)}, ExportParams())
    assert "'kind' gives no numbers" in faults


def test_smallest_file_wins_and_order_decides_between_equals():
    assert gate.smallest({"a": 100, "b": 80, "c": 90}, 0) == "b"
    assert gate.smallest({"a": 100, "b": 80, "c": 81}, 0.25) == "a"
    assert gate.smallest({"c": 81, "b": 80, "a": 101}, 0.25) == "c"
    assert gate.smallest({}, 0.1) is None


def test_only_photos_of_the_split_are_taken_from_all_over_it():
    photos = photo_set(["train", "test"] * 10)
    assert gate.rows_of(photos, "test", 100).tolist() == list(range(1, 20, 2))
    assert gate.rows_of(photos, "test", 3).tolist() == [1, 9, 19]
    with pytest.raises(ExportError, match="No photo is in the calibration split"):
        gate.rows_of(photos, "calibration", 3)


def test_labels_and_pixels_of_rows():
    photos = photo_set(["test"] * 4)
    truth = gate.truth_at(photos, np.array([1, 2]), TAXONOMY)
    assert truth["kind"].tolist() == [-1, 0]
    assert truth["grade"].tolist() == [-1, -1]
    assert np.isnan(truth["marks"]).all()
    pixels = gate.pixels_at(photos, np.array([1, 2]), 16)
    assert (pixels.shape, pixels.dtype) == ((2, 16, 16, 3), np.uint8)
