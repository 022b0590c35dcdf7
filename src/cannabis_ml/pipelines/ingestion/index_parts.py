"""What an interrupted indexing has done, kept in parts, so that the next run goes on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cannabis_ml._io.cluster import installed
from cannabis_ml._io.files import written_aside
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.one_photo import INDEX_TYPES

PART_PHOTOS = 1000
"""Photos per part: what a kill costs at most, besides chunks that are under way."""


@dataclass(frozen=True)
class IndexParts:
    """Leading parts of one index: of the same photos, thresholds and code.

    Attributes:
        folder: Where they lie; None keeps none.
    """

    folder: Path | None

    @classmethod
    def of(cls, workspace: Path | None, paths: Iterable[str], defects: DefectParams) -> IndexParts:
        """The parts of an index; those of others are removed.

        Args:
            workspace: A folder for nothing else; None keeps no parts.
            paths: The photos, in order.
            defects: Thresholds of the checks.
        """
        if workspace is None:
            return cls(None)
        digest = hashlib.sha256(f"{installed()} {defects.model_dump_json()}".encode())
        for path in paths:
            digest.update(b"\0" + path.encode("utf-8", "surrogatepass"))
        folder = workspace / digest.hexdigest()[:32]
        for other in workspace.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return cls(folder)

    def read(self) -> list[pd.DataFrame]:
        """The parts from the first to the last before one that is missing."""
        parts: list[pd.DataFrame] = []
        while self.folder and (path := self._path(len(parts))).is_file():
            parts.append(pd.read_parquet(path).astype(INDEX_TYPES))
        return parts

    def keep(self, number: int, part: pd.DataFrame) -> None:
        """Keep a part."""
        if self.folder:
            with written_aside(self._path(number)) as aside:
                part.to_parquet(aside)

    def remove(self) -> None:
        """Remove all parts: files may change before the next indexing."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06}.parquet"
