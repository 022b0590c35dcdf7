"""Train, predict, score, compare, draw."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.evaluation.scores import Evaluation
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.training.params import ReportParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe import Recipe, TrainingParams

logger = logging.getLogger(__name__)

_REPORTS = ReportParams()


def train_model(  # noqa: PLR0913, PLR0917
    photo_set: PhotoSet,
    augmented_photos: PhotoSet,
    balanced_rows: pd.DataFrame,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    recipe: Recipe,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one network with a head per head of the taxonomy, from labels alone.

    Goes on where the very same training was interrupted.

    Args:
        photo_set: Stored photos of all splits; trained on `train`, chosen by `validation`.
        augmented_photos: Copies of training photos.
        balanced_rows: Which rows of `photo_set` an epoch shows, how often, and what they weigh.
        taxonomy: The heads.
        model: The network and where its starting weights come from.
        training: What all tiers share.
        recipe: What learns when.
        workspace: Folder for states to resume from and features computed once.
        tier: Name of the tier; metrics of its epochs are logged under it.

    Returns:
        The checkpoint with the lowest validation loss, and a row per epoch.

    Raises:
        WeightsError: If no configured source has weights for the backbone.
        TrainingError: If the loss stops being a number, or disk or memory is full; says when, and
            what to do.
    """
    from cannabis_ml.training.train import fit

    return fit(
        photo_set,
        taxonomy,
        model,
        training,
        recipe,
        augmented_photos=augmented_photos,
        balanced_rows=balanced_rows,
        workspace=workspace,
        log_as=tier,
    )


def train_student(  # noqa: PLR0913, PLR0917
    photo_set: PhotoSet,
    augmented_photos: PhotoSet,
    balanced_rows: pd.DataFrame,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    recipe: Recipe,
    teacher: pd.DataFrame,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, pd.DataFrame, dict[str, Any]]:
    """Train one network from labels and from a teacher's answers for the same photos.

    Args:
        photo_set: As for `train_model`.
        augmented_photos: As for `train_model`.
        balanced_rows: As for `train_model`.
        taxonomy: As for `train_model`.
        model: As for `train_model`.
        training: As for `train_model`.
        recipe: As for `train_model`; `distillation` says how much the teacher counts.
        teacher: Its predictions for every split.
        workspace: As for `train_model`.
        tier: As for `train_model`.

    Returns:
        As `train_model`; and what the teacher, the student and, if asked for, the student without
        a teacher score on the test split, with the gain.

    Raises:
        WeightsError: As `train_model`.
        TrainingError: As `train_model`; and if the teacher did not see all training photos.
    """
    from cannabis_ml.training.distillation import fit_student

    return fit_student(
        photo_set,
        taxonomy,
        model,
        training,
        recipe,
        teacher,
        augmented_photos=augmented_photos,
        balanced_rows=balanced_rows,
        workspace=workspace,
        log_as=tier,
    )


def predict_photos(
    checkpoint: Checkpoint, photo_set: PhotoSet, training: TrainingParams
) -> pd.DataFrame:
    """Let the trained network answer for every photo of every split.

    Args:
        checkpoint: The trained network.
        photo_set: Stored photos.
        training: Batch size, workers and accelerator are taken from it.

    Returns:
        One row per photo: `photo_id`, `split`; per head `{head}.label`, its probabilities, a list
        of K float32 in class order, `{head}.logits` of all members and `{head}.uncertainty`; and
        `embedding`.
    """
    from cannabis_ml.training.predict import predict

    return predict(
        checkpoint,
        photo_set,
        batch_size=training.batch_size,
        workers=training.workers,
        accelerator=training.accelerator,
    )


def score_predictions(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    reports: ReportParams = _REPORTS,
) -> tuple[Evaluation, pd.DataFrame]:
    """Compare the predictions for the test split with its labels.

    Attributes are predicted from thresholds on that are chosen on the validation split.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        reports: From which error on a class is named, and how sure intervals are.

    Returns:
        The evaluation, and a table with a row per head and class, intervals as two columns.
    """
    from cannabis_ml.evaluation.metrics import evaluate
    from cannabis_ml.evaluation.tables import class_table
    from cannabis_ml.evaluation.thresholds import choose_thresholds

    labels = photo_set.labels()
    validation = predictions[predictions["split"] == Split.VALIDATION]
    found = evaluate(
        predictions,
        labels,
        taxonomy,
        choose_thresholds(validation, labels, taxonomy, fewest=reports.threshold_photos),
        confidence=reports.confidence,
        error_limit=reports.error_limit,
    )
    for name, scores in found.heads.items():
        if scores.n:
            logger.info("%s: %s", name, scores.in_words)
    return found, class_table(found.heads)


def keep_decision(test_metrics: Evaluation) -> DecisionRule:
    """Keep the decision that was scored: files of the network carry it, and clients decide by it.

    Args:
        test_metrics: As `score_predictions` gives them.
    """
    return DecisionRule(thresholds=test_metrics.thresholds)


def draw_training_curves(history: pd.DataFrame) -> Figure:
    """Draw losses and validation metrics over the epochs."""
    from cannabis_ml.pipelines.training.figures import training_curves

    return training_curves(history)


def draw_confusion_matrices(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    test_metrics: Evaluation | None = None,
) -> dict[str, Figure]:
    """Draw which class of the test split was taken for which, a figure per head.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds that were chosen for attributes; 0.5 without it.
    """
    from cannabis_ml.evaluation.metrics import confusion
    from cannabis_ml.pipelines.training.figures import confusion_matrix

    test = predictions[predictions["split"] == Split.TEST]
    labels = photo_set.labels()
    thresholds = test_metrics.thresholds if test_metrics else None
    return {
        head.name: confusion_matrix(confusion(test, labels, head, thresholds, taxonomy), head)
        for head in taxonomy.heads
    }


def draw_head_reports(test_metrics: Evaluation) -> dict[str, Figure]:
    """Draw how good each head is, class by class and in words, a figure per head."""
    from cannabis_ml.pipelines.training.figures import head_report

    return {name: head_report(name, test_metrics) for name in test_metrics.heads}


def draw_mistakes(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    test_metrics: Evaluation,
    reports: ReportParams = _REPORTS,
) -> dict[str, Figure]:
    """Draw the test photos of the most confident mistakes, a sheet per head.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds that were chosen for attributes.
        reports: How many photos.
    """
    from cannabis_ml.evaluation.mistakes import confident_mistakes
    from cannabis_ml.pipelines.training.sheets import mistakes_sheet

    test = predictions[predictions["split"] == Split.TEST]
    labels = photo_set.labels()
    return {
        head.name: mistakes_sheet(
            confident_mistakes(test, labels, head, taxonomy, test_metrics.thresholds),
            photo_set,
            head,
            reports.mistakes,
        )
        for head in taxonomy.heads
    }


def draw_prediction_sheet(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    test_metrics: Evaluation | None = None,
) -> Figure:
    """Draw test photos with predictions and labels.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds that were chosen for attributes; 0.5 without it.
    """
    from cannabis_ml.pipelines.training.sheets import prediction_sheet

    thresholds = test_metrics.thresholds if test_metrics else None
    return prediction_sheet(predictions, photo_set, taxonomy, thresholds)


def compare_tiers(**test_metrics: Evaluation) -> tuple[pd.DataFrame, Figure]:
    """Put the tiers, or any models that were scored on the same photos, side by side.

    Args:
        **test_metrics: Per name of a tier its evaluation, as `score_predictions` gives it.

    Returns:
        A table with a row per head and metric, as from `evaluation.tables.compare`, and the table
        as a figure.
    """
    from cannabis_ml.evaluation.tables import compare
    from cannabis_ml.pipelines.training.figures import tier_comparison

    table = compare(test_metrics)
    return table, tier_comparison(table, list(test_metrics))
