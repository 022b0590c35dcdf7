"""Bands, sets, back-off and the unknown score of a tier, and what they do on test photos."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from tqdm import tqdm

from cannabis_ml._io.photo_files import read_file
from cannabis_ml.calibration.choices import CalibrationReport
from cannabis_ml.calibration.reliability import ReliabilityReport
from cannabis_ml.calibration.tier_answers import routing_head
from cannabis_ml.calibration.unknown_choice import UnknownReport
from cannabis_ml.evaluation.answered import labeled_outputs
from cannabis_ml.evaluation.judged_photos import evenly_spaced
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.predictions import file_outputs_of, predictions_of
from cannabis_ml.evaluation.reliability_scores import ReliabilityScores
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.model_file import ModelFile, shipped
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

UNKNOWN_KIND = "unknown_kind"
"""Column with what an unknown photo shows; no head may be called so."""


def fit_reliability(
    file_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    decision: DecisionRule,
    calibrator_choices: CalibrationReport,
    calibration: CalibrationParams,
) -> tuple[Reliability, ReliabilityReport]:
    """Fit confidence bands, prediction sets and back-off, on the photos that calibrators fit.

    Each photo is calibrated by calibrators that did not see its group, as a new one would be.

    Args:
        file_outputs: As `predict_with_file` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        decision: The rule without calibrators.
        calibrator_choices: As `calibrate` gives them.
        calibration: How each part is fitted, and whether validation photos take part.
    """
    from cannabis_ml.calibration import reliability

    splits = calibration.splits
    photos = labeled_outputs(file_outputs, photo_set.labels(), taxonomy, *splits)
    calibrated = reliability.calibrated_out_of_fold(
        photos,
        taxonomy,
        decision,
        {name: choice.chosen for name, choice in calibrator_choices.heads.items()},
        calibration.choice,
    )
    return reliability.fit_reliability(
        photos, calibrated, taxonomy, calibration, [str(split) for split in splits]
    )


def predict_unknown(
    models: dict[str, ModelFile],
    unknown_photos: pd.DataFrame,
    calibration: CalibrationParams,
) -> pd.DataFrame:
    """Predict unknown photos with the model file that ships.

    Args:
        models: Files of one tier: `float`, and `quantized` where one ships.
        unknown_photos: A row per photo, with `path` and, where there are several kinds, `kind`.
        calibration: How many photos at most.

    Returns:
        As `predict_with_file`, with `unknown_kind` in place of `split`. Files that are not photos
        are left out, and named in the log.
    """
    from cannabis_ml.inference.predictor import as_pixels, open_model
    from cannabis_ml.photos.decode import UnreadableError
    from cannabis_ml.photos.fingerprint import photo_id

    kinds = unknown_photos.get("kind", unknown_photos["source"]).fillna("unknown").astype(str)
    rows = evenly_spaced(np.arange(len(unknown_photos)), calibration.unknown.photos)
    predictor = open_model(models[shipped(models)])
    readable, outputs = [], []
    for row in tqdm(rows, desc="Predicting unknown photos", unit=" photos"):
        try:
            data = read_file(unknown_photos["path"].iloc[row])
            pixels = as_pixels(data, predictor.image_size)
        except (UnreadableError, OSError) as error:
            logger.warning("Left out: %s: %s", unknown_photos["path"].iloc[row], error)
            continue
        outputs.append(predictor.outputs([pixels], batch_size=1))
        readable.append({"photo_id": photo_id(data), UNKNOWN_KIND: kinds.iloc[row]})
    return predictions_of(pd.DataFrame(readable, columns=["photo_id", UNKNOWN_KIND]), outputs)


def choose_unknown(
    file_outputs: pd.DataFrame,
    unknown_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    checkpoint: Checkpoint,
    calibration: CalibrationParams,
) -> tuple[UnknownScore, UnknownReport]:
    """Choose the unknown score of a tier, and the threshold that keeps known photos.

    Args:
        file_outputs: As `predict_with_file` gives them: scores are fitted to training photos, the
            threshold to those of the validation and calibration splits.
        unknown_outputs: As `predict_unknown` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        checkpoint: The network, whose last layer some scores read.
        calibration: The method, or how it is chosen; and the share of known photos kept.

    Raises:
        CalibrationError: If no head is multiclass or ordinal, or the configured method cannot be
            fitted.
    """
    from cannabis_ml.calibration import unknown_choice

    head = routing_head(taxonomy, calibration.unknown.head, "calibration.unknown.head")
    labels = photo_set.labels()
    train = labeled_outputs(file_outputs, labels, taxonomy, Split.TRAIN)
    held_out = labeled_outputs(file_outputs, labels, taxonomy, Split.VALIDATION, Split.CALIBRATION)
    known = unknown_choice.KnownPhotos(
        train.outputs, train.truth[head.name], held_out.outputs, held_out.groups
    )
    return unknown_choice.choose_unknown_score(
        head,
        known,
        _by_kind(unknown_outputs, taxonomy),
        unknown_choice.linear_head(checkpoint.state, checkpoint.card, head),
        calibration.unknown,
    )


def judge_reliability(
    file_outputs: pd.DataFrame,
    unknown_outputs: pd.DataFrame,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    calibrated_decision: DecisionRule,
    reliability: Reliability,
    unknown_score: UnknownScore,
    reports: ReportParams,
) -> ReliabilityScores:
    """Compare what is promised of a tier's answers with what is found on the test split.

    Args:
        file_outputs: As `predict_with_file` gives them.
        unknown_outputs: As `predict_unknown` gives them.
        photo_set: Stored photos with labels and groups.
        taxonomy: The heads.
        calibrated_decision: As `calibrate` gives it.
        reliability: As `fit_reliability` gives it.
        unknown_score: As `choose_unknown` gives it.
        reports: The confidence of intervals.
    """
    from cannabis_ml.evaluation.reliability_scores import score_reliability

    test = labeled_outputs(file_outputs, photo_set.labels(), taxonomy, Split.TEST)
    return score_reliability(
        TierRules(Decision(taxonomy, calibrated_decision), reliability, unknown_score),
        test,
        unknown=_by_kind(unknown_outputs, taxonomy),
        confidence=reports.confidence,
    )


def _by_kind(unknown_outputs: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, dict[str, np.ndarray]]:
    return {
        str(kind): file_outputs_of(rows, taxonomy)
        for kind, rows in unknown_outputs.groupby(UNKNOWN_KIND, sort=True)
    }
