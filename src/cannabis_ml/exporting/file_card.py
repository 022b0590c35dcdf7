"""The card of an exported model file: JSON in its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.model_file import FLOAT

OUTPUTS = (
    "float32 (N, K) probabilities per head, in the order of the taxonomy's classes; (N, F)"
    " embedding; (N,) uncertainty per head in nats, where heads have several members; (N, P, K)"
    " given: probabilities of a head for each class of its parent, where the parent limits it"
)

if TYPE_CHECKING:
    from cannabis_ml.networks.checkpoint import Checkpoint
    from cannabis_ml.taxonomy import Taxonomy


def file_card(
    checkpoint: Checkpoint,
    taxonomy: Taxonomy,
    *,
    format: str,
    tier: str | None = None,
    run: str | None = None,
    decision: DecisionRule | None = None,
) -> dict[str, Any]:
    """Card of a float file.

    Args:
        checkpoint: What is exported; its own card is part of this one.
        taxonomy: Gives the heads.
        format: `onnx` or `tflite`.
        tier: Name of the tier.
        run: MLflow's id of the run, where the checkpoint does not name its own.
        decision: The rule that the model was scored with; None: thresholds of 0.5.

    Returns:
        Values that JSON can hold.
    """
    size = checkpoint.card["image_size"]
    count = "1" if format == "tflite" else "N"
    return {
        **checkpoint.card,
        "input": f"uint8 RGB ({count}, {size}, {size}, 3)",
        "outputs": OUTPUTS,
        "taxonomy_hash": taxonomy.sha256,
        "tier": tier,
        "format": format,
        "recipe": FLOAT,
        "run": checkpoint.card.get("run") or run,
        "data_fingerprint": checkpoint.card.get("photo_set"),
        "decision": (decision or DecisionRule()).model_dump(),
        "calibration": None,
    }
