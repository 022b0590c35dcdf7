"""Nodes of balancing: resample rows or weight classes, without copying photos."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pandas as pd

from cannabis_ml._io.heavy_types import Figure
from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.balancing.params import BalancingParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.text import did_you_mean

logger = logging.getLogger(__name__)

UNLABELLED = -1


def balance_classes(
    photo_set: PhotoSet, taxonomy: Taxonomy, balancing: BalancingParams
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Choose training rows and weights by the configured strategy.

    A photo without a label of a balanced head belongs to no class: it is kept once, with weight
    1. Classes without a training photo count nowhere; their weight is 1. No pixels are read.

    Args:
        photo_set: Stored photos of all splits.
        taxonomy: The heads.
        balancing: Strategy and heads.

    Returns:
        Rows of `photo_set` that one epoch shows, ascending, those repeated standing there
        repeatedly: `row` (int64) and `weight` (float64, mean 1 with `weighted`). And head ->
        class -> weight, 1 throughout unless the strategy weighs: for people and other trainers.
        Training takes the weights of the rows, which several heads balanced jointly share.

    Raises:
        TaxonomyError: If a head is not in the taxonomy, or is multilabel: its photos are of
            several classes at once.
    """
    heads = balanced_heads(taxonomy, balancing)
    rows, codes = class_codes(photo_set, heads)
    joint, classes = _joined(codes)
    _warn_of_empty(codes, heads)
    shown, weights = np.arange(len(rows)), np.ones(len(rows))
    if balancing.strategy in ("oversample", "undersample"):
        counts = np.bincount(joint[joint >= 0], minlength=classes)
        if counts.size:
            wanted = counts.max() if balancing.strategy == "oversample" else counts.min()
            shown = _resampled(joint, counts, int(wanted), _tie_break(photo_set, rows, balancing))
    elif balancing.strategy != "none":
        weights = _row_weights(joint, classes, balancing)
    table = pd.DataFrame({"row": rows[shown], "weight": weights[shown]})
    return table, {
        head.name: _class_weights(code, head, balancing)
        for head, code in zip(heads, codes, strict=True)
    }


def draw_balance(
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    balanced_rows: pd.DataFrame,
    balancing: BalancingParams,
) -> Figure:
    """Draw how much of training each class has, before and after."""
    from cannabis_ml.pipelines.balancing.figures import balance

    heads = balanced_heads(taxonomy, balancing)
    rows, codes = class_codes(photo_set, heads)
    at = np.searchsorted(rows, balanced_rows["row"])
    before, after = {}, {}
    for head, code in zip(heads, codes, strict=True):
        k = len(head.class_names)
        # Unlabelled photos are counted in a class of their own, the last.
        before[head.name] = np.bincount(code % (k + 1), minlength=k + 1)
        after[head.name] = np.bincount(
            code[at] % (k + 1), weights=balanced_rows["weight"], minlength=k + 1
        )
    return balance(heads, before, after, balancing.strategy)


def balanced_heads(taxonomy: Taxonomy, balancing: BalancingParams) -> list[Head]:
    """The heads that are balanced.

    Raises:
        TaxonomyError: As `balance_classes`.
    """
    possible = {head.name: head for head in taxonomy.heads if head.kind != "multilabel"}
    if not balancing.heads:
        return list(possible.values())[:1]
    faults = []
    for name in balancing.heads:
        if name in {head.name for head in taxonomy.heads} - set(possible):
            faults.append(f"'{name}' is multilabel, a photo may be of several of its classes")
        elif name not in possible:
            faults.append(f"'{name}' is not a head{did_you_mean(name, possible)}")
    if faults:
        raise TaxonomyError(
            f"Photos cannot be balanced as balancing.heads asks: {'; '.join(faults)}.\n"
            f"Name multiclass or ordinal heads in parameters_balancing.yml: {', '.join(possible)}."
        )
    return [possible[name] for name in balancing.heads]


def class_codes(photo_set: PhotoSet, heads: list[Head]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Read the labels of the training rows, and nothing else.

    No other split is balanced: what models are judged by stays as it was found.

    Returns:
        The training rows, ascending, int64 (N,); and per head int64 (N,) class indices, or
        `UNLABELLED`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = photo_set.rows_of(Split.TRAIN)
    table = photo_set.table(*dict.fromkeys(head.name for head in heads))
    codes = []
    for head in heads:
        classes = pa.array(head.class_names, pa.string())
        of_head = pc.index_in(table[head.name].cast(pa.string()), value_set=classes)
        codes.append(of_head.fill_null(UNLABELLED).to_numpy().astype(np.int64)[rows])
    return rows, codes


def _joined(codes: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Number the combinations of classes that occur; a photo without one label has none."""
    if not codes:
        return np.empty(0, dtype=np.int64), 0
    combined = np.zeros(len(codes[0]), dtype=np.int64)
    for code in codes:
        combined = combined * (code.max(initial=0) + 1) + code
    known = np.all([code >= 0 for code in codes], axis=0)
    combinations, numbered = np.unique(combined[known], return_inverse=True)
    joint = np.full(len(combined), UNLABELLED, dtype=np.int64)
    joint[known] = numbered
    return joint, len(combinations)


def _resampled(
    joint: np.ndarray, counts: np.ndarray, wanted: int, tie_break: np.ndarray
) -> np.ndarray:
    """Oversample or undersample every class to `wanted` photos.

    A photo is there as often as any other of its class, or once more: in the order
    of `tie_break`. Those of no class stay as they are.

    Returns:
        Positions in `joint`, ascending.
    """
    known = joint >= 0
    # Rank of every photo within its class.
    order = np.lexsort((tie_break, joint))
    unlabelled = len(joint) - int(counts.sum())
    rank = np.empty(len(joint), dtype=np.int64)
    rank[order] = np.arange(len(joint))
    rank -= np.append(unlabelled + np.cumsum(counts) - counts, 0)[joint]
    size = np.where(known, counts[joint], 1)
    times = np.where(known, wanted // size + (rank < wanted % size), 1)
    return np.repeat(np.arange(len(joint)), times)


def _tie_break(photo_set: PhotoSet, rows: np.ndarray, balancing: BalancingParams) -> np.ndarray:
    """A hash per training photo, which other photos do not change."""
    import pyarrow as pa

    ids = photo_set.table("photo_id")["photo_id"].cast(pa.string()).to_numpy()[rows]
    key = hashlib.sha256(str(balancing.seed).encode()).hexdigest()[:16]  # pandas takes 16 bytes
    return pd.util.hash_array(ids, hash_key=key, categorize=False)


def _row_weights(joint: np.ndarray, classes: int, balancing: BalancingParams) -> np.ndarray:
    known = joint >= 0
    weights = np.ones(len(joint))
    of_class = _weights(np.bincount(joint[known], minlength=classes), balancing)
    weights[known] = of_class[joint[known]]
    return weights


def _class_weights(code: np.ndarray, head: Head, balancing: BalancingParams) -> dict[str, float]:
    counts = np.bincount(code[code >= 0], minlength=len(head.class_names))
    weights = _weights(counts, balancing)
    return dict(zip(head.class_names, weights.tolist(), strict=True))


def _weights(counts: np.ndarray, balancing: BalancingParams) -> np.ndarray:
    """Weight of every class from its count; 1 where it has no photo.

    `weighted` is total/(classes x count): the mean over photos is 1. `effective_number` is
    (1 - beta)/(1 - beta^count) scaled to sum to the number of classes (Cui et al. 2019,
    Class-Balanced Loss Based on Effective Number of Samples, equation 2 and section 4).
    """
    weights, seen = np.ones(len(counts)), counts > 0
    if balancing.strategy == "weighted":
        weights[seen] = counts.sum() / (seen.sum() * counts[seen])
    elif balancing.strategy == "effective_number":
        # As exponentials: 1 - beta^n loses every digit when beta is near 1.
        inverse = 1 / -np.expm1(counts[seen] * np.log(balancing.beta)) if balancing.beta else 1.0
        weights[seen] = inverse * seen.sum() / np.sum(np.broadcast_to(inverse, seen.sum()))
    return weights


def _warn_of_empty(codes: list[np.ndarray], heads: list[Head]) -> None:
    for head, code in zip(heads, codes, strict=True):
        counts = np.bincount(code[code >= 0], minlength=len(head.class_names))
        empty = [name for name, n in zip(head.class_names, counts, strict=True) if n == 0]
        if empty:
            logger.warning("No training photo of %s: %s", head.name, ", ".join(empty))
