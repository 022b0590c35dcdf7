"""Several figures that belong together, as one catalog entry."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import ImagePreview

from cannabis_ml._io.files import written_aside
from cannabis_ml.datasets.path import PathDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 200
"""Bytes of a file's name without its suffix, at most; file systems take 255 of a whole name."""

PREVIEW_WIDTH = 900
"""Width of the preview in kedro-viz, in pixels."""


class FiguresDataset(PathDataset[dict[str, "Figure"], list[Path]]):
    """Saves a dict of Matplotlib figures as PNG files of one folder; loads their paths.

    Args:
        filepath: The folder; the other arguments are those of `PathDataset`.
        dpi: Resolution of the files.
    """

    MARKER = ""

    def __init__(self, *, filepath: str, dpi: int = 120, **options: Any) -> None:
        self._dpi = dpi
        super().__init__(filepath=filepath, **options)

    def load(self) -> list[Path]:
        return sorted(self.local_path().glob("*.png"))

    def save(self, data: dict[str, Figure]) -> None:
        with self.saving() as path, written_aside(path) as aside:
            aside.mkdir()
            for stem, figure in zip(_stems(data), data.values(), strict=True):
                figure.savefig(aside / f"{stem}.png", dpi=self._dpi)

    def preview(self) -> ImagePreview:
        """All figures, one below the other, for kedro-viz."""
        from PIL import Image

        pictures = []
        for path in self.load():
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            height = round(picture.height * PREVIEW_WIDTH / picture.width)
            pictures.append(picture.resize((PREVIEW_WIDTH, height)))
        sheet = Image.new("RGB", (PREVIEW_WIDTH, sum(p.height for p in pictures)), "white")
        top = 0
        for picture in pictures:
            sheet.paste(picture, (0, top))
            top += picture.height
        held = io.BytesIO()
        sheet.save(held, "PNG")
        return ImagePreview(base64.b64encode(held.getvalue()).decode())


def _stems(names: Iterable[str]) -> list[str]:
    """File names for figures: a head may be called anything, a file may not, and none two alike.

    Names that become equal, also where file systems ignore case, get a hash of the original.
    """
    safe = {name: _safe(name) for name in names}
    taken = Counter(stem.casefold() for stem in safe.values())
    return [
        stem
        if taken[stem.casefold()] == 1 and len(stem.encode()) <= LONGEST
        else _unique(stem, name)
        for name, stem in safe.items()
    ]


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in name)


def _unique(stem: str, name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{stem.encode()[:LONGEST].decode(errors='ignore')} {digest}"
