import pandas as pd
import pytest

from cannabis_ml.photo_sets.checks.uneven_splits import UnevenSplitsParams, find
from cannabis_ml.taxonomy import Head, Taxonomy

LEAF = Taxonomy(heads=[Head(name="leaf", classes=["dry", "spots"])])
LOOK = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds"])])
ASKED = {"train": 0.7, "validation": 0.1, "calibration": 0.1, "test": 0.1}


def photos(leaf="dry", **groups):
    """Rows of one class: `photos(test=[5, 1])` has 5 photos of one group and 1 of another."""
    rows = [
        {"leaf": leaf, "split": split, "group": f"{leaf} {split} {i}"}
        for split, sizes in groups.items()
        for i, size in enumerate(sizes)
        for _ in range(size)
    ]
    return pd.DataFrame(rows).assign(defect=None, given_split=None)


def even(leaf="spots"):
    return photos(leaf, train=[1] * 70, validation=[1] * 10, calibration=[1] * 10, test=[1] * 10)


def check(*tables, taxonomy=LEAF, **params):
    table = pd.concat(tables, ignore_index=True)
    return find(table, taxonomy, ASKED, UnevenSplitsParams(**params))


def test_what_is_divided_as_asked_is_not_named():
    assert check(even("dry"), even()) == []


def test_a_split_with_too_few_is_named_with_photos_groups_and_what_to_bring():
    table = photos(
        train=[81] * 3, validation=[1], calibration=[33] * 3, test=[2]
    )  # 345 photos, 34.5 asked of each small split
    (finding,) = check(table, even())
    assert finding.classes == ["dry"]
    assert "'dry' (345 photos in 8 groups; " in finding.sentence
    assert "validation 1 in 1 group, asked for 34" in finding.sentence
    assert "test 2 in 1 group, asked for 34" in finding.sentence
    numbers = finding.numbers["classes"][0]
    assert numbers["splits"]["test"] == {"photos": 2, "groups": 1, "largest": 2, "asked": 34.5}
    # Two more groups for each of validation and test, and 34 and 33 photos or more.
    assert numbers["bring"]["groups"] == 4
    assert numbers["bring"]["photos"] >= 34 + 33
    assert "of 'dry' about" in finding.advice


def test_one_burst_that_is_half_a_split_is_named():
    table = photos(train=[1] * 560, validation=[1] * 80, calibration=[1] * 80, test=[44, *[1] * 36])
    (finding,) = check(table)
    assert "test 80 in 37 groups, 44 of them one group, asked for 80" in finding.sentence


def test_too_many_is_named_too():
    table = photos(train=[1] * 60, validation=[1] * 10, calibration=[1] * 10, test=[1] * 20)
    (finding,) = check(table)
    assert list(finding.numbers["classes"][0]["splits"]) == ["test"]


def test_a_class_that_a_split_lacks_is_named():
    (finding,) = check(photos(train=[1] * 30, validation=[1] * 5, calibration=[1] * 5))
    assert "test 0 in 0 groups, asked for 4" in finding.sentence


def test_single_photos_of_a_rare_class_are_not_uneven():
    # 10 photos, each a group: one in each small split is as asked.
    assert check(photos(train=[1] * 7, validation=[1], calibration=[1], test=[1])) == []


def test_splits_of_the_source_are_not_held_against_the_fractions():
    table = pd.concat([even("dry"), photos(test=[1] * 60)], ignore_index=True)
    table.loc[table["split"] == "test", "given_split"] = "test"
    assert check(table) == []


def test_a_held_out_split_of_one_burst_is_named():
    table = pd.concat([even("dry")[:90], photos(test=[30])], ignore_index=True)
    table.loc[table["split"] == "test", "given_split"] = "test"
    (finding,) = check(table)
    assert "test 30 in 1 group" in finding.sentence
    assert "asked" not in finding.sentence


def test_attributes_are_named_with_and_without():
    table = photos(train=[1] * 70, validation=[1] * 10, calibration=[1] * 10, test=[1] * 10)
    # Shown in training and nowhere else.
    table["look.seeds"] = pd.array([1] * 40 + [0] * 60, dtype="Int8")
    (finding,) = check(table, taxonomy=LOOK)
    assert finding.head == "look"
    assert set(finding.classes) == {"seeds", "without seeds"}


@pytest.mark.parametrize("column", ["split", "group"])
def test_photos_that_are_not_divided_are_not_judged(column):
    assert check(even().drop(columns=column)) == []
    assert check(even().assign(**{column: None})) == []
