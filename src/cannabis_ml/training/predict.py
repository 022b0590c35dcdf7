"""Predictions of a checkpoint for a photo set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cannabis_ml.inference.outputs import ALEATORIC, EMBEDDING, EPISTEMIC
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import marginals, uncertainty
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import SPLITS, Split
from cannabis_ml.taxonomy import Head
from cannabis_ml.training.data import Photos, make_loader
from cannabis_ml.training.module import channels_last
from cannabis_ml.training.schedule import TrainingParams
from cannabis_ml.training.training_data import TrainingData


def predict(
    checkpoint: Checkpoint,
    photo_set: PhotoSet,
    splits: Sequence[Split] = SPLITS,
    training: TrainingParams | None = None,
) -> pd.DataFrame:
    """Predict every head for every photo of the given splits.

    Args:
        checkpoint: As from `fit`.
        photo_set: Photos; labels are only copied.
        splits: Which splits.
        training: Gives batch size, workers and accelerator (`cpu` leaves a GPU alone).

    Returns:
        photo_id, split; per head `{head}.label`, the class or None, of a multilabel head a float32
        array (K,) of 1, 0 and NaN; its probabilities, a float32 array (K,) in class order;
        `{head}.logits`, a float32 array (M × C,), member after member; `{head}.aleatoric` and
        `{head}.epistemic` in nats, see `networks.decoding.uncertainty`; and `embedding`, the
        features, a float32 array (F,).
    """
    training = training or TrainingParams()
    network = restore(checkpoint)
    taxonomy = network.taxonomy
    cuda = training.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    network = channels_last(network).to(device)
    rows = photo_set.rows_of(*splits)
    photos = Photos(TrainingData(photo_set, taxonomy, rows), network.image_size)
    loader = make_loader(
        photos, batch_size=training.batch_size, workers=training.workers, shuffle=False
    )
    names = [head.name for head in taxonomy.heads]
    columns = [name + part for name in names for part in ("", ".logits", ALEATORIC, EPISTEMIC)]
    found: dict[str, list[np.ndarray]] = {name: [] for name in [*columns, EMBEDDING]}
    with torch.inference_mode():
        for batch in tqdm(loader, "predicting", unit="batch", leave=False, disable=None):
            pixels = batch.photos.to(device, non_blocking=True)
            features = network.embed(pixels.contiguous(memory_format=torch.channels_last))
            logits = network.classify(features)
            probs, unsure = marginals(logits, taxonomy), uncertainty(logits, taxonomy)
            for name in names:
                found[name].extend(probs[name].float().cpu().numpy())
                found[f"{name}.logits"].extend(logits[name].flatten(1).cpu().numpy())
                found[name + ALEATORIC].extend(unsure[name].aleatoric.float().cpu().numpy())
                found[name + EPISTEMIC].extend(unsure[name].epistemic.float().cpu().numpy())
            found[EMBEDDING].extend(features.float().cpu().numpy())
    table = photo_set.labels().iloc[rows]
    predictions = table[["photo_id", "split"]].reset_index(drop=True)
    for head in taxonomy.heads:
        predictions[f"{head.name}.label"] = _labels(head, table)
    values = {
        name: pd.Series(v, dtype="float32" if name.endswith((ALEATORIC, EPISTEMIC)) else object)
        for name, v in found.items()
    }
    return pd.concat([predictions, pd.DataFrame(values, index=predictions.index)], axis=1)


def _labels(head: Head, table: pd.DataFrame) -> pd.Series:
    """One value per photo; None each if the photo set lacks the head's columns."""
    if not set(head.columns) <= set(table.columns):
        return pd.Series([None] * len(table), dtype=object)
    if head.kind != "multilabel":
        labels = table[head.name].astype(object)
        return labels.where(labels.notna(), None).reset_index(drop=True)
    there = table[head.columns].astype("Float32").to_numpy(np.float32, na_value=np.nan)
    return pd.Series(list(there), dtype=object)
