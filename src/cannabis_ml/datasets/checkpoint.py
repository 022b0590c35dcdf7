"""Checkpoints in the catalog."""

from __future__ import annotations

from pathlib import Path

from cannabis_ml.datasets.local import LocalDataset
from cannabis_ml.networks.checkpoint import Checkpoint


class CheckpointDataset(LocalDataset[Checkpoint, Checkpoint]):
    """A `Checkpoint` in one safetensors file on a local disk.

    Args:
        filepath: Where the file is.
        version: Kedro's version, if the entry is versioned.
        metadata: Ignored by Kedro; read by plugins.
    """

    def load(self) -> Checkpoint:
        """Read the checkpoint."""
        return Checkpoint.read(Path(self._get_load_path()))

    def save(self, data: Checkpoint) -> None:
        """Write the checkpoint: the whole of it, or nothing."""
        data.write(Path(self._get_save_path()))
