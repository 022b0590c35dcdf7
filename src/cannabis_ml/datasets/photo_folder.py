"""Photos without labels, in a folder that need not be there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml.photos.found_files import files_below, may_be_photo


class PhotoFolderDataset(AbstractDataset[None, "list[Path]"]):
    """Loads the paths of the photos below a folder, in order; none where there is no folder.

    Args:
        filepath: Local folder.
        metadata: For plugins; Kedro ignores it.
    """

    def __init__(
        self, *, filepath: str | os.PathLike[str], metadata: dict[str, object] | None = None
    ) -> None:
        self.metadata = metadata
        self._folder = Path(filepath)

    def load(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        paths = (self._folder.joinpath(*parts) for parts in files_below(self._folder))
        return [path for path in paths if may_be_photo(path)]

    def save(self, data: None) -> NoReturn:
        raise DatasetError(f"{self._folder} is read-only: put photos into it yourself.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._folder)}
