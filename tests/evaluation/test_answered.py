import numpy as np
import pytest

from cannabis_ml.evaluation.answered import (
    Calibrated,
    answered_events,
    chain_events,
    chains_of,
)
from cannabis_ml.inference.decision import Decision
from cannabis_ml.taxonomy import MISSING, Taxonomy

CROPS = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "species", "classes": ["tomato", "grape", "nothing"]},
            {
                "name": "condition",
                "parent": "species",
                "classes": ["healthy", "blight", "rot"],
                "allowed": {"tomato": ["healthy", "blight"], "grape": ["healthy", "rot"]},
            },
            {"name": "look", "kind": "multilabel", "classes": ["dry", "wet"]},
        ]
    }
)
OUTPUTS = {
    "species": np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1]]),
    "condition": np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.3, 0.1, 0.6], [0.6, 0.3, 0.1]]),
    "look": np.array([[0.9, 0.2], [0.4, 0.5], [0.1, 0.8], [0.3, 0.6]]),
}
TRUTH = {
    "species": np.array([0, 2, 0, MISSING]),
    "condition": np.array([1, MISSING, 1, 0]),
    "look": np.array([[1, np.nan], [0, 1], [np.nan, np.nan], [1, 0]]),
}
GROUPS = np.array([5, 6, 7, 7])


@pytest.fixture(scope="module")
def calibrated():
    return Calibrated.of(Decision(CROPS), OUTPUTS)


def test_answers_without_a_label_or_without_an_answer_are_left_out(calibrated):
    found = answered_events(CROPS["species"], calibrated, TRUTH["species"], GROUPS)
    assert found.confidence == pytest.approx([0.8, 0.8, 0.6])
    assert found.right.tolist() == [True, True, False]
    assert found.groups.tolist() == [5, 6, 7]
    child = answered_events(CROPS["condition"], calibrated, TRUTH["condition"], GROUPS)
    assert child.right.tolist() == [True, False, True]  # nothing is in the second photo


def test_every_labelled_attribute_is_an_answer(calibrated):
    found = answered_events(CROPS["look"], calibrated, TRUTH["look"], GROUPS)
    assert found.confidence.tolist() == [0.9, 0.4, 0.5, 0.3, 0.6]
    assert found.right.tolist() == [True, False, True, True, False]
    assert found.groups.tolist() == [5, 6, 6, 7, 7]


def test_a_chain_leads_from_the_topmost_head_to_one_that_limits_none():
    assert [[head.name for head in chain] for chain in chains_of(CROPS)] == [
        ["species", "condition"]
    ]
    assert chains_of(Taxonomy.model_construct(heads=[CROPS["species"], CROPS["look"]])) == []


def test_having_no_answer_is_right_where_there_is_none_to_have(calibrated):
    (chain,) = chains_of(CROPS)
    confidence, right, groups = chain_events(chain, CROPS, calibrated, TRUTH, GROUPS)
    assert groups.tolist() == [5, 6, 7]  # of the last photo the species is not known
    assert right.tolist() == [[True, True], [True, True], [False, False]]
    assert np.isnan(confidence).tolist() == [[False, False], [False, True], [False, False]]
    assert confidence[0] == pytest.approx([0.8, OUTPUTS["condition"][0, 1]])


def test_parts_are_joined_in_the_order_of_their_rows(calibrated):
    parts = [
        (rows, Calibrated.of(Decision(CROPS), {n: v[rows] for n, v in OUTPUTS.items()}))
        for rows in (np.array([3, 0]), np.array([2, 1]))
    ]
    joined = Calibrated.joined(parts, 4)
    for name, values in calibrated.outputs.items():
        np.testing.assert_array_equal(joined.outputs[name], values)
    np.testing.assert_array_equal(joined.decided["species"], calibrated.decided["species"])
    with pytest.raises(ValueError, match="2 of 4 photos"):
        Calibrated.joined(parts[:1], 4)
