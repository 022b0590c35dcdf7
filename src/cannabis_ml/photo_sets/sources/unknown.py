"""Source of kind `unknown`: photos of nothing that a taxonomy knows, drawn by the project."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field

from cannabis_ml.photo_sets.sources.sample import DrawnSource

logger = logging.getLogger(__name__)


class UnknownSource(DrawnSource):
    """Photos with their `kind`: noise, text and the like."""

    kind: Literal["unknown"]
    count: int = Field(default=96, gt=0, description="Photos; the kinds take turns")

    def draw(self) -> None:
        from cannabis_ml.sample_photos.unknown_photos import write_unknown_photos

        logger.info("Drawing %s unknown photos in %s", f"{self.count:,}", self.folder)
        write_unknown_photos(self.folder, self.count, self.seed, size=self.size)
