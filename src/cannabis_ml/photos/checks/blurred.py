"""A photo so blurred that its texture is gone.

Mould, trichomes and early disease are texture. The measure is the variance of the Laplacian
(Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy") at a fixed size, so that
it means the same for a phone's photo and a thumbnail. It falls with contrast too: a smooth leaf
that fills the photo comes near blur. Threshold: `blurred_below`.
"""

from __future__ import annotations

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.checks.seen import Seen


def find(seen: Seen, params: DefectParams) -> str | None:
    """Say how little of edges there is."""
    if seen.sharpness is None or seen.sharpness >= params.blurred_below:
        return None
    return f"Hardly an edge: variance of the Laplacian {seen.sharpness:.1f}."
