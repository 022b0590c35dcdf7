import pandas as pd

from cannabis_ml.photo_sets.checks.unlabelled_splits import find
from cannabis_ml.taxonomy import Head, Taxonomy

LEAF = Taxonomy(heads=[Head(name="leaf", classes=["dry", "wet"])])


def photos(*labels):
    splits = ["train", "validation", "test"]
    return pd.DataFrame({"leaf": list(labels), "split": splits, "defect": None})


def test_names_the_splits_without_a_label():
    (finding,) = find(photos("dry", None, None), LEAF)
    assert finding.sentence == (
        "No photo in validation or test has a label for 'leaf'; 1 photo elsewhere has one."
    )


def test_silent_where_all_have_labels_or_none_has():
    assert find(photos("dry", "wet", "dry"), LEAF) == []
    assert find(photos(None, None, None), LEAF) == []


def test_labels_of_photos_set_aside_do_not_count():
    table = photos("dry", "wet", "dry")
    table.loc[2, "defect"] = "truncated"
    assert find(table, LEAF)[0].numbers == {"labelled": {"train": 1, "validation": 1}}


def test_negative_labels_of_attributes_count_too():
    look = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds", "stems"])])
    table = photos(None, None, None)
    table["look.seeds"] = pd.array([0, 0, 0], dtype="Int8")
    table["look.stems"] = pd.array([pd.NA, pd.NA, pd.NA], dtype="Int8")
    assert find(table, look) == []
