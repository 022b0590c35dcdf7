"""What a network is trained on, in one argument."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.errors import TrainingError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.training.training_data import TrainingData


@pytest.fixture
def balanced_rows(photo_set):
    rows = photo_set.rows_of(Split.TRAIN)[[0, 0, 3]]
    return pd.DataFrame({"row": rows, "weight": [0.5, 0.5, 2.0]})


@pytest.fixture
def teacher(photo_set, taxonomy):
    """One whose first probability is the number of the photo."""
    table = photo_set.labels("photo_id", "split")
    for head in taxonomy.heads:
        probs = [
            np.full(len(head.classes), int(name, 16), np.float32) for name in table["photo_id"]
        ]
        table[head.name] = pd.Series(probs, dtype=object)
    return table


def test_rows_are_those_of_the_split_or_those_that_balancing_chose(
    photo_set, taxonomy, balanced_rows
):
    data = TrainingData.of_split(photo_set, taxonomy)
    assert data.rows.tolist() == photo_set.rows_of(Split.TRAIN).tolist()
    assert data.weights is None
    assert data.validation().rows.tolist() == photo_set.rows_of(Split.VALIDATION).tolist()
    chosen = TrainingData.balanced(photo_set, taxonomy, balanced_rows)
    assert len(chosen) == 3
    assert chosen.rows.tolist() == balanced_rows["row"].tolist()
    assert chosen.weights.tolist() == [0.5, 0.5, 2.0]
    assert chosen.photo_ids.tolist() == photo_set.labels()["photo_id"][chosen.rows].tolist()
    assert chosen.validation().weights is None


@pytest.mark.parametrize("stray", [-1, 10_000, "held out"])
def test_rows_that_are_not_training_photos_are_refused(photo_set, taxonomy, stray):
    row = int(photo_set.rows_of(Split.VALIDATION)[0]) if stray == "held out" else stray
    rows = pd.DataFrame({"row": [0, row], "weight": [1.0, 1.0]})
    with pytest.raises(TrainingError, match="1 of 2 rows of balanced_rows are not training photos"):
        TrainingData.balanced(photo_set, taxonomy, rows)


def test_the_teachers_probabilities_stand_in_the_order_of_the_rows(
    photo_set, taxonomy, balanced_rows, teacher
):
    data = TrainingData.balanced(photo_set, taxonomy, balanced_rows)
    assert data.teacher_probs() == {}
    probs = data.taught_by(teacher.iloc[::-1]).teacher_probs()
    for head in taxonomy.heads:
        assert probs[head.name].shape == (3, len(head.classes))
        assert probs[head.name][:, 0].tolist() == [int(name, 16) for name in data.photo_ids]
    with pytest.raises(TrainingError, match="no prediction for 1 of 3 training photos"):
        data.taught_by(teacher[teacher["photo_id"] != data.photo_ids[2]]).teacher_probs()


def test_fingerprints_differ_by_photos_copies_rows_and_weights(photo_set, taxonomy, balanced_rows):
    def fingerprints(rows=balanced_rows, **given):
        return tuple(TrainingData.balanced(photo_set, taxonomy, rows, **given).fingerprints)

    copies = PhotoSet(photo_set.arrow.select(range(3)))
    others = {
        fingerprints(),
        fingerprints(copies=copies),
        fingerprints(balanced_rows.iloc[:2]),
        fingerprints(balanced_rows.assign(weight=1.0)),
        tuple(TrainingData.of_split(photo_set, taxonomy).fingerprints),
    }
    assert len(others) == 5
    assert fingerprints() == fingerprints(balanced_rows.copy())


def test_it_can_be_handed_from_node_to_node_and_to_other_processes(
    photo_set, taxonomy, balanced_rows, teacher
):
    data = TrainingData.balanced(photo_set, taxonomy, balanced_rows, photo_set).taught_by(teacher)
    for again in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert again.fingerprints == data.fingerprints
        np.testing.assert_array_equal(again.photos.pixels(0), data.photos.pixels(0))
