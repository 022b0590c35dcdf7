"""Checkpoints: tensors and a card in safetensors, which cannot run code when read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import CannabisMLError, CheckpointError
from cannabis_ml.inference.cards import NetworkCard, faults_of

CARD = "cannabis_ml"
"""Key of the card in the header's metadata."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network.

    Attributes:
        state: Every tensor of the network, by name.
        card: What else is needed to use it or to trace its origin.
    """

    state: dict[str, np.ndarray]
    card: NetworkCard

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
                names = file.keys()
                state = {name: file.get_tensor(name) for name in names}
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
        try:
            return cls(state=state, card=NetworkCard.model_validate_json(metadata[CARD]))
        except (ValidationError, CannabisMLError) as error:
            faults = faults_of(error) if isinstance(error, ValidationError) else error
            raise CheckpointError(
                f"The card of {path} makes no sense: {faults}. It was written by another version of"
                " cannabis_ml, or changed: train again."
            ) from error

    def write(self, path: Path) -> None:
        """Write the checkpoint: the whole of it, or nothing."""
        from safetensors.numpy import save_file

        with written_aside(path) as aside:
            save_file(self._tensors(), aside, metadata=self._metadata())

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that `write` makes, 64 hex digits."""
        from safetensors.numpy import save

        return hashlib.sha256(save(self._tensors(), metadata=self._metadata())).hexdigest()

    def _tensors(self) -> dict[str, np.ndarray]:
        # safetensors writes the buffer as it lies in memory.
        return {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in self.state.items()}

    def _metadata(self) -> dict[str, str]:
        return {CARD: self.card.model_dump_json()}
