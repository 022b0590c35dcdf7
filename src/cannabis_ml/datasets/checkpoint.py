"""Checkpoints in the catalog."""

from __future__ import annotations

from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.networks.checkpoint import Checkpoint


class CheckpointDataset(PathDataset[Checkpoint, Checkpoint]):
    """A `Checkpoint` in one safetensors file.

    Args:
        filepath: The file; the other arguments are those of `PathDataset`.
    """

    def load(self) -> Checkpoint:
        """Read the checkpoint."""
        return Checkpoint.read(self.local_path())

    def save(self, data: Checkpoint) -> None:
        """Write the checkpoint: the whole of it, or nothing."""
        with self.saving() as path:
            data.write(path)
