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
from cannabis_ml.splits import Split
from cannabis_ml.training.predict import predict
from cannabis_ml.training.recipe import TrainingPlan
from cannabis_ml.training.train import fit
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

JUDGED = Split.TEST
"""The split that gains are measured on."""


def fit_student(
    data: TrainingData, plan: TrainingPlan, workspace: Path | None = None, log_as: str = ""
) -> tuple[Checkpoint, pd.DataFrame, dict[str, Any]]:
    """Train a student from labels and from a teacher's answers for the same photos.

    Args:
        data: As for `fit`, with a teacher that has predictions for the test split too.
        plan: As for `fit`; the `distillation` of its recipe says how much the teacher counts, and
            whether to train once more without it, all else equal.
        workspace: As for `fit`.
        log_as: As for `fit`; the training without the teacher is logged under
            `{log_as}.without_teacher`.

    Returns:
        Checkpoint and history as from `fit`, and a report: per head and metric on the test split
        the `teacher`, the student `with_teacher` and, if asked for, `without_teacher` and the
        `gain`; each None where it is not known.
    """
    teacher, taxonomy = data.teacher, data.taxonomy
    assert teacher is not None
    checkpoint, history = fit(data, plan, workspace, log_as)
    distillation = plan.recipe.distillation
    found = {"with_teacher": checkpoint}
    if distillation.compare_without_teacher and distillation.weight > 0:
        logger.info("Training once more without the teacher, to tell what it is worth.")
        alone = f"{log_as}.without_teacher" if log_as else "without_teacher"
        found["without_teacher"], _ = fit(data.taught_by(None), plan, workspace, alone)
    truth = data.photos.labels()
    scores = {"teacher": score(teacher[teacher["split"] == JUDGED], truth, taxonomy)}
    for name, student in found.items():
        answers = predict(student, data.photos, [JUDGED], plan.training)
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
