"""Copies that contradict each other are all named; silence is no contradiction."""

import pandas as pd

from cannabis_ml.photos.defects import conflicting_duplicate


def found(rows):
    photos = pd.DataFrame(rows, columns=["path", "photo_id", "kind", "wet"])
    photos = photos.astype({"kind": "str", "wet": "Int8"})
    return conflicting_duplicate.find(photos, ["kind", "wet"])


def test_all_copies_are_named_also_those_that_say_nothing():
    told = found([["a", "x", "p", None], ["b", "x", "q", None], ["c", "x", None, None]])
    assert told.nunique() == 1
    assert told.notna().all()
    assert told[0] == "The same file under different labels: kind is 'p' (a) or 'q' (b)."


def test_attributes_contradict_too():
    told = found([["a", "x", "p", 1], ["b", "x", "p", 0]])
    assert "wet is '1' (a) or '0' (b)" in told[0]


def test_missing_labels_contradict_nobody():
    assert found([["a", "x", "p", None], ["b", "x", None, 1], ["c", "y", "q", 0]]).isna().all()


def test_photos_without_copies():
    assert found([["a", "x", "p", 1], ["b", "y", "q", 0]]).isna().all()
