"""A folder for what a node keeps for its next run: states to resume from, things computed once."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml._io.remote import RemotePath, copy_of, is_remote
from cannabis_ml._io.synced_folder import Follower, SyncedFolder


class WorkspaceDataset(AbstractDataset[None, Path]):
    """Gives a node a folder of its own.

    What lies in it may be deleted at any time between runs; it saves time and decides no result.
    A node always works in a local folder. Of a workspace on another file system it is a copy:
    brought when it is loaded, and uploaded while the node works, so that another machine goes on
    from there.

    Args:
        filepath: A local folder, made when it is loaded, or an address that fsspec knows.
        credentials: Options of the other file system.
        cache: Local folder for the copy; None keeps it until the process ends.
        seconds: Between two looks at what there is to upload.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self,
        *,
        filepath: str,
        credentials: dict[str, object] | None = None,
        cache: str | None = None,
        seconds: float = 5.0,
        metadata: dict[str, object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._filepath, self._credentials, self._cache = filepath, credentials, cache
        self._seconds = seconds
        self._follower: Follower | None = None

    def load(self) -> Path:
        """The folder, there and empty if it was not there."""
        if is_remote(self._filepath):
            return self._brought()
        folder = Path(self._filepath)
        folder.mkdir(parents=True, exist_ok=True)
        return folder.absolute()

    def save(self, data: None) -> NoReturn:
        raise DatasetError(f"{self._filepath} is a workspace: nodes write into it themselves.")

    def _brought(self) -> Path:
        remote = RemotePath.at(self._filepath, self._credentials)
        local = copy_of(remote, self._cache)
        if self._follower is None:
            folder = SyncedFolder(remote, local)
            folder.pull()
            self._follower = Follower(folder, self._seconds)
        return local

    def _release(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": self._filepath}
