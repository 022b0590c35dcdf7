"""When two names are the same."""

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml import text
from cannabis_ml.networks.params import LossParams
from cannabis_ml.photo_sets.checks.absent_classes import AbsentClassesParams
from cannabis_ml.photos.augmentation_params import AugmentationParams
from cannabis_ml.pipelines.balancing.params import BalancingParams
from cannabis_ml.text import by_normal_name, lookalikes, normal


def test_examples():
    assert doctest.testmod(text).failed == 0


@given(st.text(), st.sampled_from(["NFC", "NFD"]), st.text(" \t\n\u00a0", max_size=3))
def test_form_and_blanks_at_the_ends_make_no_difference(name, form, blanks):
    assert normal(unicodedata.normalize(form, blanks + name + blanks)) == normal(name)
    assert normal(normal(name)) == normal(name)


def test_case_and_blanks_within_make_a_difference():
    assert len({normal(name) for name in ("Leaf", "leaf", "le af", "le  af")}) == 4


def test_names_of_a_mapping_are_never_lost():
    assert by_normal_name({"a ": 1, "b": 2, " b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="'Gänse' is written twice"):
        by_normal_name({"Gänse": 1, "Ga\u0308nse": 2})


def test_lookalikes_are_held_together_in_order():
    assert lookalikes(["b", "A", "c", "a", "C ", "A"]) == [["A", "a"], ["C ", "c"]]


@pytest.mark.parametrize(
    ("params", "field", "value"),
    [
        (AugmentationParams, "multipliers", {"größe": {"groß": 2.0}}),
        (AugmentationParams, "guards", {"größe.groß": None}),
        (BalancingParams, "heads", ["größe"]),
        (LossParams, "weights", {"größe": 1.0}),
        (AbsentClassesParams, "ignore", ["größe"]),
    ],
)
def test_heads_and_classes_in_parameters_are_those_of_the_taxonomy(params, field, value):
    def decomposed(value):
        if isinstance(value, dict):
            return {decomposed(k): decomposed(v) for k, v in value.items()}
        if isinstance(value, list):
            return [decomposed(item) for item in value]
        return unicodedata.normalize("NFD", value) + " " if isinstance(value, str) else value

    assert getattr(params(**{field: decomposed(value)}), field) == value
