"""Lots, the subjects to photograph: their true labels and the labels that are recorded.

The only place, with its siblings, that knows the classes of the default taxonomy by name.
Drawing labels takes microseconds and no pixels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

Labels = dict[str, str | int | None]

BLOCK = 10
"""Indices come in blocks of ten; a block holds one burst of two or three frames, or none."""

PRODUCT_TYPES = {"plant": 0.23, "dry_flower": 0.24, "trim": 0.2, "hash": 0.18, "extract": 0.15}
"""Product types and how often they occur."""

GRADES = {"A+": 0.15, "A": 0.22, "B": 0.27, "C": 0.21, "F": 0.15}
"""Quality grades, best first, and how often they occur."""

_TYPES = tuple(PRODUCT_TYPES)
# How often an attribute occurs per product type, in the order of PRODUCT_TYPES, before grading.
_BY_TYPE = {
    "dense_trichomes": (0.35, 0.6, 0.4, 0.12, 0.0),
    "amber_trichomes": (0.2, 0.35, 0.25, 0.1, 0.0),
    "crystals": (0.0, 0.0, 0.0, 0.1, 0.72),
    "purple_hues": (0.35, 0.35, 0.25, 0.05, 0.05),
    "orange_pistils": (0.3, 0.65, 0.25, 0.0, 0.0),
    "yellowing": (0.5, 0.45, 0.5, 0.0, 0.0),
    "seeds": (0.1, 0.5, 0.5, 0.12, 0.0),
    "stems": (0.45, 0.4, 0.6, 0.12, 0.08),
    "mould": (0.8, 0.8, 0.75, 0.65, 0.55),
    "wet_sheen": (0.2, 0.2, 0.2, 0.3, 0.55),
}
# What a grade does to the odds, in the order of GRADES: A+ is spotless, F is spoilt.
_BY_GRADE = {
    "dense_trichomes": (1.5, 1.3, 1.0, 0.6, 0.4),
    "amber_trichomes": (0.8, 1.0, 1.1, 1.1, 0.8),
    "crystals": (1.3, 1.2, 1.0, 0.8, 0.6),
    "purple_hues": (1.2, 1.1, 1.0, 0.8, 0.7),
    "orange_pistils": (1.2, 1.1, 1.0, 0.9, 0.7),
    "yellowing": (0.0, 0.15, 0.7, 1.7, 1.2),
    "seeds": (0.0, 0.0, 0.35, 1.5, 1.1),
    "stems": (0.0, 0.4, 1.1, 1.7, 1.4),
    "mould": (0.0, 0.0, 0.0, 0.08, 1.0),
    "wet_sheen": (0.0, 0.8, 0.9, 1.7, 1.4),
}
ATTRIBUTES = tuple(_BY_TYPE)
"""What may be there or not, whatever the product type."""

_MISSING = {"product_type": 0.05, "quality_grade": 0.15, "appearance": 0.25, "attribute": 0.05}


@dataclass(frozen=True)
class Lot:
    """One subject as it truly is; a burst is several photos of one lot."""

    seed: int
    first: int
    """Index of the lot's first photo."""
    product_type: str
    grade: str
    quality: float
    """0 (spoilt) to 1 (flawless); each grade is a fifth of it."""
    attributes: frozenset[str]

    @property
    def group(self) -> str:
        """Names the lot; unlike lots never share a group."""
        return f"lot-{self.first:06d}"

    def rng(self, purpose: str, *more: int) -> np.random.Generator:
        """A stream of its own for each purpose, so that one does not shift another."""
        key = [self.seed, self.first, zlib.crc32(purpose.encode()), *more]
        return np.random.default_rng(key)

    def __contains__(self, attribute: str) -> bool:
        """`"mould" in lot`."""
        return attribute in self.attributes


def lot_of(index: int, seed: int) -> Lot:
    """The lot that photo `index` shows."""
    return _draw_lot(_first_of_lot(index, seed), seed)


def labels_of(lot: Lot) -> Labels:
    """The lot's labels as found in life: some of them missing."""
    rng = lot.rng("missing labels")
    known = {name: rng.random() >= odds for name, odds in _MISSING.items()}
    return {
        "product_type": lot.product_type if known["product_type"] else None,
        "quality_grade": lot.grade if known["quality_grade"] else None,
    } | {
        f"appearance.{name}": int(name in lot)
        if rng.random() >= _MISSING["attribute"] and known["appearance"]
        else None
        for name in ATTRIBUTES
    }


def _first_of_lot(index: int, seed: int) -> int:
    block, place = divmod(index, BLOCK)
    rng = np.random.default_rng([seed, block, zlib.crc32(b"burst")])
    start, length = int(rng.integers(0, BLOCK - 2)), int(rng.integers(1, 4))
    return block * BLOCK + (start if start <= place < start + length else place)


def _draw_lot(first: int, seed: int) -> Lot:
    rng = np.random.default_rng([seed, first, zlib.crc32(b"lot")])
    kind = int(rng.choice(len(_TYPES), p=list(PRODUCT_TYPES.values())))
    grade = int(rng.choice(len(GRADES), p=list(GRADES.values())))
    quality = 1 - (grade + rng.random()) / len(GRADES)
    odds = {name: _BY_TYPE[name][kind] * _BY_GRADE[name][grade] for name in ATTRIBUTES}
    if _TYPES[kind] == "extract" and grade == 0:
        odds["wet_sheen"] = _BY_TYPE["wet_sheen"][kind]  # A flawless oil is still an oil.
    present = frozenset(name for name in ATTRIBUTES if rng.random() < odds[name])
    return Lot(seed, first, _TYPES[kind], tuple(GRADES)[grade], quality, present)
