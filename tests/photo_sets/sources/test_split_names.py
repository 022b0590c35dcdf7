"""What a name says of a split."""

import pytest

from cannabis_ml.photo_sets.sources.split_names import (
    looks_like_split,
    split_folders,
    split_of_name,
    split_of_value,
)


def test_every_word_that_datasets_knows_is_known():
    from datasets.data_files import SPLIT_KEYWORDS

    known = {word: str(split) for split, words in SPLIT_KEYWORDS.items() for word in words}
    assert {word: split_of_name(word) for word in known} == known


@pytest.mark.parametrize("spell", [str.upper, str.title, "{}2017".format, "my-{}-images".format])
def test_case_numbers_and_words_beside_change_nothing(spell):
    assert split_of_value(spell("test")) == "test"


@pytest.mark.parametrize(
    "name", ["train_test", "test-or-train", "latest", "devil", "value", "trained", "contest", ""]
)
def test_what_names_no_split_or_two_is_none(name):
    assert split_of_name(name) is None
    assert split_of_value(name) is None


def test_what_a_split_may_be_called_looks_like_one():
    assert all(map(looks_like_split, ["hold-out", "Fold 1", "unlabeled", "train_test", "x_dev"]))
    assert not any(map(looks_like_split, ["leaf fold", "apple", "latest", "images", "2024", ""]))


def test_word_in_a_class_is_a_split_only_among_splits():
    assert split_folders([("test_tube",), ("train_station",)], {}) == {}
    assert split_folders([("train",), ("test_hard",)], {}) == {
        "train": "train",
        "test_hard": "test",
    }
