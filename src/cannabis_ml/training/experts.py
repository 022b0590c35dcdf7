"""Training of experts: a network of its own for each class of a parent head, such as each crop."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from cannabis_ml.errors import TrainingError
from cannabis_ml.evaluation.experts import (
    Compared,
    ExpertsReport,
    ExpertTraining,
    compare_with_single,
    gains_in_words,
)
from cannabis_ml.networks.building import with_experts
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.experts import expert_taxonomy
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.text import did_you_mean
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import TrainingPlan
from cannabis_ml.training.train import fit
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

JUDGED = Split.TEST
"""The split that experts are compared on."""


def add_experts(
    general: Checkpoint,
    data: TrainingData,
    plan: TrainingPlan,
    workspace: Path | None = None,
    log_as: str = "",
) -> tuple[Checkpoint, ExpertsReport]:
    """Train the experts that a plan asks for, each from the network for all on.

    Each is trained by the same schedule, on the labels of its class's photos alone. An interrupted
    training goes on with the expert that it was at.

    Args:
        general: The trained network for all, which answers the parent head.
        data: What it was trained on.
        plan: As for `fit`; `experts` of its model names the head, or is None.
        workspace: As for `fit`; each expert has a folder of its own in it.
        log_as: As for `fit`; epochs of an expert are logged under `{log_as}.{class}`.

    Returns:
        The network with its experts in one checkpoint, and the comparison with it alone on the test
        split; `general` itself and an empty report where the plan asks for none.

    Raises:
        TrainingError: As `fit`; and if the head is not one that experts can answer.
    """
    wanted = plan.model.experts
    if wanted is None:
        return general, ExpertsReport()
    head = head_of_experts(data.taxonomy, wanted.head)
    parent = data.taxonomy[str(head.parent)]
    alone = replace(plan, model=plan.model.model_copy(update={"experts": None}), start=general)
    experts, trainings, left_out = {}, {}, {}
    for number, name in enumerate(parent.class_names):
        if sum(data.taxonomy.allowed_pairs(head)[number]) < 2:
            left_out[name] = "it allows a single class"
            continue
        own = of_parent_class(data, head, name)
        reason = _reason_against(own, head, wanted.fewest_photos)
        if reason:
            left_out[name] = reason
            continue
        logger.info("Training the expert of %s '%s'.", parent.name, name)
        folder = workspace and workspace / "experts" / str(number)
        expert, _ = fit(own, alone, folder, f"{log_as}.{name}" if log_as else name)
        experts[name] = expert
        trainings[name] = ExpertTraining(
            photos=len(np.unique(own.rows)),
            classes=len(own.taxonomy[head.name].classes),
            best_epoch=expert.card.best_epoch,
            validation_loss=expert.card.validation_loss,
        )
    both = with_experts(general, head.name, experts)
    report = ExpertsReport(head=head.name, split=JUDGED, experts=trainings, left_out=left_out)
    for name, reason in left_out.items():
        logger.info("No expert of %s '%s': %s.", parent.name, name, reason)
    if experts:
        networks = [general, both]
        if wanted.compare_at_equal_cost:
            logger.info("Training the network for all on, to compare at equal cost.")
            folder = workspace and workspace / "experts" / "none"
            name = f"{log_as}.trained_on" if log_as else "trained_on"
            networks.append(fit(data.taught_by(None), alone, folder, name)[0])
        tables = [predict(one, data.photos, [JUDGED], plan.training) for one in networks]
        heads, by_class = compare_with_single(
            Compared(*tables), data.photos.labels(), data.taxonomy, head.name
        )
        report = report.model_copy(update={"heads": heads, "by_class": by_class})
        if words := gains_in_words(heads[head.name]):
            logger.info("%s: %s", head.name, words)
    return both, report


def head_of_experts(taxonomy: Taxonomy, name: str) -> Head:
    """The head that experts are to answer.

    Raises:
        TrainingError: If there is none of this name, it is not multiclass, or no parent limits it.
    """
    names = [head.name for head in taxonomy.heads]
    if name not in names:
        raise TrainingError(
            f"model.experts.head is '{name}', which is not a head of the taxonomy; there are"
            f" {', '.join(names)}{did_you_mean(name, names)}."
        )
    head = taxonomy[name]
    if head.kind != "multiclass" or not taxonomy.limits(head):
        able = [h.name for h in taxonomy.heads if h.kind == "multiclass" and taxonomy.limits(h)]
        raise TrainingError(
            f"model.experts.head is '{name}', but experts answer a multiclass head whose classes"
            " its parent limits (`parent` and `allowed` of the taxonomy):"
            f" {', '.join(able) or 'there is none'}."
        )
    return head


def of_parent_class(data: TrainingData, head: Head, name: str) -> TrainingData:
    """The photos of one class of the parent, and the classes that it allows; no teacher.

    Args:
        data: Of all photos.
        head: The head that the expert answers.
        name: Class of its parent.
    """
    parent = data.taxonomy[str(head.parent)]
    shown = parent.shows(data.photos.labels(), name).to_numpy()
    place = np.cumsum(shown) - 1
    chosen = shown[data.rows]
    return TrainingData(
        PhotoSet(data.photos.arrow.select(np.flatnonzero(shown))),
        expert_taxonomy(data.taxonomy, head.name, name),
        place[data.rows[chosen]],
        None if data.weights is None else data.weights[chosen],
        data.copies,
    )


def _reason_against(own: TrainingData, head: Head, fewest: int) -> str | None:
    """Why there is too little to train an expert on; None where there is enough."""
    labels = own.photos.labels(head.name)[head.name]
    rows = np.unique(own.rows)
    known = labels.iloc[rows].dropna()
    if len(known) < fewest:
        return f"it has {len(known):,} training photos, fewer than {fewest:,}"
    if known.nunique() < 2:
        return "all of its training photos show the same class"
    if not labels.iloc[own.photos.rows_of(Split.VALIDATION)].notna().any():
        return "it has no validation photos"
    return None
