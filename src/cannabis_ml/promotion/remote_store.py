"""The champion's folder on another file system."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cannabis_ml._io.remote import RemotePath, copy_of, is_remote
from cannabis_ml._io.synced_folder import SyncedFolder
from cannabis_ml.errors import PromotionError
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.promotion.records import PromotionRecord
from cannabis_ml.promotion.store import SERVED, ChampionStore, Checkpoints


class RemoteChampionStore(ChampionStore):
    """The champion of one environment, such as at `s3://…`.

    Worked on as a local copy that has all records, and of bundles and checkpoints those that were
    asked for. A record is uploaded when all that it stands for is there. Processes of one machine
    wait for each other; of two machines that promote at once, one is refused.

    Args:
        remote: Its folder.
        copy: Local folder for the copy.
    """

    def __init__(self, remote: RemotePath, copy: Path) -> None:
        super().__init__(copy)
        self.remote = remote

    @property
    def address(self) -> str:
        return str(self.remote / SERVED)

    @property
    def place(self) -> str:
        return str(self.remote)

    def records(self) -> list[PromotionRecord]:
        SyncedFolder(self.remote / "records", self.root / "records").pull()
        return super().records()

    def checkpoint(self, tier: str, bundle_id: str) -> Path | None:
        self._bring(f"checkpoints/{bundle_id}/{tier}.safetensors")
        return super().checkpoint(tier, bundle_id)

    def _kept(self, bundle_id: str) -> Path:
        self._bring(f"bundles/{bundle_id}.zip")
        return super()._kept(bundle_id)

    def _keep(self, bundle: Bundle, checkpoints: Checkpoints) -> None:
        super()._keep(bundle, checkpoints)
        bundle_id = bundle.manifest.content_sha256
        for name in (
            f"bundles/{bundle_id}.zip",
            *(f"checkpoints/{bundle_id}/{tier}.safetensors" for tier in checkpoints),
        ):
            (self.remote / name).upload(self.root / name)

    def _write(self, path: Path, record: PromotionRecord) -> None:
        there = self.remote / "records" / path.name
        if there.is_file():
            raise PromotionError(
                f"Another machine changed the champion in {self.remote} a moment ago: look at"
                " `kedro champion`, and promote again if this bundle is still the better one."
            )
        super()._write(path, record)
        there.upload(path)

    def _serve(self, bundle_id: str) -> None:
        super()._serve(bundle_id)
        if not self._is_served():
            (self.remote / SERVED).upload(self.served)

    def _is_served(self) -> bool:
        """Whether the file for clients was uploaded after the newest record."""
        served, records = self.remote / SERVED, self.remote / "records"
        newest = max(records.names(), default=None)
        if newest is None or not served.is_file():
            return False
        return served.written_at() >= (records / newest).written_at()

    def _bring(self, name: str) -> None:
        """A file that never changes, once."""
        local, there = self.root / name, self.remote / name
        if not local.is_file() and there.is_file():
            there.download(local)


def champion_store(
    filepath: str | os.PathLike[str],
    credentials: Mapping[str, object] | None = None,
    cache: str | None = None,
) -> ChampionStore:
    """The champion's folder, wherever it is.

    Args:
        filepath: A local folder, or an address that fsspec knows.
        credentials: Options of the other file system.
        cache: Local folder for copies; None: they end with the process.
    """
    if not is_remote(str(filepath)):
        return ChampionStore(Path(filepath))
    remote = RemotePath.at(str(filepath), credentials)
    return RemoteChampionStore(remote, copy_of(remote, cache))
