import pandas as pd

from cannabis_ml.photo_sets.checks.rare_classes import RareClassesParams, find
from cannabis_ml.taxonomy import Head, Taxonomy

LEAF = Taxonomy(heads=[Head(name="leaf", classes=["dry", "spots", "mould", "absent"])])
LOOK = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds", "stems", "hair"])])


def photos(**counts):
    labels = [name for name, n in counts.items() for _ in range(n)]
    return pd.DataFrame({"leaf": labels, "defect": None})


def test_names_what_has_too_few_the_rarest_first():
    (finding,) = find(photos(dry=9, spots=10, mould=3), LEAF, RareClassesParams(min_photos=10))
    assert finding.classes == ["mould", "dry"]
    assert finding.sentence == (
        "2 classes of 'leaf' have fewer than 10 photos: 'mould' (3), 'dry' (9)."
    )
    assert finding.numbers["photos"] == {"mould": 3, "dry": 9}


def test_enough_is_enough():
    table = photos(dry=10, spots=10, mould=10)
    assert find(table, LEAF, RareClassesParams(min_photos=10)) == []


def test_what_is_set_aside_does_not_count():
    table = photos(dry=10, spots=10, mould=10)
    table.loc[0, "defect"] = "truncated"
    (finding,) = find(table, LEAF, RareClassesParams(min_photos=10))
    assert finding.sentence == "1 class of 'leaf' has fewer than 10 photos: 'dry' (9)."


def test_an_attribute_needs_photos_that_lack_it_too():
    table = pd.DataFrame(
        {
            "look.seeds": pd.array([1] * 19 + [0], dtype="Int8"),
            "look.stems": pd.array([1] * 10 + [0] * 10, dtype="Int8"),
            "look.hair": pd.array([pd.NA] * 20, dtype="Int8"),
        }
    )
    (finding,) = find(table, LOOK, RareClassesParams(min_photos=10))
    assert finding.classes == ["without seeds"]


def test_no_photos_no_words():
    assert find(photos(), LEAF, RareClassesParams()) == []


def test_photos_of_one_burst_are_reported_as_such():
    table = photos(dry=9, spots=5).assign(group=["burst"] * 8 + [f"plant {i}" for i in range(6)])
    (finding,) = find(table, LEAF, RareClassesParams(min_photos=10))
    assert finding.sentence.endswith("'spots' (5), 'dry' (9 in 2 groups).")
    assert finding.numbers["groups"] == {"spots": 5, "dry": 2}


def test_groups_of_attributes_are_reported_too():
    table = pd.DataFrame({"look.seeds": pd.array([1] * 12 + [0] * 4, dtype="Int8")})
    table["look.stems"] = table["look.hair"] = pd.array([pd.NA] * 16, dtype="Int8")
    table["group"] = [f"plant {i}" for i in range(12)] + ["burst"] * 4
    (finding,) = find(table, LOOK, RareClassesParams(min_photos=10))
    assert "'without seeds' (4 in 1 group)" in finding.sentence
