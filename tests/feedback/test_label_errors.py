import numpy as np
import pytest

from cannabis_ml.feedback.label_next.label_errors import suspected_label_errors

pytest.importorskip("cleanlab", reason="cleanlab is in the extra `feedback`")


@pytest.fixture
def probs():
    """30 photos of 3 classes; the model is 90% sure of the true class of each."""
    truth = np.repeat([0, 1, 2], 10)
    return np.full((30, 3), 0.05) + 0.85 * np.eye(3)[truth], truth


def test_flipped_labels_are_suspected_with_what_they_look_like(probs):
    probs, labels = probs
    labels[[3, 17]] = 2, 0
    found = suspected_label_errors(labels, probs, ["plant", "trim", "hash"])
    assert sorted(found["row"]) == [3, 17]
    of_third = found.set_index("row").loc[3]
    assert (of_third["label"], of_third["suggested"]) == ("hash", "plant")
    assert of_third["label_prob"] == pytest.approx(0.05)
    assert of_third["suggested_prob"] == pytest.approx(0.9)


def test_the_most_suspicious_photo_comes_first(probs):
    probs, labels = probs
    labels[[3, 17]] = 2, 0
    probs[17] = [0.001, 0.998, 0.001]
    found = suspected_label_errors(labels, probs, ["plant", "trim", "hash"])
    assert found["row"].tolist() == [17, 3]


def test_sound_labels_are_not_suspected(probs):
    probs, labels = probs
    assert suspected_label_errors(labels, probs, ["plant", "trim", "hash"]).empty


def test_classes_without_photos_do_no_harm(probs):
    probs, labels = probs
    wider = np.insert(0.9 * probs, 1, 0.1, axis=1)
    shifted = np.where(labels > 0, labels + 1, labels)
    shifted[3] = 3
    found = suspected_label_errors(shifted, wider, ["plant", "none", "trim", "hash"])
    assert found["row"].tolist() == [3]
    assert found["suggested"].tolist() == ["plant"]


def test_one_class_has_no_label_errors():
    assert suspected_label_errors(np.zeros(4, int), np.ones((4, 1)), ["plant"]).empty
