"""Copies that contradict each other are all named; silence is no contradiction."""

import pandas as pd

from cannabis_ml.photo_sets.checks import conflicting_duplicate
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        {"name": "kind", "classes": ["p", "q"]},
        {"name": "m", "kind": "multilabel", "classes": ["wet"]},
    ]
)


def found(rows):
    photos = pd.DataFrame(rows, columns=["path", "photo_id", "kind", "m.wet"])
    photos = photos.astype({"kind": "str", "m.wet": "Int8"})
    return conflicting_duplicate.find(photos, TAXONOMY)


def test_all_copies_are_named_also_those_without_labels():
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


def test_rows_of_one_file_are_reported_as_such_with_their_sources():
    photos = pd.DataFrame({"path": "a", "photo_id": "x", "kind": ["p", "q"], "m.wet": None})
    told = conflicting_duplicate.find(photos, TAXONOMY)
    assert told[0] == "a is listed under different labels: kind is 'p' or 'q'."
    told = conflicting_duplicate.find(photos.assign(source=["web", "field"]), TAXONOMY)
    assert told[1].endswith("kind is 'p' (source web) or 'q' (source field).")


def test_copies_that_are_right_alone_may_be_wrong_together():
    taxonomy = Taxonomy(
        heads=[
            {"name": "plant", "classes": ["oak", "elm"]},
            {
                "name": "ill",
                "classes": ["wilt", "rust"],
                "parent": "plant",
                "allowed": {"oak": ["rust"], "elm": ["wilt", "rust"]},
            },
        ]
    )
    rows = [["a", 1, "oak", None], ["b", 1, None, "wilt"], ["c", 2, "oak", None]]
    rows += [["d", 2, None, "rust"]]
    photos = pd.DataFrame(rows, columns=["path", "photo_id", "plant", "ill"])
    told = conflicting_duplicate.find(photos, taxonomy)
    assert told[0] == told[1]
    assert told[0].endswith("labels: plant is 'oak' (a); ill is 'wilt' (b).")
    assert told[2:].isna().all()
