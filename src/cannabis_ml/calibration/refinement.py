"""Recalibration out of fold, to part a log loss into calibration error and refinement."""

from __future__ import annotations

from functools import partial

import numpy as np

from cannabis_ml.calibration import calibrator_fits as fits
from cannabis_ml.calibration.calibrator_choice import held_out
from cannabis_ml.calibration.examples import Examples
from cannabis_ml.taxonomy import Head


def recalibrated(
    head: Head, probs: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Probabilities of each photo by a calibrator that was fitted to the photos of other groups.

    By five folds, with few numbers: a temperature; of an ordinal head a scale and a shift; of a
    multilabel head a slope and a shift per attribute. Their log loss is the refinement loss, an
    estimate from above (Berta et al. 2025, arXiv 2501.19195).

    Args:
        head: Its kind decides.
        probs: float64 (N, K).
        labels: All known, see `Examples`.
        groups: (N,) a number or name per photo.

    Returns:
        float64 (N, K); `probs` where there is a single group.
    """
    examples = Examples(probs, labels, np.unique(groups, return_inverse=True)[1])
    if examples.group_count < 2:
        return probs
    if head.kind == "multilabel":
        fit = partial(fits.fit_affine, pooled=False)
        return held_out(examples, fit)[0]
    if head.kind == "ordinal":
        return held_out(examples, partial(fits.fit_ordinal, shifts="one"))[0]
    return held_out(examples, fits.fit_temperature)[0]
