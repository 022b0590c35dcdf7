"""Embeddings of the champion's backbone, heads with more classes on them, predictions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import ClosedFormHead
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.add_class_params import AddClassParams
from cannabis_ml.training.embeddings import Embeddings
from cannabis_ml.training.schedule import TrainingParams


def embed_photos(
    champion_start: Checkpoint | None,
    photo_set: PhotoSet,
    predictions_before: pd.DataFrame,
    training: TrainingParams,
    engine: Engine = THREADS,
) -> Embeddings:
    """Embed photos by the champion's backbone; known ones are not looked at again.

    Args:
        champion_start: The champion's network of this tier.
        photo_set: Stored photos.
        predictions_before: With `photo_id` and `embedding` of photos that were predicted before;
            may be empty.
        training: Workers and accelerator.
        engine: On a cluster, its CPUs embed.

    Raises:
        TrainingError: If there is no champion that was kept with its checkpoints.
    """
    from cannabis_ml.training.add_class import embed

    return embed(_there(champion_start), photo_set, predictions_before, training, engine)


def add_classes(
    champion_start: Checkpoint | None,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    embeddings: Embeddings,
    add_class: AddClassParams,
    training: TrainingParams,
    workspace: Path,
    tier: str,
) -> tuple[Checkpoint, dict[str, ClosedFormHead]]:
    """Give the champion's network the classes that the taxonomy has and it has not.

    Args:
        champion_start: The champion's network of this tier.
        photo_set: Photos with labels.
        taxonomy: With the new classes.
        embeddings: From `embed_photos`.
        add_class: In closed form, or by training.
        training: Parameters that all trainings share.
        workspace: Folder for states to resume from.
        tier: Name of the tier.

    Returns:
        The network, and heads in closed form with the photos they are made from; none where they
        were trained.

    Raises:
        TrainingError: If there is nothing to add or to learn it from, or the method does not fit.
    """
    from cannabis_ml.training.add_class import (
        add_by_growing,
        add_in_closed_form,
        growth_data,
        growth_plan,
    )

    start = _there(champion_start)
    if add_class.method == "closed_form":
        return add_in_closed_form(start, photo_set, taxonomy, embeddings, add_class)
    plan = growth_plan(start, add_class, training)
    data = growth_data(start, photo_set, taxonomy, add_class)
    return add_by_growing(data, plan, embeddings, workspace, tier), {}


def predict_embedded(
    checkpoint: Checkpoint,
    embeddings: Embeddings,
    photo_set: PhotoSet,
    training: TrainingParams,
) -> pd.DataFrame:
    """Predict every photo of every split, from embeddings where the backbone is the same.

    Args:
        checkpoint: From `add_classes`.
        embeddings: From `embed_photos`.
        photo_set: Stored photos.
        training: Batch size, workers and accelerator, where photos have to be looked at.

    Returns:
        As `predict_photos`.
    """
    from cannabis_ml.training.add_class import predict_from_embeddings

    return predict_from_embeddings(checkpoint, embeddings, photo_set, training)


def _there(champion_start: Checkpoint | None) -> Checkpoint:
    if champion_start is None:
        raise TrainingError(
            "There is no champion with checkpoints to add a class to: `kedro run` makes the first,"
            " `kedro promote` keeps the checkpoints of the newest bundle."
        )
    return champion_start
