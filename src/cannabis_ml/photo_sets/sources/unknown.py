"""Source of kind `unknown`: photos of nothing that a taxonomy knows, drawn by the project."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from cannabis_ml.photo_sets.sources.base import Source, Text
from cannabis_ml.photo_sets.sources.sample import renderer_version
from cannabis_ml.photo_sets.sources.table import TableSource

log = logging.getLogger(__name__)


class UnknownSource(Source):
    """Photos that the project draws on first use, with their `kind`: noise, text and the like."""

    kind: Literal["unknown"]
    path: Text = Field(description="Folder to draw into; each set gets a folder of its own below")
    count: int = Field(default=96, gt=0, description="Photos; the kinds take turns")
    seed: int = Field(default=42, ge=0, description="Same seed, same photos")
    size: int = Field(default=256, ge=16, description="Side of a photo in pixels")

    @property
    def folder(self) -> Path:
        """Where this set is drawn: a changed renderer gets another folder, so it draws anew."""
        name = f"{self.count}_{self.seed}_{self.size}_{renderer_version()}"
        return Path(self.path).expanduser() / name

    def read(self) -> pd.DataFrame:
        from cannabis_ml.sample_photos.unknown_photos import write_unknown_photos

        table = self.folder / "labels.csv"
        if not table.is_file():
            log.info("Drawing %s unknown photos in %s", f"{self.count:,}", self.folder)
            write_unknown_photos(self.folder, self.count, self.seed, size=self.size)
        return TableSource(kind="table", path=str(table), defaults=self.defaults).read()

    def exists(self) -> bool:
        return (self.folder / "labels.csv").is_file()
