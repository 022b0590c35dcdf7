"""Outputs of model files, calibrators, scores of what ships."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from tqdm import tqdm

from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.calibration.choices import CalibrationReport
from cannabis_ml.errors import CalibrationError
from cannabis_ml.evaluation.calibration_scores import CalibrationComparison
from cannabis_ml.evaluation.judged_photos import evenly_spaced
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.predictions import groups_of, labels_of, outputs_of, predictions_of
from cannabis_ml.evaluation.scores import Evaluation
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.model_file import ModelFile, shipped
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


def predict_with_file(
    models: dict[str, ModelFile], photo_set: PhotoSet, calibration: CalibrationParams
) -> pd.DataFrame:
    """Predict photos with the model file that ships, one by one as a client does.

    Args:
        models: Files of one tier: `float`, and `quantized` where one ships.
        photo_set: Stored photos. Those of the validation, calibration and test splits are
            predicted, and some of the training split, spread evenly over it.
        calibration: How many of the training split.

    Returns:
        One row per photo: `photo_id`, `split`, and per output of the file a list of float32, under
        the output's name; tables are flattened.
    """
    from cannabis_ml.inference.predictor import open_model

    model = models[shipped(models)]
    predictor = open_model(model)
    training = evenly_spaced(photo_set.rows_of(Split.TRAIN), calibration.training_photos)
    held_out = photo_set.rows_of(Split.VALIDATION, Split.CALIBRATION, Split.TEST)
    rows = np.sort(np.concatenate([training, held_out]))
    name = f"{model.card.tier} ({model.quantization})"
    outputs = [
        predictor.outputs([photo_set.pixels(row)], batch_size=1)
        for row in tqdm(rows, desc=f"Predicting with {name}", unit=" photos")
    ]
    table = photo_set.labels("photo_id", "split").iloc[rows].reset_index(drop=True)
    return predictions_of(table, outputs)


def calibrate(
    tier: str,
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    decision: DecisionRule,
    calibration: CalibrationParams,
) -> tuple[DecisionRule, CalibrationReport]:
    """Choose and fit a calibrator per head, on photos that neither training nor test has used.

    Args:
        tier: Name of the tier.
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        decision: The rule of the tier, with thresholds of uncalibrated probabilities.
        calibration: Which calibrators take part, and whether validation photos do.

    Returns:
        The rule with calibrators, and its thresholds moved along; and what was chosen and why.

    Raises:
        CalibrationError: If no photo is in the calibration split.
    """
    from cannabis_ml.calibration.calibrator_choice import choose_calibrators

    splits = calibration.splits
    judged = file_outputs[file_outputs["split"].isin(splits)]
    if judged.empty:
        raise CalibrationError(
            f"No photo is in the {' or '.join(splits)} split, and calibration needs some. Give it"
            " a share under ingestion.split, or set calibration.use_validation."
        )
    choices = choose_calibrators(
        taxonomy, *_with_labels(judged, photo_set, taxonomy), calibration.choice
    )
    for name, choice in choices.items():
        logger.info("%s, %s: %s", tier, name, choice.why)
    rule = decision.calibrated_by(
        {name: choice.calibrator for name, choice in choices.items() if choice.is_calibrated},
        taxonomy,
    )
    return rule, CalibrationReport(splits=[str(split) for split in splits], heads=choices)


def carry_decision(
    models: dict[str, ModelFile], calibrated_decision: DecisionRule
) -> dict[str, ModelFile]:
    """Write the calibrated decision into every file, so that each decides alike on its own.

    Args:
        models: Files of one tier.
        calibrated_decision: As `calibrate` gives it.

    Returns:
        The same models with another card.
    """
    from cannabis_ml.exporting.model_metadata import with_card

    return {
        kind: with_card(model, model.card.model_copy(update={"decision": calibrated_decision}))
        for kind, model in models.items()
    }


def score_file(
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    calibrated_decision: DecisionRule,
    reports: ReportParams,
) -> Evaluation:
    """Compute metrics of the file that ships on the test split, as clients decide.

    Args:
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with their labels.
        taxonomy: The heads.
        calibrated_decision: As `calibrate` gives it.
        reports: The error above which a class is named, and the confidence of intervals.
    """
    from cannabis_ml.evaluation.metrics import evaluate

    return evaluate(
        file_outputs,
        photo_set.labels(),
        taxonomy,
        calibrated_decision,
        reports,
    )


def judge_calibration(
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    decision: DecisionRule,
    calibrated_decision: DecisionRule,
    reports: ReportParams,
) -> CalibrationComparison:
    """Compute the calibration of the file that ships on the test split.

    Args:
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        decision: The rule without calibrators.
        calibrated_decision: As `calibrate` gives it.
        reports: The confidence of intervals.

    Returns:
        Scores per head, before and after calibration.
    """
    from cannabis_ml.calibration.refinement import recalibrated
    from cannabis_ml.evaluation.calibration_scores import score_calibration

    test = file_outputs[file_outputs["split"] == Split.TEST]
    labelled = _with_labels(test, photo_set, taxonomy)
    before, after = (
        score_calibration(
            Decision(taxonomy, rule),
            *labelled,
            recalibrate=recalibrated,
            level=reports.confidence,
        )
        for rule in (decision, calibrated_decision)
    )
    return CalibrationComparison(before=before, after=after)


def pick_reference(
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    calibrated_decision: DecisionRule,
) -> pd.DataFrame:
    """Choose held-out photos that answers after release are compared with.

    Args:
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        calibrated_decision: As `calibrate` gives it.

    Returns:
        As from `reference.reference_photos`.
    """
    from cannabis_ml.feedback.reference import reference_photos

    return reference_photos(file_outputs, photo_set.labels(), taxonomy, calibrated_decision)


def draw_reliability(calibration_scores: CalibrationComparison) -> dict[str, Figure]:
    """Draw how often predictions are right against how sure they were, a figure per head."""
    from cannabis_ml.pipelines.calibration.figures import reliability_diagram

    return {
        name: reliability_diagram(
            name,
            {
                "before calibration": before,
                "after calibration": calibration_scores.after[name],
            },
        )
        for name, before in calibration_scores.before.items()
    }


def _with_labels(
    predictions: pd.DataFrame, photo_set: PhotoSet, taxonomy: Taxonomy
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Outputs, labels and groups of the same photos."""
    labels = photo_set.labels()
    return (
        outputs_of(predictions, taxonomy),
        taxonomy.encode(labels_of(predictions, labels)),
        groups_of(predictions, labels),
    )
