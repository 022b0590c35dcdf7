import pandas as pd
import pytest

from cannabis_ml.photo_sets.feedback_source import (
    add_feedback,
    empty_feedback_photos,
    with_corrections,
)
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "product", "classes": ["plant", "trim"]},
            {
                "name": "grade",
                "classes": ["A", "B", "dry"],
                "parent": "product",
                "allowed": {"plant": ["A", "B"], "trim": ["dry"]},
            },
            {"name": "look", "kind": "multilabel", "classes": ["mould", "stems"]},
        ]
    }
)


def given(*rows):
    """Photos of a source: path, product, grade."""
    table = pd.DataFrame(rows, columns=["path", "product", "grade"], dtype="str")
    return table.assign(source="field", group=None, given_split="test")


def said(*rows):
    """Photos of feedback: id, hashes it was sent as, product, grade, look.mould."""
    columns = ["photo_id", "sent_as", "product", "grade", "look.mould"]
    table = pd.DataFrame(rows, columns=columns, dtype="str")
    return table.assign(path="/store/" + table["photo_id"])


def indexed(source, feedback):
    """As `index_photos` leaves it: the id is the file's name."""
    listed = add_feedback(source, feedback)
    ids = listed["path"].str.rpartition("/")[2]
    look = {c: pd.Series(pd.NA, index=listed.index, dtype="Int8") for c in TAXONOMY["look"].columns}
    return listed[["path", "source", "product", "grade"]].assign(photo_id=ids, **look)


def test_nothing_is_added_without_opinions():
    source = given(("a", "plant", "A"))
    assert add_feedback(source, empty_feedback_photos()) is source
    index = indexed(source, empty_feedback_photos())
    assert with_corrections(index, empty_feedback_photos(), TAXONOMY) is index


def test_feedback_is_a_source_without_splits_and_groups():
    both = add_feedback(given(("a", "plant", "A")), said(("f", "s", "trim", "dry", "1")))
    assert both["source"].tolist() == ["field", "feedback"]
    assert both["path"].tolist() == ["a", "/store/f"]
    assert both["product"].tolist() == ["plant", "trim"]
    assert both["given_split"].isna().tolist() == [False, True]
    assert both["look.mould"].isna().tolist() == [True, False]
    assert "sent_as" not in both


@pytest.mark.parametrize("sent", ["a", "x;a", "x;a;y"])
def test_a_correction_reaches_the_photo_that_was_sent(sent):
    feedback = said(("f", sent, "trim", None, None))
    index = indexed(given(("/in/a", "plant", "A"), ("/in/b", "plant", "B")), feedback)
    found = with_corrections(index, feedback, TAXONOMY)
    assert found["photo_id"].tolist() == ["a", "b", "a"]
    assert found["product"].tolist() == ["trim", "plant", "trim"]


def test_what_the_corrected_class_rules_out_becomes_unknown():
    feedback = said(("f", "a", "trim", None, None))
    found = with_corrections(indexed(given(("/in/a", "plant", "A")), feedback), feedback, TAXONOMY)
    assert found["grade"].isna().tolist() == [True, True]
    feedback = said(("f", "a", "trim", "dry", None))
    found = with_corrections(indexed(given(("/in/a", "plant", "A")), feedback), feedback, TAXONOMY)
    assert found["grade"].tolist() == ["dry", "dry"]


def test_what_nobody_spoke_of_stays():
    feedback = said(("f", "a", None, None, "1"))
    index = indexed(given(("/in/a", "plant", "A"), ("/in/b", None, None)), feedback)
    found = with_corrections(index, feedback, TAXONOMY)
    assert found.loc[0, ["product", "grade"]].tolist() == ["plant", "A"]
    assert found["look.mould"].fillna(-1).tolist() == [1, -1, -1]
    assert found["look.stems"].isna().all()


def test_photos_of_feedback_alone_keep_their_ids():
    feedback = said(("f", "x", "trim", "dry", None))
    index = indexed(given(("/in/a", "plant", "A")), feedback)
    found = with_corrections(index, feedback, TAXONOMY)
    assert found["photo_id"].tolist() == ["a", "f"]
    assert found["product"].tolist() == ["plant", "trim"]
