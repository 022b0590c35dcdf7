"""Embeddings of photos by one backbone; no PyTorch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of every photo of a set by one backbone.

    Attributes:
        values: float32 (len(photo_set), F).
        weights: Hash of all that decided them, see `training.features.weights_hash`.
    """

    values: np.ndarray
    weights: str
