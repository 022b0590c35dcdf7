"""From a checkpoint to an ONNX model that answers alike."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from cannabis_ml.datasets.checkpoint import Checkpoint
from cannabis_ml.errors import ExportError
from cannabis_ml.heavy_types import Dataset, ModelProto
from cannabis_ml.pipelines.export.params import ExportParams
from cannabis_ml.taxonomy import Head

log = logging.getLogger(__name__)


def export_onnx(checkpoint: Checkpoint) -> ModelProto:
    """Turn the trained network into an ONNX graph with the preprocessing inside.

    Args:
        checkpoint: The trained network with its card.

    Returns:
        A model that takes `photos`, uint8 RGB (N, S, S, 3) with any N, and gives one output per
        head under the head's name, float32 (N, K) probabilities. Taxonomy and input size stand
        in its metadata.
    """
    from cannabis_ml.models.onnx_export import to_onnx

    return to_onnx(checkpoint)


def check_parity(
    onnx_candidate: ModelProto,
    checkpoint: Checkpoint,
    photo_set: Dataset,
    export: ExportParams,
) -> tuple[ModelProto, dict[str, Any]]:
    """Let the ONNX model and the checkpoint answer for the same test photos.

    Args:
        onnx_candidate: The exported model.
        checkpoint: What it was exported from.
        photo_set: Stored photos; those of the test split are used.
        export: How many photos, and the largest difference allowed.

    Returns:
        The model, and the report: photos compared, and per head the largest absolute difference
        of a probability and the share of answers that are the same.

    Raises:
        ExportError: If any head differs by more than allowed; names the heads.
    """
    from cannabis_ml.inference.onnx_tier import OnnxTier
    from cannabis_ml.models.onnx_export import torch_answers

    test = np.flatnonzero(np.asarray(photo_set["split"]) == "test")[: export.photos]
    photos = [np.asarray(photo.convert("RGB")) for photo in photo_set.select(test)["image"]]
    tier = OnnxTier(onnx_candidate)
    ours = tier.predict(photos)
    torchs = torch_answers(checkpoint, photos)
    heads = {h.name: _agreement(h, ours[h.name], torchs[h.name]) for h in tier.taxonomy.heads}
    differences = {name: head["largest_difference"] for name, head in heads.items()}
    # Written so that NaN counts as apart.
    apart = {name: d for name, d in differences.items() if not d <= export.max_difference}
    if apart:
        listed = ", ".join(f"'{name}' by {difference:.2g}" for name, difference in apart.items())
        raise ExportError(
            f"The ONNX model differs from the checkpoint on {len(photos)} test photos: {listed}; "
            f"allowed is {export.max_difference:g} (export.max_difference). It was not saved."
        )
    worst = max(differences.values())
    log.info("ONNX agrees with PyTorch on %d test photos to within %.1e.", len(photos), worst)
    report = {
        "photos": len(photos),
        "allowed_difference": export.max_difference,
        "largest_difference": worst,
        "heads": heads,
    }
    return onnx_candidate, report


def _agreement(head: Head, ours: np.ndarray, torchs: np.ndarray) -> dict[str, float]:
    if head.kind == "multilabel":
        same = (ours >= 0.5) == (torchs >= 0.5)
    else:
        same = head.answer(ours) == head.answer(torchs)
    return {
        "largest_difference": float(np.abs(ours - torchs).max()),
        "same_answer": float(same.mean()),
    }
