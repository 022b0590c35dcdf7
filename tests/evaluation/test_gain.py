import pytest

from cannabis_ml.evaluation.gain import compare_students
from cannabis_ml.evaluation.scores import MulticlassScores


def scored(accuracy, macro_f1=None):
    return {"kind": MulticlassScores.model_construct(accuracy=accuracy, macro_f1=macro_f1)}


def test_gain_is_with_less_without_the_teacher():
    found = compare_students(scored(0.9, 0.8), scored(0.75, 0.5), scored(0.5, 0.625))["kind"]
    assert list(found) == ["accuracy", "macro_f1"]
    assert (found["accuracy"].teacher, found["accuracy"].gain) == (0.9, 0.25)
    assert found["macro_f1"].gain == -0.125


@pytest.mark.parametrize("without", [None, scored(None)])
def test_without_a_second_student_no_gain_is_claimed(without):
    found = compare_students(scored(0.9), scored(0.75), without)["kind"]["accuracy"]
    assert found.with_teacher == 0.75
    assert found.without_teacher is found.gain is None
