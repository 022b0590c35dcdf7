"""Small pictures of the photos that the page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import pandas as pd

from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.photo_files import read_file
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.checks import conflicting_duplicate
from cannabis_ml.photos.data_uri import jpeg_uri
from cannabis_ml.photos.decode import UnreadableError

EXAMPLES = 12
"""Photos shown per defect, and clusters and conflicts shown; the JSON lists all."""

MEMBERS = 6
"""Photos shown per cluster."""

MAX_THUMBNAILS = 200


def draw_thumbnails(
    report: Mapping[str, Any],
    photo_index: pd.DataFrame,
    size: int = 96,
    workers: int | None = None,
) -> dict[str, str]:
    """Draw the photos that the page shows, and no others.

    Args:
        report: As `build_report` returns it.
        photo_index: Which of these have a `defect`.
        size: Longer side in pixels.
        workers: Threads; None takes one per core.

    Returns:
        A data URI per path: a JPEG, or a drawn placeholder that names the defect where the file
        gives no photo. At most `MAX_THUMBNAILS`.
    """
    defects = dict(zip(photo_index["path"], photo_index["defect"], strict=True))
    paths = list(dict.fromkeys(_shown(report)))[:MAX_THUMBNAILS]
    shown = [(path, defects.get(path)) for path in paths]
    return dict(zip(paths, map_in_order(partial(_draw, size=size), shown, workers), strict=True))


def _draw(photo: tuple[str, object], size: int) -> str:
    path, known = photo
    try:
        return jpeg_uri(read_file(path), size)
    except UnreadableError as error:
        return _placeholder_uri(error.defect, size)
    except (SourceError, OSError, ValueError):
        return _placeholder_uri(known if isinstance(known, str) else "missing", size)


def _shown(report: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the photos on the page, those that matter most first: some may have to go."""
    for conflict in report["conflicts"][:EXAMPLES]:
        yield conflict["photos"][0]["path"]
    clusters = report["near_duplicates"]["list"][:EXAMPLES]
    yield from (p["path"] for c in clusters for p in c["photos"][:MEMBERS] if c["two_labels"])
    conflict = conflicting_duplicate.DEFECT.name
    # In turns, so that the last defect gets as many as the first.
    defects = [d["photos"] for d in report["defects"] if d["name"] != conflict]
    for nth in range(EXAMPLES):
        yield from (photos[nth]["path"] for photos in defects if nth < len(photos))
    yield from (p["path"] for c in clusters for p in c["photos"][:MEMBERS])


def _placeholder_uri(defect: str, size: int) -> str:
    words = str(defect).replace("_", " ")[:24].split(" ")
    letters = size / max(6.5, 0.62 * max(map(len, words)) + 1)
    middle = size / 2 + letters * (0.35 - 0.6 * (len(words) - 1))
    lines = "".join(
        f'<text x="{size / 2:.0f}" y="{middle + i * 1.2 * letters:.1f}">{_escaped(word)}</text>'
        for i, word in enumerate(words)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}">'
        f'<rect width="100%" height="100%" fill="#e9e4dc"/>'
        f'<path d="M0 0L{size} {size}M{size} 0L0 {size}" stroke="#d9d2c6"/>'
        f'<g font-family="sans-serif" font-size="{letters:.1f}" text-anchor="middle"'
        f' fill="#6b6257">{lines}</g></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))
