"""Which of the splits that sources give are splits."""

import pandas as pd
import pytest

from cannabis_ml.photo_sets.given_splits import splits_that_count
from cannabis_ml.taxonomy import Head, Taxonomy

ONE = Taxonomy(heads=[Head(name="plant", classes=["oak", "elm"])])
TWO = Taxonomy(heads=[*ONE.heads, Head(name="ill", classes=["rust", "wilt"])])


def given(rows, taxonomy=ONE):
    """Rows are (given split, label of each head …); returns what counts, `-` for none."""
    names = ["given_split", *taxonomy.columns]
    photos = pd.DataFrame(rows, columns=names).astype("str")
    return splits_that_count(photos, taxonomy).fillna("-").tolist()


@pytest.mark.parametrize("split", ["validation", "calibration", "test"])
def test_photos_without_labels_are_no_split(split, caplog):
    rows = [("train", "oak"), ("train", "elm"), (split, None), (split, None)]
    assert given(rows) == ["train", "train", "-", "-"]
    assert f"2 photos given as {split} without a label" in caplog.text
    assert "divided anew" in caplog.text


def test_those_with_labels_stay_a_split(caplog):
    rows = [("train", "oak"), ("test", "elm"), ("test", None)]
    assert given(rows) == ["train", "test", "-"]
    assert "1 photo given as test without a label" in caplog.text
    assert "1 photo with labels stay in it" in caplog.text


def test_photos_given_as_train_need_no_label():
    assert given([("train", None), ("train", "oak")]) == ["train", "train"]


def test_nothing_changes_where_no_photo_has_a_label():
    assert given([("train", None), ("test", None)]) == ["train", "test"]


def test_head_that_a_given_test_does_not_label_is_divided_anew(caplog):
    """One source labels plants and gives a test split, the other labels ills and gives none."""
    rows = [
        ("train", "oak", None),
        ("test", "elm", None),
        ("train", None, "rust"),
        ("train", "oak", "wilt"),
    ]
    assert given(rows, TWO) == ["train", "test", "-", "-"]
    told = "No photo given as test has a label for 'ill': of those given as train, 2 photos"
    assert told in caplog.text


def test_photos_of_no_given_split_serve_a_head_as_well(caplog):
    rows = [
        ("train", "oak", None),
        ("test", "elm", None),
        ("train", None, "rust"),
        (None, None, "wilt"),
    ]
    assert given(rows, TWO) == ["train", "test", "train", "-"]
    assert not caplog.text


def test_attributes_that_are_absent_are_labels():
    marks = Taxonomy(heads=[Head(name="m", kind="multilabel", classes=["a", "b"])])
    photos = pd.DataFrame(
        {
            "given_split": pd.Series(["train", "test"], dtype="str"),
            "m.a": pd.array([1, 0], dtype="Int8"),
            "m.b": pd.array([pd.NA, pd.NA], dtype="Int8"),
        }
    )
    assert splits_that_count(photos, marks).tolist() == ["train", "test"]
