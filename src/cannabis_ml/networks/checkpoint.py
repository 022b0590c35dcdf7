"""Checkpoints: tensors and a card in safetensors, which cannot run code when read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import CheckpointError

CARD = "cannabis_ml"
"""Key of the card in the header's metadata."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network.

    Attributes:
        state: Every tensor of the network, by name.
        card: What else is needed to use it, and its provenance; JSON-able. Holds
            cannabis_ml (version), backbone, image_size, mean, std, dropout, taxonomy,
            taxonomy_sha256, weights (provenance), photo_set (fingerprint), best_epoch and
            validation_loss.
    """

    state: dict[str, np.ndarray]
    card: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint from one safetensors file; the card is in its header.

        Raises:
            FileNotFoundError: If there is no file.
            CheckpointError: If the file is damaged, or is not a checkpoint of ours.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} ({path.stat().st_size:,} bytes) is not a safetensors file:"
                f" {error}. Train again, or restore it from where it was copied."
            ) from error
        if CARD not in metadata:
            raise CheckpointError(
                f"{path} is a safetensors file, but carries no '{CARD}' card: it was not written"
                " by this project's training. Weights from elsewhere belong under model.weights."
            )
        return cls(state=state, card=json.loads(metadata[CARD]))

    def write(self, path: Path) -> None:
        """Write the checkpoint: the whole of it, or nothing."""
        from safetensors.numpy import save_file

        card = json.dumps(self.card, ensure_ascii=False, allow_nan=False)
        # safetensors writes the buffer as it lies in memory.
        state = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in self.state.items()}
        with written_aside(path) as aside:
            save_file(state, aside, metadata={CARD: card})
