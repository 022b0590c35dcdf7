"""Drift: whether embeddings and confidences of recent photos differ from those of training.

Two-sample tests by permutation, which need no assumption on distributions: the maximum mean
discrepancy for embeddings (Gretton et al. 2012, J. Mach. Learn. Res. 13:723) and Kolmogorov-Smirnov
for confidences, head by head (Rabanser et al. 2019, "Failing Loudly"). Photos of one group are
permuted together: near-duplicates are not independent of each other. The p-values of all tests are
corrected by Holm's method, so that false alarms are as rare as asked for in total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.text import counted

_AT_ONCE = 128

CONFIDENCE = "confidence of "
"""What the name of a test, and a column, of confidences begins with; the head follows."""


class DriftParams(BaseModel):
    """How drift is tested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    false_alarms: float = Field(
        default=0.01, gt=0, lt=1, description="Probability of an alarm where nothing has changed"
    )
    permutations: int = Field(
        default=999,
        ge=99,
        description="1 / (permutations + 1) is the smallest p-value; more are made where that is"
        " too large for any of so many tests to alarm",
    )
    fewest_photos: int = Field(default=30, ge=2, description="Below nothing is tested")
    most_photos: int = Field(
        default=500, ge=2, description="Of each side; where there are more, drawn uniformly"
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class Sample:
    """Photos to compare.

    Attributes:
        embeddings: float (N, F), of one model file; None where there are none.
        confidences: By head float (N,); NaN where not known.
        groups: Of each photo a number or name, (N,); None where each is one of its own. Groups of
            two samples are different ones.
    """

    embeddings: np.ndarray | None
    confidences: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None


def find_drift(training: Sample, recent: Sample, params: DriftParams) -> pd.DataFrame:
    """Test whether recent photos differ from training's.

    Training's sample must not be one that the network was fitted to: it is surer of these.
    Take validation or calibration photos.

    Args:
        training: Photos that stand for training.
        recent: Photos since.
        params: How often to be alarmed in vain.

    Returns:
        One row per test: `what` (`embeddings`, or `confidence of <head>`), `photos` (recent),
        `statistic` (MMD², or the largest distance of the distributions), `change` (of the mean
        confidence; NaN for embeddings), `p_value`, `corrected` (p-value after Holm's correction),
        `drifted` and `reason`. Where a sample has fewer than `fewest_photos` no p-value: NaN.
    """
    tests = []
    if training.embeddings is not None and recent.embeddings is not None:
        tests.append(("embeddings", training.embeddings, recent.embeddings))
    for head in training.confidences:
        if head in recent.confidences:
            before, after = training.confidences[head], recent.confidences[head]
            tests.append((CONFIDENCE + head, before[:, None], after[:, None]))
    # The smallest p-value, times the number of tests (Holm), has to lie below the limit.
    fewest = math.ceil(len(tests) / params.false_alarms)
    params = params.model_copy(update={"permutations": max(params.permutations, fewest)})
    rows = [
        _test(what, (before, training.groups), (after, recent.groups), params)
        for what, before, after in tests
    ]
    columns = ["what", "photos", "statistic", "change", "p_value"]
    return _judged(pd.DataFrame(rows, columns=columns), params)


_Side = tuple[np.ndarray, np.ndarray | None]


def _test(
    what: str, before: _Side, after: _Side, params: DriftParams
) -> tuple[str, int, float, float, float]:
    random = np.random.default_rng(params.seed)
    first, first_groups = _usable(before, params, random)
    second, second_groups = _usable(after, params, random)
    is_confidence = what != "embeddings"
    change = float(second.mean() - first.mean()) if is_confidence and len(second) else np.nan
    if min(len(first), len(second)) < params.fewest_photos:
        return what, len(second), np.nan, change, np.nan
    values = np.concatenate([first, second]).astype(np.float64)
    groups = np.concatenate([first_groups, second_groups + first_groups.max() + 1])
    is_first = np.arange(len(values)) < len(first)
    sides = _permuted(is_first, groups, params.permutations, random)
    statistics = (_ks if is_confidence else _mmd)(values, sides)
    # Rounding must not make a permutation that is the same look smaller.
    as_large = int((statistics[1:] >= statistics[0] - 1e-12).sum())
    p_value = (1 + as_large) / (1 + params.permutations)
    return what, len(second), float(statistics[0]), change, p_value


def _usable(
    side: _Side, params: DriftParams, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    values, groups = side
    number = np.arange(len(values)) if groups is None else groups
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    if len(known) > params.most_photos:
        known = np.sort(random.choice(known, params.most_photos, replace=False))
    _, which = np.unique(number[known], return_inverse=True)
    return np.asarray(values)[known], which.reshape(-1).astype(np.int64)


def _permuted(
    is_first: np.ndarray, groups: np.ndarray, permutations: int, random: np.random.Generator
) -> np.ndarray:
    """Which photos are on the first side: bool (permutations + 1, N), the first row as it is."""
    _, first_rows, which = np.unique(groups, return_index=True, return_inverse=True)
    own = is_first[first_rows]
    order = np.argsort(random.random((permutations, len(own))), axis=1)
    return np.concatenate([is_first[None], own[order][:, which]])


def _mmd(values: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Squared maximum mean discrepancy of each division, biased, (P,).

    The kernel is Gaussian; its width is the median distance of all photos.
    """
    norms = (values**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * values @ values.T, 0)
    apart = squares[np.triu_indices(len(values), 1)]
    width = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    kernel = np.exp(-squares / width)
    discrepancies = []
    for start in range(0, len(sides), _AT_ONCE):
        part = sides[start : start + _AT_ONCE].astype(np.float64)
        count = part.sum(axis=1, keepdims=True)
        weights = part / count - (1 - part) / (part.shape[1] - count)
        discrepancies.append(((weights @ kernel) * weights).sum(axis=1))
    return np.concatenate(discrepancies)


def _ks(values: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Largest distance of the two distribution functions of each division, (P,)."""
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    part = sides[:, order].astype(np.float64)
    count = part.sum(axis=1, keepdims=True)
    weights = part / count - (1 - part) / (part.shape[1] - count)
    # Between equal values the distribution functions have no value of their own.
    last = np.append(np.diff(flat[order]) > 0, True)
    return np.abs(weights.cumsum(axis=1)[:, last]).max(axis=1)


def _judged(table: pd.DataFrame, params: DriftParams) -> pd.DataFrame:
    corrected = _holm(table["p_value"].to_numpy(np.float64))
    drifted = corrected < params.false_alarms
    reasons = []
    rows = zip(table["what"], table["photos"], table["change"], corrected, drifted, strict=True)
    for what, photos, change, p, has_drifted in rows:
        if np.isnan(p):
            reasons.append(
                f"{what}: too few photos to test, below {params.fewest_photos} on a side"
            )
            continue
        reason = f"{what}: {'drifted' if has_drifted else 'no drift'} (p = {p:.3f},"
        reason += f" {counted(photos, 'recent photo')}"
        reasons.append(reason + (")" if np.isnan(change) else f", mean {change:+.3f})"))
    return table.assign(
        corrected=corrected, drifted=drifted, reason=pd.Series(reasons, dtype="str")
    )


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (Holm 1979, Scand. J. Stat. 6:65); NaN stands for no test."""
    corrected = p_values.copy()
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected
