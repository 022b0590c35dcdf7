"""Predictions of a checkpoint for a photo set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from cannabis_ml._io.allocator import keeping_memory
from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml.inference.outputs import ALEATORIC, EMBEDDING, EPISTEMIC, GIVEN
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import HierarchicalNet, given_parents, marginals, uncertainty
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import SPLITS, Split
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.training.data import Photos, make_loader
from cannabis_ml.training.features import CPU_BATCH, kept_features
from cannabis_ml.training.module import channels_last
from cannabis_ml.training.schedule import TrainingParams
from cannabis_ml.training.spread import outputs_on_cluster
from cannabis_ml.training.training_data import TrainingData


@keeping_memory()
def predict(
    checkpoint: Checkpoint,
    photo_set: PhotoSet,
    splits: Sequence[Split] = SPLITS,
    training: TrainingParams | None = None,
    engine: Engine = THREADS,
    workspace: Path | None = None,
) -> pd.DataFrame:
    """Predict every head for every photo of the given splits.

    Args:
        checkpoint: As from `fit`.
        photo_set: Photos; labels are only copied.
        splits: Which splits.
        training: Gives batch size, workers and accelerator (`cpu` leaves a GPU alone).
        engine: On a cluster, its CPUs predict.
        workspace: Where training kept features; photos whose features are there, of the very same
            backbone, are not looked at again.

    Returns:
        photo_id, split; per head `{head}.label`, the class or None, of a multilabel head a float32
        array (K,) of 1, 0 and NaN; its probabilities, a float32 array (K,) in class order;
        `{head}.logits`, a float32 array (M × C,), member after member, or of a head with experts
        `{head}.given`, the probabilities given each class of its parent, (P × K,);
        `{head}.aleatoric` and `{head}.epistemic` in nats, see `networks.decoding.uncertainty`; and
        `embedding`, the features, a float32 array (F,).
    """
    training = training or TrainingParams()
    network = restore(checkpoint)
    taxonomy = network.taxonomy
    rows = photo_set.rows_of(*splits)
    known = None
    if workspace is not None and not checkpoint.card.experts:
        known = kept_features(network, photo_set, workspace)
    if known is not None:
        batches = _of_features(network, known[rows])
    elif engine.is_cluster:
        batches = _on_cluster(network, photo_set, rows, engine)
    else:
        batches = _here(network, photo_set, rows, training)
    logits: dict[str, list[Tensor]] = {head.name: [] for head in taxonomy.heads}
    features = []
    for embedded, answers in batches:
        features.append(embedded[:, : network.num_features])  # experts have theirs behind
        for name, values in answers.items():
            logits[name].append(values)
    none = {name: torch.zeros(0) for name in logits}
    found = {name: torch.cat(parts) for name, parts in logits.items()} if features else none
    embeddings = np.concatenate(features) if features else np.zeros((0, network.num_features))
    return predictions_of_logits(taxonomy, found, embeddings, photo_set, rows)


def _here(
    network: HierarchicalNet, photo_set: PhotoSet, rows: np.ndarray, training: TrainingParams
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """Features and logits, batch after batch, by this machine."""
    cuda = training.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    network = channels_last(network).to(device)
    photos = Photos(TrainingData(photo_set, network.taxonomy, rows), network.image_size)
    loader = make_loader(
        photos, batch_size=training.batch_size, workers=training.workers, shuffle=False
    )
    for batch in tqdm(loader, "predicting", unit="batch", leave=False, disable=None):
        with torch.inference_mode():
            pixels = batch.photos.to(device, non_blocking=True)
            embedded = network.embed(pixels.contiguous(memory_format=torch.channels_last))
            logits = {name: values.cpu() for name, values in network.classify(embedded).items()}
        yield embedded.float().cpu().numpy(), logits


def _of_features(
    network: HierarchicalNet, features: np.ndarray
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """The same from features that are known already."""
    with torch.inference_mode():
        yield features, network.classify(torch.from_numpy(features))


def _on_cluster(
    network: HierarchicalNet, photo_set: PhotoSet, rows: np.ndarray, engine: Engine
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """The same by the workers of a cluster."""
    for batch in outputs_on_cluster(network, photo_set, rows, CPU_BATCH, engine):
        yield batch.features, {name: torch.from_numpy(v) for name, v in batch.logits.items()}


def predictions_of_logits(
    taxonomy: Taxonomy,
    logits: Mapping[str, Tensor],
    embeddings: np.ndarray,
    photo_set: PhotoSet,
    rows: np.ndarray | None = None,
) -> pd.DataFrame:
    """The table of predictions, as from `predict`.

    Args:
        taxonomy: Gives the heads.
        logits: Per head, as from `HierarchicalNet.classify`.
        embeddings: float32 (N, F).
        photo_set: Photos; labels are only copied.
        rows: Of the N photos; None: all.
    """
    table = photo_set.labels() if rows is None else photo_set.labels().iloc[rows]
    predictions = table[["photo_id", "split"]].reset_index(drop=True)
    for head in taxonomy.heads:
        predictions[f"{head.name}.label"] = _labels(head, table)
    columns = {
        name + part: pd.Series(
            values, dtype="float32" if part in (ALEATORIC, EPISTEMIC) else object
        )
        for name, parts in _outputs(taxonomy, logits, len(table)).items()
        for part, values in parts.items()
    }
    columns[EMBEDDING] = pd.Series(list(embeddings), dtype=object)
    return pd.concat([predictions, pd.DataFrame(columns, index=predictions.index)], axis=1)


@torch.inference_mode()
def _outputs(
    taxonomy: Taxonomy, logits: Mapping[str, Tensor], photos: int
) -> dict[str, dict[str, list[object]]]:
    """Per head, and per part of a column's name, a value per photo."""
    if not photos:
        parts = ("", ".logits", ALEATORIC, EPISTEMIC)
        return {head.name: {part: [] for part in parts} for head in taxonomy.heads}
    known = dict(logits)
    probs, unsure = marginals(known, taxonomy), uncertainty(known, taxonomy)
    given = given_parents({n: v for n, v in known.items() if v.ndim == 4}, taxonomy)
    detail = {
        name: {GIVEN: given[name]} if name in given else {".logits": known[name]} for name in known
    }
    return {
        name: {
            "": list(probs[name].float().numpy()),
            **{part: list(values.flatten(1).numpy()) for part, values in detail[name].items()},
            ALEATORIC: list(unsure[name].aleatoric.float().numpy()),
            EPISTEMIC: list(unsure[name].epistemic.float().numpy()),
        }
        for name in known
    }


def _labels(head: Head, table: pd.DataFrame) -> pd.Series:
    """One value per photo; None each if the photo set lacks the head's columns."""
    if not set(head.columns) <= set(table.columns):
        return pd.Series([None] * len(table), dtype=object)
    if head.kind != "multilabel":
        labels = table[head.name].astype(object)
        return labels.where(labels.notna(), None).reset_index(drop=True)
    there = table[head.columns].astype("Float32").to_numpy(np.float32, na_value=np.nan)
    return pd.Series(list(there), dtype=object)
