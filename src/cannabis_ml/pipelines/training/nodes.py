"""Train, predict, score, compare, draw."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from cannabis_ml._io.heavy_types import Dataset, Figure
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import labels_of
from cannabis_ml.pipelines.training.params import ReportParams
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe import Recipe, TrainingParams

logger = logging.getLogger(__name__)

_REPORTS = ReportParams()

_COMPARED = {
    "heads": {
        "accuracy": "higher",
        "accuracy_per_group": "higher",
        "balanced_accuracy": "higher",
        "macro_f1": "higher",
        "quadratic_weighted_kappa": "higher",
        "mean_absolute_error": "lower",
        "mean_average_precision": "higher",
    },
    "hierarchy": {
        "joint_accuracy": "higher",
        "joint_accuracy_per_group": "higher",
        "parent_accuracy": "higher",
        "impossible_pairs": "lower",
    },
}
"""Metrics by which tiers are compared, per part of the metrics, and which way is better."""


def train_model(  # noqa: PLR0913, PLR0917
    photo_set: Dataset,
    augmented_photos: Dataset,
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
    photo_set: Dataset,
    augmented_photos: Dataset,
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
    checkpoint: Checkpoint, photo_set: Dataset, training: TrainingParams
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
    photo_set: Dataset,
    taxonomy: Taxonomy,
    reports: ReportParams = _REPORTS,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare the predictions for the test split with its labels.

    Attributes are said to be there from thresholds chosen on the validation split.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        reports: From which error on a class is named, and how sure intervals are.

    Returns:
        Metrics as nested numbers, `heads.<head>.<metric>` as from `metrics.score`, with the
        `worst_classes` of each head as a list and `in_words`, `hierarchy.<child head>.<metric>`
        and, for the figures, `thresholds.<head>.<class>`; and a table with a row per head and
        class, intervals as two columns.
    """
    from cannabis_ml.evaluation import metrics

    labels = labels_of(photo_set)
    test = predictions[predictions["split"] == "test"]
    validation = predictions[predictions["split"] == "validation"]
    thresholds = metrics.choose_thresholds(
        validation, labels, taxonomy, fewest=reports.threshold_photos
    )
    scores = metrics.score(test, labels, taxonomy, thresholds, reports.confidence)
    heads = {}
    for head in taxonomy.heads:
        worst = metrics.worst_classes(scores[head.name], reports.error_limit)
        heads[head.name] = {
            "kind": head.kind,
            "in_words": metrics.in_words(worst, reports.error_limit),
            **scores[head.name],
            "worst_classes": worst,
        }
        if scores[head.name]["n"]:
            logger.info("%s: %s", head.name, heads[head.name]["in_words"])
    hierarchy = metrics.score_hierarchy(test, labels, taxonomy, reports.confidence)
    found = {
        "split": "test",
        "photos": len(test),
        "groups": metrics.count_groups(test, labels),
        "confidence": reports.confidence,
        "error_limit": reports.error_limit,
        "heads": heads,
        "hierarchy": hierarchy,
        "thresholds": thresholds,
    }
    return found, _class_table(heads)


def keep_decision(test_metrics: dict[str, Any]) -> DecisionRule:
    """Keep the decision that was scored: files of the network carry it, and clients decide by it.

    Args:
        test_metrics: As `score_predictions` gives them.
    """
    return DecisionRule(thresholds=test_metrics["thresholds"])


def draw_training_curves(history: pd.DataFrame) -> Figure:
    """Draw losses and validation metrics over the epochs."""
    from cannabis_ml.pipelines.training.figures import training_curves

    return training_curves(history)


def draw_confusion_matrices(
    predictions: pd.DataFrame,
    photo_set: Dataset,
    taxonomy: Taxonomy,
    test_metrics: dict[str, Any] | None = None,
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

    test = predictions[predictions["split"] == "test"]
    labels = labels_of(photo_set)
    thresholds = (test_metrics or {}).get("thresholds")
    return {
        head.name: confusion_matrix(confusion(test, labels, head, thresholds, taxonomy), head)
        for head in taxonomy.heads
    }


def draw_head_reports(test_metrics: dict[str, Any]) -> dict[str, Figure]:
    """Draw how good each head is, class by class and in words, a figure per head."""
    from cannabis_ml.pipelines.training.figures import head_report

    return {name: head_report(name, test_metrics) for name in test_metrics["heads"]}


def draw_mistakes(
    predictions: pd.DataFrame,
    photo_set: Dataset,
    taxonomy: Taxonomy,
    test_metrics: dict[str, Any],
    reports: ReportParams = _REPORTS,
) -> dict[str, Figure]:
    """Draw the test photos on which the model was most sure and wrong, a sheet per head.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds that were chosen for attributes.
        reports: How many photos.
    """
    from cannabis_ml.evaluation.metrics import confident_mistakes
    from cannabis_ml.pipelines.training.figures import mistakes_sheet

    test = predictions[predictions["split"] == "test"]
    labels = labels_of(photo_set)
    return {
        head.name: mistakes_sheet(
            confident_mistakes(test, labels, head, taxonomy, test_metrics["thresholds"]),
            photo_set,
            head,
            reports.mistakes,
        )
        for head in taxonomy.heads
    }


def draw_prediction_sheet(
    predictions: pd.DataFrame,
    photo_set: Dataset,
    taxonomy: Taxonomy,
    test_metrics: dict[str, Any] | None = None,
) -> Figure:
    """Draw test photos with what was said of them and what is true.

    Args:
        predictions: As `predict_photos` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        test_metrics: Holds the thresholds that were chosen for attributes; 0.5 without it.
    """
    from cannabis_ml.pipelines.training.figures import prediction_sheet

    thresholds = (test_metrics or {}).get("thresholds")
    return prediction_sheet(predictions, photo_set, taxonomy, thresholds)


def compare_tiers(**test_metrics: dict[str, Any]) -> tuple[pd.DataFrame, Figure]:
    """Put the tiers, or any models that were scored on the same photos, side by side.

    Args:
        **test_metrics: Per name of a tier its metrics, as `score_predictions` gives them.

    Returns:
        A table with a row per head and metric: head, metric, better (`higher` or `lower`), photos,
        groups that these fall into, and per tier its value and, where there is one, the ends of
        its interval (`<tier>_low`, `<tier>_high`); and the table as a figure.
    """
    from cannabis_ml.pipelines.training.figures import tier_comparison

    table = pd.DataFrame(_comparison_rows(test_metrics))
    return table, tier_comparison(table, list(test_metrics))


def _class_table(heads: dict[str, Any]) -> pd.DataFrame:
    """A row per head and class; `x_interval` becomes `x_low` and `x_high`."""
    rows = []
    for head, scores in heads.items():
        for name, values in scores["per_class"].items():
            row: dict[str, Any] = {"head": head, "class": name}
            for key, value in values.items():
                if key.endswith("_interval"):
                    measure = key.removesuffix("_interval")
                    row[f"{measure}_low"], row[f"{measure}_high"] = value or (None, None)
                else:
                    row[key] = value
            rows.append(row)
    return pd.DataFrame(rows)


def _comparison_rows(tiers: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of `compare_tiers`, in the order of heads and of `_COMPARED`."""
    for part in ("heads", "hierarchy"):
        sections: dict[str, None] = {}
        for metrics in tiers.values():
            sections |= dict.fromkeys(metrics.get(part, {}))
        for section in sections:
            per_tier = {t: m.get(part, {}).get(section, {}) for t, m in tiers.items()}
            for metric, better in _COMPARED[part].items():
                values = {tier: found.get(metric) for tier, found in per_tier.items()}
                if all(value is None for value in values.values()):
                    continue
                row: dict[str, Any] = {"head": section, "metric": metric, "better": better}
                row["photos"] = max(found.get("n", 0) for found in per_tier.values())
                row["groups"] = max(found.get("groups", 0) for found in per_tier.values())
                if metric.endswith("_per_group") and row["groups"] == row["photos"]:
                    continue  # the same as per photo
                for tier, value in values.items():
                    ends = per_tier[tier].get(f"{metric}_interval") or (None, None)
                    row |= {tier: value, f"{tier}_low": ends[0], f"{tier}_high": ends[1]}
                yield row
