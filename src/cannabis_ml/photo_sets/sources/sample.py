"""Sources that the project draws itself, and of these kind `sample`."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.base import Source, Text
from cannabis_ml.photo_sets.sources.table import TableSource

logger = logging.getLogger(__name__)


class DrawnSource(Source):
    """Photos drawn by the project itself on first use."""

    path: Text = Field(description="Folder to draw into; each set gets a folder of its own below")
    count: int = Field(gt=0, description="Photos")
    seed: int = Field(default=42, ge=0, description="Same seed, same photos")
    size: int = Field(default=256, ge=16, description="Side of a photo in pixels")

    @property
    def folder(self) -> Path:
        """Where this set is drawn: a changed renderer gets another folder, so it draws anew."""
        name = f"{self.count}_{self.seed}_{self.size}_{renderer_version()}"
        return Path(self.path).expanduser() / name

    def draw(self) -> None:
        """Draw the photos and their table of labels."""
        raise NotImplementedError

    def read(self) -> pd.DataFrame:
        table = self.folder / "labels.csv"
        if not table.is_file():
            try:
                self.draw()
            except (OSError, SourceError):
                # Another run may have drawn the same set meanwhile.
                if not table.is_file():
                    raise
        return TableSource(kind="table", path=str(table), defaults=self.defaults).read()

    def exists(self) -> bool:
        return (self.folder / "labels.csv").is_file()


class SampleSource(DrawnSource):
    """Sample photos of what the taxonomy knows."""

    kind: Literal["sample"]
    count: int = Field(default=800, gt=0, description="Photos")
    workers: int | None = Field(default=None, gt=0, description="Processes; null: one per core")

    def draw(self) -> None:
        from cannabis_ml.sample_photos import write_sample_photos

        logger.info("Drawing %s sample photos in %s", f"{self.count:,}", self.folder)
        write_sample_photos(
            self.folder, self.count, self.seed, size=self.size, workers=self.workers
        )


@cache
def renderer_version() -> str:
    """Hash of the renderer's own source, as it was when the run began."""
    renderer = find_spec("cannabis_ml.sample_photos")
    assert renderer is not None
    assert renderer.origin is not None
    digest = hashlib.sha256()
    for file in sorted(Path(renderer.origin).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
