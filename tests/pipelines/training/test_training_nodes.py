"""What is said of predictions, on photos that are few enough to count by hand."""

import json

import cv2
import datasets
import numpy as np
import pandas as pd
import pytest

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.training.figures import FAINT, RIGHT, WRONG
from cannabis_ml.pipelines.training.nodes import (
    draw_confusion_matrices,
    draw_prediction_sheet,
    score_predictions,
)
from cannabis_ml.taxonomy import Taxonomy

LABELS = ["type", "grade", "look.mould", "look.seeds"]
FEATURES = datasets.Features(
    {
        "photo_id": datasets.Value("string"),
        "image": datasets.Image(),
        "split": datasets.Value("string"),
        "type": datasets.Value("string"),
        "grade": datasets.Value("string"),
        "look.mould": datasets.Value("int8"),
        "look.seeds": datasets.Value("int8"),
    }
)
LEVELS = {"a": 10, "b": 60, "c": 110, "d": 160, "v": 210, "t": 250}
"""How bright each photo is, all over."""


def grey(level):
    pixels = np.full((8, 12, 3), level, np.uint8)
    return {"bytes": cv2.imencode(".png", pixels)[1].tobytes(), "path": None}


def photos_of(rows):
    names = list(FEATURES)
    table = [dict(zip(names, row, strict=True)) for row in rows]
    return PhotoSet(datasets.Dataset.from_list(table, features=FEATURES))


@pytest.fixture(scope="module")
def taxonomy():
    heads = [
        {"name": "type", "classes": ["plant", "hash", "oil"]},
        {"name": "grade", "kind": "ordinal", "classes": ["good", "fair", "poor"]},
        {"name": "look", "kind": "multilabel", "classes": ["mould", "seeds"]},
    ]
    return Taxonomy.model_validate({"heads": heads})


@pytest.fixture(scope="module")
def photo_set():
    return photos_of(
        [
            ("t", grey(LEVELS["t"]), "train", "oil", "good", 1, 1),
            ("a", grey(LEVELS["a"]), "test", "plant", "good", 1, 0),
            ("b", grey(LEVELS["b"]), "test", "hash", "poor", 0, 1),
            ("v", grey(LEVELS["v"]), "validation", "oil", "poor", 0, 0),
            ("c", grey(LEVELS["c"]), "test", "plant", None, None, None),
            ("d", grey(LEVELS["d"]), "test", None, "fair", 0, None),
        ]
    )


@pytest.fixture(scope="module")
def predictions():
    """In another order than the photos; the one for validation is wrong throughout."""
    rows = [
        ("d", "test", [0.0, 0.1, 0.9], [0.2, 0.6, 0.2], [0.3, 0.9]),
        ("v", "validation", [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0]),
        ("c", "test", [0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.7, 0.1]),
        # The median of b's and a's grades is poor and fair, a's most probable grade is good.
        ("b", "test", [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.6, 0.5]),
        ("a", "test", [0.7, 0.2, 0.1], [0.4, 0.2, 0.4], [0.9, 0.4]),
    ]
    return pd.DataFrame(rows, columns=["photo_id", "split", "type", "grade", "look"])


@pytest.fixture
def scored(predictions, photo_set, taxonomy):
    return score_predictions(predictions, photo_set, taxonomy)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_only_test_photos_are_scored(scored):
    metrics, _ = scored
    assert metrics.split == "test"
    assert metrics.photos == 4
    # Each lacks the labels of one photo; c has none of its looks, d one.
    assert {name: head.n for name, head in metrics.heads.items()} == {
        "type": 3,
        "grade": 3,
        "look": 3,
    }


def test_heads_stand_in_order_with_their_kinds(scored):
    metrics, _ = scored
    kinds = [(name, head.kind) for name, head in metrics.heads.items()]
    assert kinds == [("type", "multiclass"), ("grade", "ordinal"), ("look", "multilabel")]


def without_intervals(scores):
    return {name: value for name, value in scores if not name.endswith("_interval")}


def test_type_by_hand(scored):
    # a plant -> plant, b hash -> plant, c plant -> plant; d has no label.
    found = scored[0].heads["type"]
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.macro_f1 == pytest.approx((0.8 + 0) / 2)
    plant = {"precision": 2 / 3, "recall": 1, "f1": 0.8, "support": 2, "predicted": 3, "error": 0}
    plant |= {"groups": 2, "recall_per_group": 1}  # each photo is a group
    assert without_intervals(found.per_class["plant"]) == pytest.approx(plant)
    hash_ = {"precision": None, "recall": 0, "f1": 0, "support": 1, "predicted": 0, "error": 1}
    hash_ |= {"groups": 1, "recall_per_group": 0}
    assert without_intervals(found.per_class["hash"]) == hash_


def test_grade_by_hand(scored):
    # a good -> fair, b poor -> poor, d fair -> fair; c has no label.
    found = scored[0].heads["grade"]
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.mean_absolute_error == pytest.approx(1 / 3)
    # One squared step where chance would make (6 + 2 + 1) / 3 of them.
    assert found.quadratic_weighted_kappa == pytest.approx(1 - 1 / 3)


def test_look_by_hand(scored):
    # mould: a there, said so; b absent, said there; d absent, said so. Seeds: both right.
    found = scored[0].heads["look"]
    assert found.accuracy == pytest.approx(4 / 5)
    assert found.mean_average_precision == 1
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    mould = {
        "precision": 1 / 2,
        "recall": 1,
        "recall_per_group": 1,
        "f1": 2 / 3,
        "support": 1,
        "groups": 1,
        "predicted": 2,
        "error": (0 + 1 / 2) / 2,
        "n": 3,
        "threshold": 0.5,
        "specificity": 1 / 2,
        "average_precision": 1,
    }
    assert without_intervals(found.per_class["mould"]) == pytest.approx(mould)
    assert found.per_class["seeds"].n == 2


def test_table_has_a_row_per_head_and_class(scored):
    metrics, table = scored
    assert list(zip(table["head"], table["class"], strict=True)) == [
        ("type", "plant"),
        ("type", "hash"),
        ("type", "oil"),
        ("grade", "good"),
        ("grade", "fair"),
        ("grade", "poor"),
        ("look", "mould"),
        ("look", "seeds"),
    ]
    assert table["support"].tolist() == [2, 1, 0, 1, 1, 1, 1, 1]
    for row in table.to_dict("records"):
        values = metrics.heads[row["head"]].per_class[row["class"]]
        for name, value in without_intervals(values).items():
            assert pd.isna(row[name]) if value is None else row[name] == value
        for name in ("precision", "recall", "f1"):
            ends = getattr(values, f"{name}_interval") or (None, None)
            for end, side in zip(ends, ("low", "high"), strict=True):
                there = row[f"{name}_{side}"]
                assert pd.isna(there) if end is None else there == end


def test_metrics_are_plain_json(scored):
    metrics, _ = scored
    text = json.dumps(metrics.model_dump(mode="json"), allow_nan=False)
    assert type(metrics).model_validate_json(text) == metrics


def test_without_test_photos_nothing_is_known(predictions, photo_set, taxonomy):
    metrics, table = score_predictions(
        predictions[predictions["split"] == "validation"], photo_set, taxonomy
    )
    assert metrics.photos == 0
    assert {head.accuracy for head in metrics.heads.values()} == {None}
    assert table["support"].tolist() == [0] * 8


def test_order_of_predictions_changes_nothing(predictions, photo_set, taxonomy, scored):
    again = score_predictions(predictions.iloc[::-1], photo_set, taxonomy)
    assert again[0] == scored[0]
    pd.testing.assert_frame_equal(again[1], scored[1])


def test_confusion_matrices_count_test_photos_by_hand(predictions, photo_set, taxonomy):
    figures = draw_confusion_matrices(predictions, photo_set, taxonomy)
    assert list(figures) == ["type", "grade", "look"]
    titles = [figure.axes[0].get_title(loc="left") for figure in figures.values()]
    assert titles == [
        "type: 2 of 3 test photos right",
        "grade: 2 of 3 test photos right",
        "look: 4 of 5 attributes right, test split",
    ]
    shares = {
        name: np.asarray(figure.axes[0].images[0].get_array()) for name, figure in figures.items()
    }
    np.testing.assert_array_equal(shares["type"], [[1, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(shares["grade"], [[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    # There and said so, absent and said there, there and missed, absent and said so.
    np.testing.assert_array_equal(shares["look"], [[1, 0.5, 0, 0.5], [1, 0, 0, 1]])
    assert sorted(texts(figures["type"])) == ["1", "2"]


@pytest.fixture
def sheet(predictions, photo_set, taxonomy):
    """The axes of the prediction sheet by photo."""
    figure = draw_prediction_sheet(predictions, photo_set, taxonomy)
    by_level = {level: name for name, level in LEVELS.items()}
    shown = [axes for axes in figure.axes if axes.images]
    return {by_level[int(axes.images[0].get_array()[0, 0, 0])]: axes for axes in shown}


def test_sheet_shows_every_test_photo_once(sheet):
    assert list(sheet) == ["d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (
            "a",
            [
                ("plant 70%", RIGHT),
                ("fair or better 60% (good)", WRONG),
                ("2 of 2 attributes", RIGHT),
            ],
        ),
        ("b", [("plant 60% (hash)", WRONG), ("poor 70%", RIGHT)]),
        ("c", [("plant 50%", RIGHT), ("good 80%", FAINT), ("1 attributes", FAINT)]),
        ("d", [("oil 90%", FAINT), ("fair or better 80%", RIGHT), ("1 of 1 attributes", RIGHT)]),
    ],
)
def test_sheet_shows_predictions_beside_labels(sheet, photo, expected):
    told = [(text.get_text(), text.get_color()) for text in sheet[photo].texts]
    assert told[: len(expected)] == expected


def test_sheet_counts_right_attributes(sheet):
    text = sheet["b"].texts[2]
    assert text.get_text() == "1 of 2 attributes"
    assert text.get_color() != RIGHT


def test_sheet_of_many_photos_is_spread_over_the_split(taxonomy):
    levels = range(0, 250, 5)
    photo_set = photos_of([(f"{n}", grey(n), "test", "plant", "good", 0, 0) for n in levels])
    probs = {"type": [1.0, 0, 0], "grade": [1.0, 0, 0], "look": [0.0, 0]}
    rows = [{"photo_id": f"{n}", "split": "test", **probs} for n in levels]
    figure = draw_prediction_sheet(pd.DataFrame(rows), photo_set, taxonomy)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes]
    assert len(shown) == 24
    assert (shown[0], shown[-1]) == (0, 245)
    assert set(np.diff(shown)) == {10, 15}
