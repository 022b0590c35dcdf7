"""What every kind of source shares: groups read off names, labels read off names and cells."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import (
    GroupedSource,
    columns_by_name,
    label_column,
    labels_of_name,
    merge_rows,
)

COUNTED = r"(?P<group>[a-z]+)_(?P<number>\d+)\.jpg"


def groups(names, pattern=COUNTED, run=1):
    return GroupedSource(group_pattern=pattern, group_run=run).groups_by_name(names)


def test_no_pattern_gives_no_groups():
    assert GroupedSource().groups_by_name(["a_1.jpg", "b"]) == [None, None]


def test_all_named_parts_make_the_group():
    names = ["x/a_1.jpg", "y/a_1.jpg", "y/b_1.jpg", "y/none"]
    found = groups(names, r"(?P<folder>\w)/(?P<series>\w)_")
    assert found == ["x/a", "y/a", "y/b", None]


def test_numbers_are_held_together_in_runs():
    names = [f"dsc_{n}.jpg" for n in ("0009", "10", "0019", "20")]
    assert groups(names, run=10) == ["dsc/0", "dsc/1", "dsc/1", "dsc/2"]


@given(
    numbers=st.lists(st.integers(0, 9999), min_size=2, max_size=40, unique=True),
    run=st.integers(1, 200),
)
def test_photos_that_are_added_change_no_group(numbers, run):
    names = [f"dsc_{n}.jpg" for n in numbers]
    assert groups(names[: len(names) // 2], run=run) == groups(names, run=run)[: len(names) // 2]


@given(first=st.integers(0, 9999), gap=st.integers(0, 300), run=st.integers(1, 100))
def test_a_run_is_no_longer_than_its_limit(first, gap, run):
    one, other = groups([f"a_{first}.jpg", f"a_{first + gap}.jpg"], run=run)
    assert one != other or gap < run


def test_pattern_that_matches_nothing_is_an_error_not_a_leak():
    with pytest.raises(SourceError, match=r"matches none of the 2 photos, such as 'a\.png'"):
        groups(["a.png", "b.png"])


@pytest.mark.parametrize(
    ("pattern", "told"), [("((", "not a regular expression"), ("a", "no group")]
)
def test_bad_patterns_are_reported_before_any_photo_is_read(pattern, told):
    with pytest.raises(ValidationError, match=told):
        GroupedSource(group_pattern=pattern)


def test_labels_of_a_name():
    label_map = {"A": "x", "B": {"kind": "y", "age": None}, "C": None}
    assert labels_of_name("A", label_map, ["kind"]) == {"kind": "x"}
    assert labels_of_name("B", label_map, ["kind"]) == {"kind": "y", "age": None}
    assert labels_of_name("C", label_map, ["kind", "age"]) == {"kind": None, "age": None}
    assert labels_of_name("D", label_map, ["kind"]) is None
    with pytest.raises(SourceError, match=r"'A': \{head: 'x'\}"):
        labels_of_name("A", label_map, ["kind", "age"])


cells = st.one_of(st.none(), st.sampled_from(["a", "b", "", " a "]))


@given(cells=st.lists(cells), mapping=st.dictionaries(st.sampled_from("ab"), st.none()))
def test_defaults_fill_exactly_the_empty_cells(cells, mapping):
    found = label_column(cells, mapping, "default", [str(row) for row in range(len(cells))])
    for cell, label in zip(cells, found, strict=True):
        text = (cell or "").strip()
        assert label == ("default" if not text else mapping.get(text, text))


def test_a_default_is_for_photos_that_no_row_labels():
    cells = ["a", None, None, None]
    photos = ["1.jpg", "1.jpg", "2.jpg", "2.jpg"]
    assert label_column(cells, {}, "default", photos) == ["a", None, "default", "default"]
    assert label_column(cells, {"a": None}, "default", photos)[:2] == [None, None]


def test_rows_of_a_photo_are_merged_head_by_head():
    photos = pd.DataFrame(
        {
            "path": ["/p/1.jpg", "/p/2.jpg", "/p/x/../1.jpg"],
            "kind": ["oak", "elm", None],
            "age": [None, None, "old"],
        },
        dtype="str",
    )
    merged = merge_rows(photos, ["kind", "age"])
    assert merged["kind"].tolist() == ["oak", "elm", "oak"]
    assert merged["age"].fillna("?").tolist() == ["old", "?", "old"]
    assert merged["path"].tolist() == photos["path"].tolist()


def test_rows_that_contradict_each_other_keep_what_they_say():
    photos = pd.DataFrame({"path": ["1.jpg"] * 3, "kind": ["oak", None, "elm"]}, dtype="str")
    assert merge_rows(photos, ["kind"])["kind"].tolist()[::2] == ["oak", "elm"]


def test_names_of_one_photo_give_what_they_agree_on():
    labels = {
        "red oak": {"genus": "oak", "species": "red"},
        "white oak": {"genus": "oak", "species": "white"},
        "leaf": {"genus": None},
    }
    names = [["red oak"], ["red oak", "white oak"], ["leaf", "red oak"], ["leaf"], []]
    assert columns_by_name(names, labels, {"genus": "elm"}) == {
        "genus": ["oak", "oak", "oak", None, "elm"],
        "species": ["red", None, "red", None, None],
    }
