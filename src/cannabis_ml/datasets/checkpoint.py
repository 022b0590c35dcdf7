"""Checkpoints in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml._io.remote import is_remote
from cannabis_ml.datasets.path import PathDataset
from cannabis_ml.errors import ConfigError
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.tiers import tier_named


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


class StartDataset(AbstractDataset[None, Checkpoint | None]):
    """The checkpoint that the training of a tier starts from, or None; read-only.

    Args:
        tier: Name of the tier.
        checkpoints: Tier -> a checkpoint.safetensors of ours, a path or an address that fsspec
            knows, `~` being the home folder; a tier that is missing, or null, starts from
            pretrained weights.
        credentials: Options of the other file system.
        metadata: Ignored by Kedro; read by plugins.

    Raises:
        ConfigError: If `checkpoints` is not by tier, or names a tier that there is not.
    """

    def __init__(
        self,
        *,
        tier: str,
        checkpoints: Mapping[str, str | None] | None = None,
        credentials: dict[str, object] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._tier = tier
        if not isinstance(checkpoints or {}, Mapping):
            raise ConfigError(
                f"start is {checkpoints!r}, but holds a path per tier: {{{tier}: {checkpoints}}}."
            )
        by_tier = {tier_named(name).name: path for name, path in (checkpoints or {}).items()}
        path = by_tier.get(tier)
        self._file = None if path is None else _checkpoint(path, credentials)

    def load(self) -> Checkpoint | None:
        """Read the checkpoint, if there is to be one.

        Raises:
            DatasetError: If the file is not there.
        """
        if self._file is None:
            return None
        if not self._file.exists():
            path = self._describe()["path"]
            raise DatasetError(
                f"There is no checkpoint {path} to start {self._tier} from (looked in"
                f" {Path.cwd()}). Mend start.{self._tier}, or set it to null to start from"
                " pretrained weights."
            )
        return self._file.load()

    def save(self, data: None) -> None:
        """Refuse: it is configured, not made."""
        raise DatasetError("The checkpoint to start from is read-only: configure its path.")

    def _exists(self) -> bool:
        return self._file is None or self._file.exists()

    def _describe(self) -> dict[str, object]:
        path = self._file._describe()["filepath"] if self._file else None
        return {"tier": self._tier, "path": path}


def _checkpoint(path: str, credentials: dict[str, object] | None) -> CheckpointDataset:
    if is_remote(path):
        return CheckpointDataset(filepath=path, credentials=credentials)
    return CheckpointDataset(filepath=Path(path).expanduser())
