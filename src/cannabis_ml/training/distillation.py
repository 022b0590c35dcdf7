"""A student trained by a teacher, and what it gains by that."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from cannabis_ml.evaluation.metrics import score
from cannabis_ml.evaluation.scores import HeadScores
from cannabis_ml.evaluation.tables import value_of
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.predict import predict
from cannabis_ml.training.recipe import Recipe, TrainingParams
from cannabis_ml.training.train import fit

logger = logging.getLogger(__name__)

JUDGED = Split.TEST
"""The split that gains are measured on."""


def fit_student(  # noqa: PLR0913
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    model: ModelParams,
    training: TrainingParams,
    recipe: Recipe,
    teacher: pd.DataFrame,
    *,
    augmented_photos: PhotoSet | None = None,
    balanced_rows: pd.DataFrame | None = None,
    workspace: Path | None = None,
    log_as: str = "",
) -> tuple[Checkpoint, pd.DataFrame, dict[str, Any]]:
    """Train a student from labels and from a teacher's answers for the same photos.

    Args:
        photo_set: As for `fit`.
        taxonomy: As for `fit`.
        model: The student's network.
        training: As for `fit`.
        recipe: As for `fit`; its `distillation` says how much the teacher counts, and whether to
            train once more without it, all else equal.
        teacher: As for `fit`, with the answers for the test split too.
        augmented_photos: As for `fit`.
        balanced_rows: As for `fit`.
        workspace: As for `fit`.
        log_as: As for `fit`; the training without the teacher is logged under
            `{log_as}.without_teacher`.

    Returns:
        Checkpoint and history as from `fit`, and a report: per head and metric on the test split
        the `teacher`, the student `with_teacher` and, if asked for, `without_teacher` and the
        `gain`; each None where it is not known.
    """
    shown: dict[str, Any] = {
        "augmented_photos": augmented_photos,
        "balanced_rows": balanced_rows,
        "workspace": workspace,
    }
    checkpoint, history = fit(
        photo_set, taxonomy, model, training, recipe, teacher=teacher, log_as=log_as, **shown
    )
    distillation = recipe.distillation
    found = {"with_teacher": checkpoint}
    if distillation.compare_without_teacher and distillation.weight > 0:
        logger.info("Training once more without the teacher, to tell what it is worth.")
        alone = f"{log_as}.without_teacher" if log_as else "without_teacher"
        found["without_teacher"], _ = fit(
            photo_set, taxonomy, model, training, recipe, log_as=alone, **shown
        )
    truth = photo_set.labels()
    scores = {"teacher": score(teacher[teacher["split"] == JUDGED], truth, taxonomy)}
    for name, student in found.items():
        answers = predict(
            student,
            photo_set,
            [JUDGED],
            training.batch_size,
            training.workers,
            training.accelerator,
        )
        scores[name] = score(answers, truth, taxonomy)
    heads = {head.name: _compared(scores, head.name) for head in taxonomy.heads}
    report = {
        "split": JUDGED,
        "weight": distillation.weight,
        "temperature": distillation.temperature,
        "heads": heads,
    }
    for name, metrics in heads.items():
        gain = metrics["accuracy"]["gain"]
        if gain is not None:
            judged = scores["teacher"][name]
            logger.info(
                "The teacher adds %+.1f points to the accuracy of %s (%d photos in %d groups).",
                100 * gain,
                name,
                judged.n,
                judged.groups,
            )
    return checkpoint, history, report


def _compared(
    scores: dict[str, dict[str, HeadScores]], head: str
) -> dict[str, dict[str, float | None]]:
    compared = {}
    for metric in ("accuracy", "macro_f1"):
        values = {
            name: value_of(scores[name][head], metric) if name in scores else None
            for name in ("teacher", "with_teacher", "without_teacher")
        }
        taught, untaught = values["with_teacher"], values["without_teacher"]
        both = taught is not None and untaught is not None
        values["gain"] = taught - untaught if both else None  # type: ignore[operator]
        compared[metric] = values
    return compared
