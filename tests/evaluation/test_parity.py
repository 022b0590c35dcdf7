import datasets
import numpy as np
import pytest
from PIL import Image

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.agreement import AgreementParams, agreement, agreement_faults
from cannabis_ml.evaluation.judged_photos import photos_to_judge, pixels_at, rows_of
from cannabis_ml.evaluation.parity import Parity, compare, parity_faults
from cannabis_ml.inference.decision import Decision
from cannabis_ml.photo_sets.photo_set import PhotoSet
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
    return compare(Decision(TAXONOMY), {**EXPECTED, **changed}, EXPECTED, TRUTH).heads


def float_faults(heads):
    return parity_faults(Parity(outputs={}, heads=heads), ExportParams().max_difference)


def quantized_faults(heads, export):
    return agreement_faults(heads, export.agreement, export.max_accuracy_loss)


def photo_set(splits):
    image = Image.fromarray(np.zeros((8, 10, 3), np.uint8))
    rows = {
        "image": [image] * len(splits),
        "split": splits,
        "kind": ["a", None] * (len(splits) // 2),
    }
    texts = {name: datasets.Value("string") for name in ("split", "kind")}
    features = datasets.Features({"image": datasets.Image(), **texts})
    return PhotoSet(datasets.Dataset.from_dict(rows, features=features))


def test_same_decisionss_lose_nothing():
    for head in compared().values():
        assert head.largest_difference == 0
        assert head.same_decisions == 1
        assert head.accuracy_lost == 0


def test_accuracy_counts_known_labels_only():
    heads = compared()
    assert (heads["kind"].accuracy, heads["kind"].labelled) == (pytest.approx(2 / 3), 3)
    # The median of the first grade is the second class, though the first is likelier.
    assert (heads["grade"].accuracy, heads["grade"].labelled) == (1, 2)
    assert (heads["marks"].accuracy, heads["marks"].labelled) == (1, 4)


def test_what_changed_is_counted():
    kind = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8]])
    head = compared(kind=kind)["kind"]
    assert head.largest_difference == pytest.approx(0.15)
    assert head.same_decisions == pytest.approx(2 / 3)
    assert head.accuracy_lost == pytest.approx(1 / 3)
    assert head.accuracy_pytorch == pytest.approx(2 / 3)


def test_head_without_labels_has_no_accuracy():
    unknown = {**TRUTH, "kind": np.full(3, -1)}
    head = compare(Decision(TAXONOMY), EXPECTED, EXPECTED, unknown).heads["kind"]
    assert head.accuracy is None
    assert head.accuracy_lost is None
    agreed = agreement(Decision(TAXONOMY), EXPECTED, EXPECTED, unknown)
    assert (agreed["kind"].labelled, agreed["kind"].accuracy_lost) == (0, None)
    assert quantized_faults(agreed, ExportParams()) == []


@pytest.mark.parametrize("wrong", [0.0011, float("nan")])
def test_float_file_may_not_differ(wrong):
    marks = EXPECTED["marks"].copy()
    marks[0, 0] += wrong
    (fault,) = float_faults(compared(marks=marks))
    assert fault.startswith("'marks' by")
    assert float_faults(compared()) == []


def test_float_file_may_not_give_another_answer_however_close():
    marks = EXPECTED["marks"].copy()
    marks[2, 1] -= 1e-6
    (fault,) = float_faults(compared(marks=marks))
    assert fault == "'marks' in 16.67% of decisions"


@pytest.mark.parametrize("name", ["embedding", "kind.aleatoric", "kind.epistemic", "attention"])
def test_every_output_of_a_float_file_is_held_to_pytorch(name):
    shape = (3, 2, 2) if name == "attention" else (3, 4) if name == "embedding" else (3,)
    expected = {**EXPECTED, name: np.linspace(0, 4, int(np.prod(shape))).reshape(shape)}

    def found(**changed):
        parity = compare(Decision(TAXONOMY), {**expected, **changed}, expected, TRUTH)
        return parity_faults(parity, 1e-3)

    assert found() == []
    assert found(**{name: expected[name] + 0.0039}) == []  # the largest value is 4
    assert found(**{name: expected[name] + 0.0041}) == [f"'{name}' by 0.001"]
    assert found(**{name: expected[name] * np.nan}) == [f"'{name}' by nan"]
    assert found(**{name: expected[name][:2]}) == [f"'{name}' by inf"]


KIND = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})


def judged(flipped, photos=1000, wrong_before=0, moved=0.0):
    """A head of two classes, of which some decisions are flipped; all labels are the first."""
    expected = np.tile([0.7, 0.3], (photos, 1))
    expected[photos - wrong_before :] = [0.3, 0.7]
    given = expected + np.array([-moved, moved])
    given[:flipped] = [0.48, 0.52]
    truth = {"kind": np.zeros(photos, int)}
    return agreement(Decision(KIND), {"kind": given}, {"kind": expected}, truth)


def faults(*arguments, **keywords):
    allowed = {"multiclass": 1, "ordinal": 1, "multilabel": 1}
    export = ExportParams(max_accuracy_loss=allowed)
    return quantized_faults(judged(*arguments, **keywords), export)


def test_decisions_must_be_equal_in_98_of_100():
    assert faults(20) == []
    assert faults(21) == ["'kind' decides as the float file in 97.9%, 98.0% needed"]


def test_one_photo_more_or_less_does_not_decide_with_many_photos():
    (low, high) = judged(10)["kind"].same_decisions_interval
    assert low < 0.99 < high
    assert high - low < 0.015
    few = judged(1, photos=72)["kind"].same_decisions_interval
    assert few[1] - few[0] > 0.06


def test_probabilities_may_move_a_little():
    found = judged(0, moved=0.01)["kind"]
    assert found.mean_difference == pytest.approx(0.01)
    assert found.mean_difference_interval == pytest.approx([0.01, 0.01])
    assert found.p99_difference == pytest.approx(0.01)
    assert found.p99_difference_interval == pytest.approx([0.01, 0.01])
    assert faults(0, moved=0.019) == []
    assert faults(0, moved=0.021) == ["'kind' mean difference is 0.021, allowed 0.02"]


def test_few_photos_that_move_far_are_seen():
    """Every hundredth photo by 0.3: the mean hides it."""
    expected = np.tile([0.9, 0.1], (1000, 1))
    given = expected.copy()
    given[:11] = [0.6, 0.4]
    truth = {"kind": np.full(1000, -1)}
    found = agreement(Decision(KIND), {"kind": given}, {"kind": expected}, truth)
    (fault,) = quantized_faults(found, ExportParams())
    assert fault == "'kind' 99th percentile of difference is 0.300, allowed 0.25"


def test_loss_of_accuracy_is_tested_on_pairs():
    # 5 lost and none won: (1/2)^5; 15 lost and 14 won is nearly a coin's toss.
    assert judged(5)["kind"].p_value == pytest.approx(0.5**5)
    assert judged(5)["kind"].accuracy_lost == pytest.approx(0.005)
    assert judged(0)["kind"].p_value == 1


def test_loss_beyond_chance_is_refused():
    export = ExportParams(
        max_accuracy_loss=dict.fromkeys(("multiclass", "ordinal", "multilabel"), 0.01)
    )
    assert quantized_faults(judged(10), export) == []
    assert quantized_faults(judged(12), export) == ["'kind' loses 1.2 points, allowed 1"]
    # One photo of 50 is 2 points, and chance.
    assert quantized_faults(judged(1, photos=50), export) == []


def test_quantized_file_must_give_numbers():
    kind = {"kind": np.full((3, 2), np.nan)}
    truth = {"kind": np.zeros(3, int)}
    found = agreement(Decision(KIND), kind, {"kind": EXPECTED["kind"]}, truth)
    assert quantized_faults(found, ExportParams()) == ["'kind' gives no numbers"]


def test_no_test_photo_and_none_that_a_quantizer_saw_judges():
    photos = photo_set(["train", "test", "calibration", "validation"] * 5)
    copies = photo_set(["train"] * 40)
    found = photos_to_judge(photos, copies, {2, 6}, AgreementParams(photos=100, fewest=20))
    splits = photos.labels()["split"][found.rows]
    assert set(found.rows) == set(range(20)) - {2, 6} - set(range(1, 20, 4))
    assert "test" not in set(splits)
    assert len(found) == 20
    assert (len(found.copy_rows), found.copy_rows[0], found.copy_rows[-1]) == (7, 0, 39)
    assert len(list(found.pixels(16))) == 20
    assert found.truth(TAXONOMY)["kind"].shape == (20,)


def test_at_most_so_many_photos_judge_and_copies_only_where_there_are_few():
    photos, copies = photo_set(["train"] * 30), photo_set(["train"] * 40)
    found = photos_to_judge(photos, copies, (), AgreementParams(photos=10, fewest=20))
    assert (len(found.rows), len(found.copy_rows)) == (10, 0)
    found = photos_to_judge(photos, copies, (), AgreementParams(photos=100, fewest=20))
    assert (len(found.rows), len(found.copy_rows)) == (30, 0)


def test_no_photo_to_judge_by_is_reported():
    photos = photo_set(["test"] * 4)
    with pytest.raises(ExportError, match="No photo is left to compare quantized files on"):
        photos_to_judge(photos, PhotoSet(photos.arrow.select([])), (), AgreementParams())


def test_only_photos_of_the_split_are_taken_from_all_over_it():
    photos = photo_set(["train", "test"] * 10)
    assert rows_of(photos, "test", 100).tolist() == list(range(1, 20, 2))
    assert rows_of(photos, "test", 3).tolist() == [1, 9, 19]
    with pytest.raises(ExportError, match="No photo is in the calibration split"):
        rows_of(photos, "calibration", 3)


def test_labels_and_pixels_of_rows():
    photos = photo_set(["test"] * 4)
    truth = photos.encode(TAXONOMY, np.array([1, 2]))
    assert truth["kind"].tolist() == [-1, 0]
    assert truth["grade"].tolist() == [-1, -1]
    assert np.isnan(truth["marks"]).all()
    pixels = pixels_at(photos, np.array([1, 2]), 16)
    assert (pixels.shape, pixels.dtype) == ((2, 16, 16, 3), np.uint8)
