import pandas as pd
import pytest

from cannabis_ml.photo_sets.checks.imbalance import ImbalanceParams, find
from cannabis_ml.taxonomy import Head, Taxonomy

LEAF = Taxonomy(heads=[Head(name="leaf", classes=["dry", "spots", "mould", "absent"])])
LOOK = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds", "stems", "hair"])])


def photos(**counts):
    labels = [name for name, n in counts.items() for _ in range(n)]
    return pd.DataFrame({"leaf": labels, "defect": None})


def test_names_the_ratio_and_both_classes():
    (finding,) = find(photos(dry=30, spots=12, mould=1), LEAF, ImbalanceParams())
    assert finding.sentence == (
        "The largest class of 'leaf' has 30 times the photos of the smallest: 'dry' 30, 'mould' 1."
    )
    assert finding.numbers["ratio"] == 30


def test_classes_without_photos_are_left_out_of_the_ratio():
    assert find(photos(dry=30, spots=12), LEAF, ImbalanceParams()) == []


@pytest.mark.parametrize(("largest", "speaks"), [(20, False), (21, True)])
def test_speaks_beyond_the_limit_only(largest, speaks):
    found = find(photos(dry=largest, spots=2), LEAF, ImbalanceParams(max_ratio=10))
    assert bool(found) is speaks


def test_what_is_set_aside_does_not_count():
    table = photos(dry=30, spots=12, mould=1)
    table.loc[table["leaf"] == "mould", "defect"] = "truncated"
    assert find(table, LEAF, ImbalanceParams()) == []


def test_an_attribute_is_weighed_with_against_without():
    table = pd.DataFrame(
        {
            "look.seeds": pd.array([1] * 1 + [0] * 39, dtype="Int8"),
            "look.stems": pd.array([1] * 20 + [0] * 20, dtype="Int8"),
            "look.hair": pd.array([1] * 38 + [0] * 2, dtype="Int8"),
        }
    )
    (finding,) = find(table, LOOK, ImbalanceParams())
    assert finding.classes == ["seeds", "hair"]
    assert "'seeds' (1 with, 39 without)" in finding.sentence
    assert finding.numbers["ratio"] == {"seeds": 39, "hair": 19}


def test_one_class_alone_is_no_imbalance():
    assert find(photos(dry=30), LEAF, ImbalanceParams()) == []
    assert find(photos(), LEAF, ImbalanceParams()) == []
