"""Training, prediction, metrics, comparison of the tiers, figures."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.evaluation.experts import ExpertsReport
from cannabis_ml.evaluation.gain import DistillationReport
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.scores import Evaluation
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe_choice import ChosenRecipe
from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

_REPORTS = ReportParams()


def gather_training_data(
    photo_set: PhotoSet,
    augmented_photos: PhotoSet,
    balanced_rows: pd.DataFrame,
    taxonomy: Taxonomy,
) -> TrainingData:
    """Put together what every tier is trained on. No pixels are read.

    Args:
        photo_set: Stored photos of all splits; `validation` chooses the best epoch.
        augmented_photos: Copies of training photos.
        balanced_rows: Rows of `photo_set` in an epoch, repeated if oversampled, and loss weights.
        taxonomy: The heads.

    Raises:
        TrainingError: If the rows were chosen from another photo set.
    """
    return TrainingData.balanced(photo_set, taxonomy, balanced_rows, augmented_photos)


def apply_recipe(
    model: ModelParams, schedule: Schedule, chosen_recipe: ChosenRecipe, tier: str
) -> tuple[ModelParams, Schedule]:
    """Give a tier the sides, epochs and backbone of the recipe; as configured without minutes.

    Args:
        model: As configured.
        schedule: As configured.
        chosen_recipe: What fits into the minutes of the run.
        tier: Name of the tier.
    """
    return chosen_recipe.model_of(tier, model), chosen_recipe.schedule_of(tier, schedule)


def train_model(
    training_data: TrainingData,
    model: ModelParams,
    training: TrainingParams,
    schedule: Schedule,
    start: Checkpoint | None,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one network with a head per head of the taxonomy, on labels alone.

    Resumes an interrupted training of the same data, parameters and code.

    Args:
        training_data: The photos.
        model: The network and its pretrained weights.
        training: Parameters that all tiers share.
        schedule: The training schedule.
        start: Checkpoint whose weights the training starts from; None: pretrained weights.
        workspace: Folder for states to resume from and cached features.
        tier: Name of the tier; metrics of its epochs are logged under it.

    Returns:
        The checkpoint with the lowest validation loss, and a row per epoch.

    Raises:
        WeightsError: If no configured source has weights for the backbone.
        TrainingError: If `start` does not fit the model, the loss is NaN, or disk or memory is
            full; the message gives the step and the remedy.
    """
    from cannabis_ml.training.train import fit

    _check_experts(model, training_data.taxonomy)
    return fit(training_data, TrainingPlan(model, training, schedule, start), workspace, tier)


def train_student(
    training_data: TrainingData,
    teacher: pd.DataFrame,
    model: ModelParams,
    training: TrainingParams,
    schedule: Schedule,
    start: Checkpoint | None,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, pd.DataFrame, DistillationReport]:
    """Train one network on labels and on a teacher's predictions for the same photos.

    Args:
        training_data: As for `train_model`.
        teacher: Its predictions for every split.
        model: As for `train_model`.
        training: As for `train_model`.
        schedule: As for `train_model`; `distillation` holds the teacher's weight in the loss.
        start: As for `train_model`.
        workspace: As for `train_model`.
        tier: As for `train_model`.

    Returns:
        As `train_model`; and metrics on the test split of the teacher, the student and, if
        configured, a student trained without the teacher, with the gain.

    Raises:
        WeightsError: As `train_model`.
        TrainingError: As `train_model`; and if a training photo has no prediction of the teacher.
    """
    from cannabis_ml.training.distillation import fit_student

    _check_experts(model, training_data.taxonomy)
    plan = TrainingPlan(model, training, schedule, start)
    return fit_student(training_data.taught_by(teacher), plan, workspace, tier)


def add_experts(
    single_checkpoint: Checkpoint,
    training_data: TrainingData,
    model: ModelParams,
    training: TrainingParams,
    schedule: Schedule,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, ExpertsReport]:
    """Train a network of its own for each class of a parent head, if configured.

    Args:
        single_checkpoint: The trained network for all.
        training_data: As for `train_model`.
        model: As for `train_model`; `experts` names the head that they answer.
        training: As for `train_model`.
        schedule: As for `train_model`.
        workspace: As for `train_model`.
        tier: As for `train_model`.

    Returns:
        The network with its experts, or alone; and how both compare on the test split.

    Raises:
        TrainingError: As `train_model`; and if experts cannot answer the head.
    """
    if model.experts is None:
        return single_checkpoint, ExpertsReport()
    from cannabis_ml.training.experts import add_experts as train_experts

    plan = TrainingPlan(model, training, schedule)
    return train_experts(single_checkpoint, training_data, plan, workspace, tier)


def _check_experts(model: ModelParams, taxonomy: Taxonomy) -> None:
    """Refuse a head that experts cannot answer before hours are spent on the network for all."""
    if model.experts is not None:
        from cannabis_ml.training.experts import head_of_experts

        head_of_experts(taxonomy, model.experts.head)


def predict_photos(
    checkpoint: Checkpoint,
    photo_set: PhotoSet,
    training: TrainingParams,
    engine: Engine = THREADS,
    workspace: Path | None = None,
) -> pd.DataFrame:
    """Predict every photo of every split with the trained network.

    Args:
        checkpoint: The trained network.
        photo_set: Stored photos.
        training: Gives batch size, workers and accelerator.
        engine: On a cluster, its CPUs predict.
        workspace: Folder with features that training has kept.

    Returns:
        One row per photo: `photo_id`, `split`; per head `{head}.label`, its probabilities, a list
        of K float32 in class order, `{head}.logits` of all members, `{head}.aleatoric` and
        `{head}.epistemic`; and `embedding`.
    """
    from cannabis_ml.training.predict import predict

    return predict(checkpoint, photo_set, training=training, engine=engine, workspace=workspace)


def score_predictions(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    reports: ReportParams = _REPORTS,
) -> tuple[Evaluation, pd.DataFrame]:
    """Compute metrics on the test split.

    Thresholds of attributes are chosen on the validation split.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        reports: The error above which a class is named, and the confidence of intervals.

    Returns:
        The evaluation, and a table with a row per head and class, intervals as two columns.
    """
    from cannabis_ml.evaluation.metrics import evaluate
    from cannabis_ml.evaluation.tables import class_table
    from cannabis_ml.evaluation.thresholds import choose_thresholds

    labels = photo_set.labels()
    validation = predictions[predictions["split"] == Split.VALIDATION]
    evaluation = evaluate(
        predictions,
        labels,
        taxonomy,
        choose_thresholds(validation, labels, taxonomy, fewest=reports.threshold_photos),
        reports,
    )
    for name, scores in evaluation.heads.items():
        if scores.n:
            logger.info("%s: %s", name, scores.in_words)
    return evaluation, class_table(evaluation.heads)


def keep_decision(test_metrics: Evaluation) -> DecisionRule:
    """Extract the decision rule of the metrics, which model files carry to clients.

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
    """Draw the confusion matrix of every head on the test split.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds of attributes; 0.5 without it.
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
    """Draw precision, recall and F1 per class, a figure per head."""
    from cannabis_ml.pipelines.training.figures import head_report

    return {name: head_report(name, test_metrics) for name in test_metrics.heads}


def draw_mistakes(
    predictions: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    test_metrics: Evaluation,
    reports: ReportParams = _REPORTS,
) -> dict[str, Figure]:
    """Draw the most confident mistakes on the test split, a sheet per head.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds of attributes.
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
        test_metrics: Holds the thresholds of attributes; 0.5 without it.
    """
    from cannabis_ml.pipelines.training.sheets import prediction_sheet

    thresholds = test_metrics.thresholds if test_metrics else None
    return prediction_sheet(predictions, photo_set, taxonomy, thresholds)


def compare_tiers(**test_metrics: Evaluation) -> tuple[pd.DataFrame, Figure]:
    """Compare the metrics of tiers, or of any models evaluated on the same photos.

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
