"""Figures about augmentation, for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from cannabis_ml._io.drawing import Figure
from cannabis_ml.photo_sets.copies import COPY
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy

INK, FAINT = "#222222", "#8a8a8a"

PHOTOS, COPIES = 6, 6


def augmentation_preview(
    photo_set: PhotoSet, augmented_photos: PhotoSet, taxonomy: Taxonomy
) -> Figure:
    """Training photos on the left, evenly spread over the split, their copies beside them.

    Args:
        photo_set: Stored photos with their labels.
        augmented_photos: Their copies.
        taxonomy: The heads.
    """
    copies_of = augmented_photos.rows_by_id()
    ids = photo_set.labels("photo_id")["photo_id"]
    copied = np.flatnonzero(ids.isin(list(copies_of)))
    picked = [int(copied[at]) for at in _spread(len(copied), PHOTOS)]
    if not picked:
        return _note("No copies: augmentation.copies is 0.")
    shown = [photo_set.labels_at(row) for row in picked]
    columns = 1 + max(min(len(copies_of[photo["photo_id"]]), COPIES) for photo in shown)
    figure = Figure(
        figsize=(max(columns * 1.9, 5.5), len(picked) * 2.15 + 0.5), layout="constrained"
    )
    grid = figure.subplots(len(picked), columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for line, row, photo in zip(grid, picked, shown, strict=True):
        line[0].imshow(_squared(photo_set.pixels(row)))
        line[0].set_title(_label(photo, taxonomy), fontsize=8, loc="left", color=INK)
        for axes, copy_row in zip(line[1:], copies_of[photo["photo_id"]], strict=False):
            axes.imshow(augmented_photos.pixels(copy_row))
            number = augmented_photos.labels_at(copy_row)[COPY]
            axes.set_title(f"copy {number}", fontsize=7, loc="left", color=FAINT)
    figure.suptitle(
        f"Training photos and their copies ({len(augmented_photos):,} copies of"
        f" {len(copied):,} photos)",
        fontsize=11,
        color=INK,
    )
    return figure


def _spread(length: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, length - 1, min(wanted, length)).astype(int).tolist()))


def _squared(pixels: np.ndarray) -> np.ndarray:
    """The largest square of the middle, so that photos of all shapes stand in line."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _label(photo: dict[str, Any], taxonomy: Taxonomy) -> str:
    """What of the photo is known, a line for at most two heads."""
    lines = []
    for head in taxonomy.heads:
        if head.kind != "multilabel":
            lines.append(photo[head.name] or "–")
        else:
            lines.append(", ".join(n for n in head.class_names if head.is_shown(photo, n)))
    text = " · ".join(line for line in lines[:2] if line)
    return text if len(text) <= 34 else text[:33] + "…"


def _note(text: str) -> Figure:
    figure = Figure(figsize=(6, 1.5))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=INK)
    return figure
