import pandas as pd

from cannabis_ml.photo_sets.checks.absent_classes import AbsentClassesParams, find
from cannabis_ml.taxonomy import Head, Taxonomy

LEAF = Taxonomy(heads=[Head(name="leaf", classes=["dry", "spots", "mould"])])
LOOK = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds", "stems"])])
PARAMS = AbsentClassesParams()


def photos(*labels):
    return pd.DataFrame({"leaf": list(labels), "defect": None})


def test_names_classes_without_photos():
    (finding,) = find(photos("spots"), LEAF, PARAMS)
    assert finding.classes == ["dry", "mould"]
    assert finding.sentence == "2 of the 3 classes of 'leaf' have no photos: 'dry', 'mould'."


def test_silent_when_all_are_there():
    assert find(photos("dry", "spots", "mould", None), LEAF, PARAMS) == []


def test_reports_classes_whose_every_photo_was_set_aside():
    table = photos("dry", "spots", "mould", "mould")
    table.loc[2:, "defect"] = "truncated"
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence == (
        "1 of the 3 classes of 'leaf' has no photos: 'mould' (2 photos, all set aside)."
    )


def test_a_head_without_labels_is_one_finding():
    (finding,) = find(photos(None, None), LEAF, PARAMS)
    assert finding.sentence == "No photo has a label for 'leaf'."


def test_an_attribute_that_no_photo_shows():
    seeds, stems = pd.array([0, 1], dtype="Int8"), pd.array([0, pd.NA], dtype="Int8")
    table = pd.DataFrame({"look.seeds": seeds, "look.stems": stems})
    (finding,) = find(table, LOOK, PARAMS)
    assert finding.classes == ["stems"]


def test_heads_may_be_passed_over():
    assert find(photos("dry"), LEAF, AbsentClassesParams(ignore=["leaf"])) == []
