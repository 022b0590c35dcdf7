"""Train, predict, score, draw."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cannabis_ml.datasets.checkpoint import Checkpoint
from cannabis_ml.datasets.photo_set import labels_of
from cannabis_ml.heavy_types import Dataset, Figure
from cannabis_ml.models.params import ModelParams, TrainingParams
from cannabis_ml.taxonomy import Taxonomy

SPLITS_TO_PREDICT = ("validation", "calibration", "test")


def train_model(
    photo_set: Dataset,
    augmented_photos: Dataset,
    balanced_rows: pd.DataFrame,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one network with a head per head of the taxonomy.

    Args:
        photo_set: Stored photos of all splits; trained on `train`, chosen by `validation`.
        augmented_photos: Copies of training photos.
        balanced_rows: Which rows of `photo_set` an epoch shows, how often, and what they weigh.
        taxonomy: The heads.
        model: The network and where its starting weights come from.
        training: The recipe.

    Returns:
        The checkpoint with the lowest validation loss, and a row per epoch.

    Raises:
        WeightsError: If no configured source has weights for the backbone.
        TrainingError: If the loss stops being a number; says when.
    """
    from cannabis_ml.models.train import fit

    return fit(
        photo_set,
        taxonomy,
        model,
        training,
        augmented_photos=augmented_photos,
        balanced_rows=balanced_rows,
    )


def predict_photos(
    checkpoint: Checkpoint, photo_set: Dataset, training: TrainingParams
) -> pd.DataFrame:
    """Let the trained network answer for every photo that it was not trained on.

    Args:
        checkpoint: The trained network.
        photo_set: Stored photos.
        training: Batch size, workers and accelerator are taken from it.

    Returns:
        One row per photo: `photo_id`, `split`, and per head its probabilities, a list of K
        float32 in class order.
    """
    from cannabis_ml.models.train import predict

    return predict(
        checkpoint,
        photo_set,
        splits=SPLITS_TO_PREDICT,
        batch_size=training.batch_size,
        workers=training.workers,
        accelerator=training.accelerator,
    )


def score_predictions(
    predictions: pd.DataFrame, photo_set: Dataset, taxonomy: Taxonomy
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare the predictions for the test split with its labels.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.

    Returns:
        Metrics as nested numbers, `heads.<head>.<metric>`; and a table with a row per head and
        class.
    """
    from cannabis_ml.models.metrics import score

    test = predictions[predictions["split"] == "test"]
    scores = score(test, labels_of(photo_set), taxonomy)
    heads = {head.name: {"kind": head.kind, **scores[head.name]} for head in taxonomy.heads}
    rows = [
        {"head": head, "class": name, **values}
        for head, metrics in heads.items()
        for name, values in metrics.get("per_class", {}).items()
    ]
    return {"split": "test", "photos": len(test), "heads": heads}, pd.DataFrame(rows)


def draw_training_curves(history: pd.DataFrame) -> Figure:
    """Draw losses and validation metrics over the epochs."""
    from cannabis_ml.pipelines.training.figures import training_curves

    return training_curves(history)


def draw_confusion_matrices(
    predictions: pd.DataFrame, photo_set: Dataset, taxonomy: Taxonomy
) -> dict[str, Figure]:
    """Draw which class of the test split was taken for which, a figure per head."""
    from cannabis_ml.models.metrics import confusion
    from cannabis_ml.pipelines.training.figures import confusion_matrix

    test = predictions[predictions["split"] == "test"]
    labels = labels_of(photo_set)
    return {
        head.name: confusion_matrix(confusion(test, labels, head), head) for head in taxonomy.heads
    }


def draw_prediction_sheet(
    predictions: pd.DataFrame, photo_set: Dataset, taxonomy: Taxonomy
) -> Figure:
    """Draw test photos with what was said of them and what is true."""
    from cannabis_ml.pipelines.training.figures import prediction_sheet

    return prediction_sheet(predictions, photo_set, taxonomy)
