"""Adding classes to a trained network: heads in closed form, or grown by an output."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import cannabis_ml
from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import ClosedFormHead, EmbeddedPhotos, RandomProjection
from cannabis_ml.feedback.rehearsal import rehearsal_rows
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.networks.building import grow_network, refuse_experts, replace_head, restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import HierarchicalNet
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy
from cannabis_ml.training.add_class_params import AddClassParams
from cannabis_ml.training.data import Photos
from cannabis_ml.training.embeddings import Embeddings
from cannabis_ml.training.features import compute_features, weights_hash
from cannabis_ml.training.schedule import (
    LastBlocks,
    Phase,
    Schedule,
    TrainingParams,
    TrainingPlan,
)
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)

SPOT_CHECKS = 8
"""Known embeddings that are computed anew, to see whether they are of this network."""

TOLERANCE = 1e-3
"""Largest difference of an embedding that is the same, over the largest value in it."""


def embed(
    start: Checkpoint,
    photo_set: PhotoSet,
    known: pd.DataFrame,
    training: TrainingParams,
    engine: Engine = THREADS,
) -> Embeddings:
    """Embed every photo, looking only at those whose embedding is not known.

    Args:
        start: The network.
        photo_set: Stored photos.
        known: Earlier predictions with `photo_id` and `embedding`; may be empty, and of another
            network: some are computed anew and compared.
        training: Workers and accelerator.
        engine: On a cluster, its CPUs embed.

    Raises:
        TrainingError: If the network has experts.
    """
    refuse_experts(start.card)
    network = restore(start)
    ids = photo_set.labels("photo_id")["photo_id"].to_numpy(str)
    values = np.zeros((len(ids), network.num_features), np.float32)
    there = np.zeros(len(ids), bool)
    if len(known) and EMBEDDING in known:
        earlier = known.drop_duplicates("photo_id").set_index("photo_id")[EMBEDDING]
        there = np.isin(ids, earlier.index.to_numpy(str))
        vectors = [np.asarray(vector, np.float32) for vector in earlier.loc[ids[there]]]
        if vectors and len(vectors[0]) == network.num_features:
            values[there] = np.stack(vectors)
        else:
            there[:] = False
    rows = np.flatnonzero(there)
    checked = rows[np.linspace(0, len(rows) - 1, min(SPOT_CHECKS, len(rows))).astype(int)]
    to_embed = np.union1d(checked, np.flatnonzero(~there)).astype(int)
    if len(to_embed):
        computed = _computed(network, photo_set, to_embed, training, engine)
        again = computed[np.isin(to_embed, checked)]
        if len(checked) and np.abs(again - values[checked]).max() > TOLERANCE * np.abs(again).max():
            logger.info("The known embeddings are of another network: all are computed anew.")
            to_embed = np.arange(len(ids))
            computed = _computed(network, photo_set, to_embed, training, engine)
        values[to_embed] = computed
    logger.info("Embedded %d photos, %d of them by looking at them.", len(ids), len(to_embed))
    return Embeddings(values, weights_hash(network))


def add_in_closed_form(
    start: Checkpoint,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    embeddings: Embeddings,
    params: AddClassParams,
) -> tuple[Checkpoint, dict[str, ClosedFormHead]]:
    """Solve the multiclass heads with other classes than before; all else stays as it was.

    Args:
        start: The trained network.
        photo_set: Photos with labels: those of the training split are learned, those of the
            validation split choose the penalty.
        taxonomy: With the new classes.
        embeddings: Of all photos, by this network.
        params: Whether to project first.

    Returns:
        The network, and its closed-form heads with the photos they are made from.

    Raises:
        TrainingError: If no head has another class, or one that has is not multiclass, or a new
            class has no photo to learn from.
    """
    changed = changed_heads(start.card.taxonomy, taxonomy)
    odd = [f"'{head.name}' ({head.kind})" for head in changed if head.kind != "multiclass"]
    if odd:
        raise TrainingError(
            f"Heads {', '.join(odd)} have other classes than the champion, and only multiclass"
            " heads are solved in closed form. Set add_class.method: grow, or train anew:"
            " kedro run --pipeline=retrain."
        )
    network = grow_network(start, taxonomy)
    truth = photo_set.encode(taxonomy)
    solved = {}
    for head in changed:
        split = {
            part: _labeled(photo_set, embeddings.values, head, truth[head.name], part)
            for part in (Split.TRAIN, Split.VALIDATION)
        }
        lacking = sorted(set(head.class_names) - set(split[Split.TRAIN].labels))
        if lacking:
            raise TrainingError(
                f"No training photo has the class {', '.join(lacking)} of '{head.name}': bring"
                " some, or leave the class out of the taxonomy."
            )
        width = params.projection
        projection = RandomProjection(network.num_features, width, params.seed) if width else None
        one = ClosedFormHead.of(split[Split.TRAIN], projection)
        _, ridge, factor = one.fitted(split[Split.VALIDATION], head.class_names)
        members: Any = replace_head(network, head.name, width)
        weights = one.members(ridge, head.class_names, len(members))
        with torch.no_grad():
            for member, solution in zip(members, weights, strict=True):
                scaled = solution.scaled(factor)
                member[-1].weight.copy_(torch.from_numpy(scaled.weights.T))
                member[-1].bias.copy_(torch.from_numpy(scaled.bias))
                if projection is not None:
                    member[1].weight.copy_(torch.from_numpy(projection.weights.T))
                    member[1].bias.zero_()
        solved[head.name] = one
        logger.info(
            "Solved '%s' with %d classes from %d photos: penalty %g, chosen on %d validation"
            " photos.",
            head.name,
            len(head.classes),
            len(one.photos),
            ridge,
            len(split[Split.VALIDATION]),
        )
    return _checkpoint(network, start, photo_set, params), solved


def add_by_growing(
    data: TrainingData, plan: TrainingPlan, embeddings: Embeddings, workspace: Path, tier: str
) -> Checkpoint:
    """Train heads grown by the new classes on new photos and a balanced choice of old ones.

    Args:
        data: From `growth_data`.
        plan: From `growth_plan`.
        embeddings: Of all photos, by this network: the frozen phase looks at no photo.
        workspace: As for `train.fit`.
        tier: As for `train.fit`.

    Raises:
        TrainingError: As `train.fit`.
    """
    from cannabis_ml.training.train import fit

    checkpoint, _ = fit(data, plan, workspace, tier, features=embeddings.values)
    return checkpoint


def growth_data(
    start: Checkpoint, photo_set: PhotoSet, taxonomy: Taxonomy, params: AddClassParams
) -> TrainingData:
    """Training photos of the new classes, and a balanced choice of old ones.

    Args:
        start: The trained network.
        photo_set: Photos with labels.
        taxonomy: With the new classes.
        params: How many old photos.

    Raises:
        TrainingError: If no head has another class than before.
    """
    rows = _rows_to_learn(start.card.taxonomy, taxonomy, photo_set, params)
    return replace(TrainingData.of_split(photo_set, taxonomy), rows=rows)


def growth_plan(
    start: Checkpoint, params: AddClassParams, training: TrainingParams
) -> TrainingPlan:
    """The same network, its heads trained first, then its last layers too.

    Args:
        start: The trained network.
        params: Epochs and rates.
        training: Parameters that all trainings share.

    Raises:
        TrainingError: If a head is behind a random projection.
    """
    card = start.card
    if not isinstance(card.hidden, int):
        raise TrainingError(
            "The champion has a head behind a random projection, which is not trained further: set"
            " add_class.method: closed_form, or train anew: kedro run --pipeline=retrain."
        )
    phases = [
        Phase(
            name="heads",
            epochs=params.epochs,
            learning_rate=params.learning_rate,
            train="heads",
        )
    ]
    if params.unfrozen_epochs:
        phases.append(
            Phase(
                name="top",
                epochs=params.unfrozen_epochs,
                learning_rate=params.unfrozen_learning_rate,
                train=LastBlocks(last_blocks=params.last_blocks),
            )
        )
    model = ModelParams(
        backbone=card.backbone,
        image_size=card.image_size,
        dropout=card.dropout,
        attention=card.attention,
        ensemble=card.ensemble,
        hidden=card.hidden,
        mirrored=card.mirrored,
    )
    return TrainingPlan(model, training, Schedule(phases=phases), start)


def changed_heads(before: Taxonomy, after: Taxonomy) -> list[Head]:
    """Heads of the second taxonomy that the first lacks, or has with other classes.

    Raises:
        TrainingError: If there is none.
    """
    known = {head.name: (head.kind, head.class_names) for head in before.heads}
    changed = [h for h in after.heads if known.get(h.name) != (h.kind, h.class_names)]
    if not changed:
        raise TrainingError(
            "The champion knows every class of the taxonomy: there is none to add. Add it to"
            " parameters_taxonomy.yml, with photos that have it; to learn from more photos of the"
            " same classes: kedro run --pipeline=retrain."
        )
    return changed


def predict_from_embeddings(
    checkpoint: Checkpoint, embeddings: Embeddings, photo_set: PhotoSet, training: TrainingParams
) -> pd.DataFrame:
    """As `training.predict.predict`, without looking at a photo where the backbone is the same."""
    from cannabis_ml.training.predict import predict, predictions_of_logits

    network = restore(checkpoint)
    if weights_hash(network) != embeddings.weights:
        return predict(checkpoint, photo_set, training=training)
    with torch.inference_mode():
        logits = network.classify(torch.from_numpy(embeddings.values))
    return predictions_of_logits(network.taxonomy, logits, embeddings.values, photo_set)


def _computed(
    network: HierarchicalNet,
    photo_set: PhotoSet,
    rows: np.ndarray,
    training: TrainingParams,
    engine: Engine,
) -> np.ndarray:
    photos = Photos(TrainingData(photo_set, network.taxonomy, rows), network.image_size)
    return compute_features(network, photos, training, engine)


def _labeled(
    photo_set: PhotoSet, values: np.ndarray, head: Head, truth: np.ndarray, split: Split
) -> EmbeddedPhotos:
    """Photos of a split that have a label of a head, each id once."""
    rows = photo_set.rows_of(split)
    rows = rows[truth[rows] != MISSING]
    ids = photo_set.labels("photo_id")["photo_id"].to_numpy(str)[rows]
    _, first = np.unique(ids, return_index=True)
    rows, ids = rows[np.sort(first)], ids[np.sort(first)]
    names = head.class_names
    return EmbeddedPhotos(tuple(ids), values[rows], tuple(names[k] for k in truth[rows]))


def _rows_to_learn(
    before: Taxonomy, after: Taxonomy, photo_set: PhotoSet, params: AddClassParams
) -> np.ndarray:
    """Training photos of a new class, and old ones in balance over the first changed head."""
    changed = changed_heads(before, after)
    known = {head.name: set(head.class_names) for head in before.heads}
    train = photo_set.rows_of(Split.TRAIN)
    truth: Mapping[str, np.ndarray] = photo_set.encode(after)
    is_new = np.zeros(len(photo_set), bool)
    for head in changed:
        fresh = np.array([name not in known.get(head.name, ()) for name in head.class_names])
        labels = truth[head.name]
        if labels.ndim == 2:
            is_new |= (labels[:, fresh] == 1).any(axis=1)
        else:
            is_new |= np.append(fresh, False)[np.where(labels == MISSING, len(fresh), labels)]
    new = train[is_new[train]]
    if not len(new):
        raise TrainingError("No training photo has a new class: bring some.")
    labels = truth[changed[0].name]
    if labels.ndim == 2:  # by the attribute that a photo has
        labels = np.where((labels == 1).any(axis=1), (labels == 1).argmax(axis=1), MISSING)
    old = np.setdiff1d(train, new)
    return rehearsal_rows(labels, old, new, params.rehearsal, params.seed)


def _checkpoint(
    network: HierarchicalNet, start: Checkpoint, photo_set: PhotoSet, params: AddClassParams
) -> Checkpoint:
    """With a card of its own: it is another network than it began as."""
    card = start.card
    decided = json.dumps(
        [start.sha256, photo_set.fingerprint, network.taxonomy.sha256, params.model_dump()]
    )
    arrays = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    made = network.card(
        card.backbone,
        cannabis_ml=cannabis_ml.__version__,
        weights={"source": "checkpoint", "sha256": start.sha256, "licence": _licence(card.weights)},
        photo_set_fingerprint=photo_set.fingerprint,
        training_key=hashlib.sha256(decided.encode()).hexdigest(),
        taught=card.taught,
    )
    return Checkpoint(arrays, made)


def _licence(weights: Mapping[str, str | None] | None) -> str | None:
    return (weights or {}).get("licence")
