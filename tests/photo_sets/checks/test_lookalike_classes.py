import pandas as pd
import pytest

from cannabis_ml.photo_sets.checks.lookalike_classes import find
from cannabis_ml.taxonomy import Head, Taxonomy


def of(classes, labels=()):
    taxonomy = Taxonomy(heads=[Head(name="leaf", classes=classes)])
    photos = pd.DataFrame({"leaf": pd.Series(list(labels), dtype="str"), "defect": None})
    return find(photos, taxonomy)


def test_names_that_differ_in_case_are_reported_with_their_photos():
    (finding,) = of(["Apple", "apple", "plum"], ["apple", "apple", "Apple", "plum"])
    assert finding.sentence == (
        "Classes of 'leaf' whose names look the same: 'Apple' (1 photo) and 'apple' (2 photos)."
    )
    assert finding.classes == ["Apple", "apple"]
    assert "label_map" in finding.advice


@pytest.mark.parametrize(
    "name", ["leaf_spot", "Leaf  Spot", "leaf\u00a0spot", "leaf spot\u200b", "\uff4ceaf spot"]
)
def test_names_that_look_the_same_at_a_glance(name):
    assert len(of(["leaf spot", name])) == 1


@pytest.mark.parametrize("names", [["A", "A+"], ["A-", "A"], ["leafspot", "leaf spot"], ["1", "2"]])
def test_names_that_look_different(names):
    assert of(names) == []
