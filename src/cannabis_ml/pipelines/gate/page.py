"""The gate's report as one HTML page, with the flipped answers as a contact sheet."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

from cannabis_ml._io.file_names import printable
from cannabis_ml.evaluation.comparison.unlabeled import Flip
from cannabis_ml.evaluation.comparison.verdict import GateReport
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.decode import UnreadableError, decode

SIDE = 128
"""Longer side of a picture on the page, pixels."""

TITLES = {
    "promote": ("good", "Promoted: the challenger passed"),
    "look": ("warning", "A person has to look"),
    "refuse": ("alarm", "Refused: the champion stays"),
}


def render_page(report: GateReport, photo_set: PhotoSet, unlabelled_photos: list[Path]) -> str:
    """Write the page.

    Args:
        report: As `judge_challenger` gives it.
        photo_set: Holds the test photos among those that flipped.
        unlabelled_photos: Paths of the others.

    Returns:
        A whole HTML document that refers to nothing outside itself.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "visible": lambda text: printable(str(text)),
        "percent": lambda share: "–" if share is None else f"{share:.0%}",
        "points": lambda value: f"{100 * value:+.1f}",
        "count": lambda n: f"{n:,}",
    }
    template = resources.files(__package__).joinpath("page.html.j2").read_text("utf-8")
    level, title = TITLES[report.outcome]
    pictures = dict(_pictures(report, photo_set, unlabelled_photos))
    return environment.from_string(template).render(
        r=report, level=level, title=title, pictures=pictures
    )


def _pictures(
    report: GateReport, photo_set: PhotoSet, unlabelled_photos: list[Path]
) -> Iterator[tuple[str, str]]:
    """A data URI per photo that flipped and can be read."""
    named = dict.fromkeys(flip.photo for flip in _flips(report))
    if not named:
        return
    rows, paths = photo_set.rows_by_id(), {str(path): path for path in unlabelled_photos}
    for photo in named:
        if photo in rows:
            yield photo, _jpeg_uri(photo_set.pixels(int(rows[photo][0])))
        elif photo in paths:
            try:
                yield photo, _jpeg_uri(decode(paths[photo].read_bytes(), reduce_to=2 * SIDE))
            except (UnreadableError, OSError):
                continue


def _flips(report: GateReport) -> Iterator[Flip]:
    for evidence in report.tiers.values():
        if evidence.unlabelled is not None:
            yield from evidence.unlabelled.flips


def _jpeg_uri(pixels: np.ndarray) -> str:
    import cv2

    scale = SIDE / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
