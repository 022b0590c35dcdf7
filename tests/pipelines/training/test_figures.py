import numpy as np
import pandas as pd
import pytest

from cannabis_ml.pipelines.training.figures import confusion_matrix, training_curves
from cannabis_ml.taxonomy import Head

TYPE = Head(name="type", classes=["plant", "hash"])
LOOK = Head(name="look", kind="multilabel", classes=["mould", "seeds", "stems"])


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_matrix_writes_counts_and_names():
    figure = confusion_matrix(np.array([[8, 2], [0, 5]]), TYPE)
    axes = figure.axes[0]
    assert sorted(texts(figure)) == ["2", "5", "8"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plant", "hash"]
    assert "13 of 15" in axes.get_title(loc="left")


def test_confusion_colours_are_shares_of_the_true_class():
    figure = confusion_matrix(np.array([[8, 2], [0, 5]]), TYPE)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.8, 0.2], [0, 1]])


def test_attribute_matrix_relates_to_photos_that_have_or_lack_it():
    # Columns: true positives, false positives, false negatives, true negatives.
    counts = np.array([[3, 2, 1, 8], [0, 0, 0, 0], [0, 0, 4, 6]])
    figure = confusion_matrix(counts, LOOK)
    expected = [[0.75, 0.2, 0.25, 0.8], [0, 0, 0, 0], [0, 0, 1, 1]]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected)


@pytest.mark.parametrize("classes", [2, 40])
def test_no_class_name_is_cut_off(classes, tmp_path):
    names = [f"Species number {i} with a long condition" for i in range(classes)]
    figure = confusion_matrix(np.eye(classes, dtype=int), Head(name="label", classes=names))
    figure.savefig(tmp_path / "figure.png")
    inside = figure.get_tightbbox()
    assert inside.x0 >= -0.01
    assert inside.y0 >= -0.01


def test_training_curves_mark_the_epoch_that_is_kept():
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train_loss": [1.0, 0.6, 0.3],
            "validation_loss": [0.9, 0.5, 0.7],
            "validation_type_accuracy": [0.4, 0.8, 0.7],
        }
    )
    figure = training_curves(history)
    marked = [line for line in figure.axes[0].lines if line.get_label() == "epoch kept"]
    assert marked[0].get_xdata()[0] == 1
    assert "type accuracy" in figure.axes[1].get_legend_handles_labels()[1]
