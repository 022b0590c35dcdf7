"""Training of a student with distillation from its teacher."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from cannabis_ml.evaluation.gain import DistillationReport, compare_students
from cannabis_ml.evaluation.metrics import score
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.splits import Split
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import TrainingPlan
from cannabis_ml.training.train import fit
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

JUDGED = Split.TEST
"""The split that gains are measured on."""


def fit_student(
    data: TrainingData, plan: TrainingPlan, workspace: Path | None = None, log_as: str = ""
) -> tuple[Checkpoint, pd.DataFrame, DistillationReport]:
    """Train a student on labels and on its teacher's predictions for the same photos.

    Args:
        data: As for `fit`, with a teacher that has predictions for the test split too.
        plan: As for `fit`; `distillation` of its schedule has the weight of the teacher, and
            whether to train once more without it, all else equal.
        workspace: As for `fit`.
        log_as: As for `fit`; the training without the teacher is logged under
            `{log_as}.without_teacher`.

    Returns:
        Checkpoint and history as from `fit`, and the comparison on the test split.
    """
    teacher, taxonomy = data.teacher, data.taxonomy
    assert teacher is not None
    checkpoint, history = fit(data, plan, workspace, log_as)
    distillation = plan.schedule.distillation
    students = {"with_teacher": checkpoint}
    if distillation.compare_without_teacher and distillation.weight > 0:
        logger.info("Training once more without the teacher, to measure its gain.")
        alone = f"{log_as}.without_teacher" if log_as else "without_teacher"
        students["without_teacher"], _ = fit(data.taught_by(None), plan, workspace, alone)
    truth = data.photos.labels()
    scores = {
        name: score(
            predict(student, data.photos, [JUDGED], plan.training, workspace=workspace),
            truth,
            taxonomy,
        )
        for name, student in students.items()
    }
    judged = score(teacher[teacher["split"] == JUDGED], truth, taxonomy)
    report = DistillationReport(
        split=JUDGED,
        weight=distillation.weight,
        temperature=distillation.temperature,
        heads=compare_students(judged, **scores),
    )
    for name, metrics in report.heads.items():
        gain = metrics["accuracy"].gain
        if gain is not None:
            logger.info(
                "The teacher adds %+.1f points to the accuracy of %s (%d photos in %d groups).",
                100 * gain,
                name,
                judged[name].n,
                judged[name].groups,
            )
    return checkpoint, history, report
