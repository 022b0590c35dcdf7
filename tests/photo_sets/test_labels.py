"""Labels end up in the taxonomy's columns, or are told."""

import pandas as pd
import pytest

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.labels import unify_labels
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        {"name": "kind", "classes": ["a", "b"]},
        {"name": "traits", "kind": "multilabel", "classes": ["wet", "old", "seedy"]},
    ]
)


def unify(**columns):
    frame = pd.DataFrame({name: pd.Series(v, dtype="str") for name, v in columns.items()})
    return unify_labels(frame, TAXONOMY)


def marks(labels):
    return labels[["traits.wet", "traits.old", "traits.seedy"]].fillna(-1).to_numpy().tolist()


def test_lists_are_expanded():
    labels = unify(traits=["wet;old", " seedy ", "-", "None", None])
    assert marks(labels) == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [-1, -1, -1]]
    assert set(labels.dtypes[1:].astype(str)) == {"Int8"}


def test_marks_are_read():
    labels = unify(
        **{
            "traits.wet": ["1", "true", "YES", "1.0", None],
            "traits.old": ["0", "False", "no", "0.0", None],
        }
    )
    assert marks(labels) == [[1, 0, -1]] * 4 + [[-1, -1, -1]]


def test_marks_speak_before_lists():
    labels = unify(traits=["old", "old"], **{"traits.wet": ["1", None]})
    assert marks(labels) == [[1, 1, 0], [0, 1, 0]]


def test_absent_heads_are_unknown():
    labels = unify(path=["1.jpg", "2.jpg"])
    assert list(labels.columns) == TAXONOMY.columns
    assert labels.isna().all(axis=None)


def test_every_unknown_label_is_listed_at_once():
    with pytest.raises(TaxonomyError) as caught:
        unify(
            kind=["A", "c", "c"],
            traits=["wett;old", "wett", None],
            **{"traits.new": ["1", None, None], "traits.old": ["maybe", None, None]},
        )
    message = str(caught.value)
    assert "kind: 'c' (2 photos" in message
    assert "kind: 'A' (1 photo; did you mean 'a'?)" in message
    assert "traits: 'wett' (2 photos; did you mean 'wet'?)" in message
    assert "traits: 'new' (column 'traits.new', 1 photo" in message
    assert "traits.old: 'maybe' (1 photo; write 1, 0 or nothing)" in message


def test_errors_name_the_sources():
    with pytest.raises(TaxonomyError) as caught:
        unify(
            source=["web", "field", "field"],
            kind=["c", "c", "a"],
            traits=["wett", None, "wett;odd"],
        )
    message = str(caught.value)
    assert "in the sources field, web" in message
    assert "kind: 'c' (2 photos: 1 of web, 1 of field" in message
    assert "traits: 'wett' (2 photos: 1 of web, 1 of field; did you mean 'wet'?)" in message
    assert "traits: 'odd' (1 photo of field" in message


def test_labels_are_compared_in_one_form():
    taxonomy = Taxonomy(
        heads=[
            {"name": "kind", "classes": ["Gänse", "pear"]},
            {"name": "traits", "kind": "multilabel", "classes": ["naß", "öde"]},
        ]
    )
    columns = {"kind": ["Ga\u0308nse ", "pear", None], "traits": ["o\u0308de; naß", " -", None]}
    labels = unify_labels(pd.DataFrame(columns, dtype="str"), taxonomy)
    assert labels["kind"].fillna("?").tolist() == ["Gänse", "pear", "?"]
    assert labels[["traits.naß", "traits.öde"]].fillna(-1).values.tolist() == [
        [1, 1],
        [0, 0],
        [-1, -1],
    ]


def test_rows_that_name_one_attribute_each_are_boxes_of_one_photo():
    labels = unify(
        path=["1", "2", "1", "2", "1", "3", "4", "4", "5", "5"],
        source=["s"] * 10,
        traits=["wet", "old", " old", "-", "wet", "wet", "wet;old", "old", "wet", None],
    )
    one, two = [1, 1, 0], [0, 1, 0]
    nothing, wet, unknown = [0, 0, 0], [1, 0, 0], [-1, -1, -1]
    assert marks(labels) == [one, two, one, nothing, one, wet, one, two, wet, unknown]


def test_boxes_of_two_sources_are_not_put_together():
    labels = unify(path=["1", "1"], source=["a", "b"], traits=["wet", "old"])
    assert marks(labels) == [[1, 0, 0], [0, 1, 0]]
