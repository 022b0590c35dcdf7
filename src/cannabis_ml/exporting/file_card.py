"""The card of an exported model file: JSON in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.outputs import absent, described

if TYPE_CHECKING:
    from cannabis_ml.networks.checkpoint import Checkpoint


@dataclass(frozen=True)
class Provenance:
    """What a file's card holds beside what the checkpoint knows.

    Attributes:
        tier: Name of the tier.
        run: MLflow's id of the run, where the checkpoint does not name its own.
        decision: The rule that the model was scored with; None: thresholds of 0.5.
    """

    tier: str | None = None
    run: str | None = None
    decision: DecisionRule | None = None


UNKNOWN = Provenance()
"""Of a file that belongs to no tier and no run."""


def file_card(
    checkpoint: Checkpoint,
    *,
    format: str,
    shapes: Mapping[str, tuple[int, ...]],
    provenance: Provenance = UNKNOWN,
) -> FileCard:
    """Card of a float file.

    Args:
        checkpoint: What is exported; its own card is part of this one.
        format: `onnx` or `tflite`.
        shapes: Of every output, without the first dimension; as from `ExportNet.shapes`.
        provenance: The tier, the run and the decision rule.

    Raises:
        ValidationError: If the decision is of another taxonomy.
    """
    card, size = checkpoint.card, checkpoint.card.image_size
    count = "1" if format == "tflite" else "N"
    return FileCard(
        **{
            **dict(card),
            "run": card.run or provenance.run,
            "taxonomy_sha256": card.taxonomy.sha256,
        },
        input=f"uint8 RGB ({count}, {size}, {size}, 3)",
        outputs=described(card.taxonomy, shapes),
        absent_outputs=absent(members=card.ensemble, attention=card.attention),
        tier=provenance.tier,
        format=format,
        decision=provenance.decision or DecisionRule(),
    )
