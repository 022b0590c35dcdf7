import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from cannabis_ml.models.metrics import confusion, score
from cannabis_ml.taxonomy import Taxonomy


@pytest.fixture
def photos():
    return pd.DataFrame(
        {
            "photo_id": list("abcde"),
            "colour": ["red", "red", "green", None, "green"],
            "shade": ["pale", "dark", "middle", "deep", None],
            "marks.line": pd.array([1, 0, 1, None, 0], dtype="Int8"),
            "marks.dot": pd.array([1, 1, None, None, 1], dtype="Int8"),
        }
    )


@pytest.fixture
def predictions():
    """In another order than the photos, and not of all of them."""
    return pd.DataFrame(
        {
            "photo_id": list("edcba"),
            "split": "test",
            "colour": [
                [0.1, 0.9, 0.0],
                [0.1, 0.8, 0.1],
                [0.5, 0.3, 0.2],
                [0.7, 0.2, 0.1],
                [0.6, 0.2, 0.2],
            ],
            "shade": [
                [1.0, 0, 0, 0],
                [0, 0, 1.0, 0],
                [0, 0, 1.0, 0],
                [0, 1.0, 0, 0],
                [1.0, 0, 0, 0],
            ],
            "marks": [[0.7, 0.9], [0.1, 0.1], [0.6, 0.9], [0.2, 0.4], [0.9, 0.8]],
        }
    )


def test_multiclass_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["colour"]
    # Known: a, b red -> red, red; c green -> red; e green -> green. Blue: neither said nor there.
    assert found["n"] == 4
    assert found["accuracy"] == 3 / 4
    assert found["per_class"]["red"] == {
        "precision": 2 / 3,
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "support": 2,
    }
    assert found["per_class"]["green"]["f1"] == pytest.approx(2 / 3)
    assert found["per_class"]["blue"] == {
        "precision": None,
        "recall": None,
        "f1": None,
        "support": 0,
    }
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_ordinal_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["shade"]
    # a 0 -> 0, b 3 -> 1, c 1 -> 2, d 2 -> 2
    assert found["n"] == 4
    assert found["accuracy"] == 0.5
    assert found["mean_absolute_error"] == 0.75
    # 1 - sum of squares over the sum expected by chance: (4 + 1) / (72 / 4... by pairs below)
    truth, said = [0, 3, 1, 2], [0, 1, 2, 2]
    chance = np.mean([(t - s) ** 2 for t in truth for s in said])
    observed = np.mean([(t - s) ** 2 for t, s in zip(truth, said, strict=True)])
    assert found["quadratic_weighted_kappa"] == pytest.approx(1 - observed / chance)


def test_multilabel_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["marks"]
    assert found["n"] == 4
    # line, known for a b c e: 1 0 1 0 said at .9 .2 .6 .7: precision 2/3, recall 1.
    line = found["per_class"]["line"]
    assert line["precision"] == pytest.approx(2 / 3)
    assert line["recall"] == 1.0
    assert line["support"] == 2
    # Ranked .9 (there), .7 (not), .6 (there): (1/1 + 2/3) / 2.
    assert line["average_precision"] == pytest.approx(5 / 6)
    # dot, known for a b e, always there: nothing to rank.
    assert found["per_class"]["dot"]["average_precision"] is None
    assert found["per_class"]["dot"]["recall"] == pytest.approx(2 / 3)
    assert found["mean_average_precision"] == pytest.approx(5 / 6)
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["macro_f1"] == pytest.approx((0.8 + 0.8) / 2)


def test_a_class_claimed_in_vain_counts_as_zero(photos, taxonomy):
    blue = pd.DataFrame({"photo_id": ["a", "b"], "colour": [[0, 0, 1.0], [1.0, 0, 0]]})
    heads = Taxonomy(heads=[taxonomy["colour"]])
    found = score(blue, photos, heads)["colour"]
    assert found["per_class"]["blue"]["precision"] == 0
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed, taxonomy):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, 60)
    probs = random.dirichlet(np.ones(4), 60).astype(np.float32)
    names = taxonomy["shade"].class_names
    photos = pd.DataFrame({"photo_id": range(60), "shade": [names[t] for t in truth]})
    predictions = pd.DataFrame({"photo_id": range(60), "shade": list(probs)})
    found = score(predictions, photos, Taxonomy(heads=[taxonomy["shade"]]))["shade"]
    said = [next(k for k in range(4) if sum(row[: k + 1]) >= 0.5) for row in probs]  # the median
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    kappa = reference.cohen_kappa_score(truth, said, weights="quadratic")
    assert found["quadratic_weighted_kappa"] == pytest.approx(kappa)
    counts = confusion(predictions, photos, taxonomy["shade"])
    np.testing.assert_array_equal(counts, reference.confusion_matrix(truth, said))


def test_no_label_at_all_gives_none_not_an_error(predictions, photos, taxonomy):
    for column in taxonomy.columns:
        photos[column] = pd.array([None] * 5, dtype="Int8" if "." in column else "str")
    found = score(predictions, photos, taxonomy)
    for head in taxonomy.heads:
        assert found[head.name]["n"] == 0
        assert found[head.name]["accuracy"] is None
        assert found[head.name]["macro_f1"] is None
        assert confusion(predictions, photos, head).sum() == 0
    assert found["shade"]["quadratic_weighted_kappa"] is None
    assert found["marks"]["mean_average_precision"] is None


def test_everything_is_plain_json(predictions, photos, taxonomy):
    for table in (predictions, predictions.iloc[:0], predictions.iloc[:1]):
        found = score(table, photos, taxonomy)
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_confusion_by_hand(predictions, photos, taxonomy):
    np.testing.assert_array_equal(
        confusion(predictions, photos, taxonomy["colour"]), [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    )
    # true positives, false positives, false negatives, true negatives
    np.testing.assert_array_equal(
        confusion(predictions, photos, taxonomy["marks"]), [[2, 1, 0, 1], [2, 0, 1, 0]]
    )


def test_a_predicted_photo_must_be_known(predictions, photos, taxonomy):
    with pytest.raises(KeyError):
        score(predictions, photos[:3], taxonomy)
