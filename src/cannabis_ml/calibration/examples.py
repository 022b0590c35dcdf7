"""What a calibrator is fitted to: outputs of a model file beside labels, for one head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cannabis_ml.evaluation.groups import group_weights
from cannabis_ml.inference.calibrators import Calibrator
from cannabis_ml.inference.decision import given_each_parent, given_possible
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


@dataclass(frozen=True)
class Examples:
    """Photos with a known label of one head.

    Photos of one group, such as near-duplicates, are right or wrong together: a group counts as
    one photo, and each of its photos for an equal share of it.

    Attributes:
        probs: float64 (N, K). Of a head that its parent limits: given the true class of the parent.
        labels: Multiclass and ordinal, int64 (N,) class indices, none missing; multilabel,
            float64 (N, K) of 0 and 1, NaN where unknown.
        groups: int64 (N,), a number for each group.
        allowed: bool (N, K), which classes can be; None for all.
    """

    probs: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    allowed: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        return self.probs.shape[1]

    @property
    def group_count(self) -> int:
        return len(np.unique(self.groups))

    @property
    def weights(self) -> np.ndarray:
        """float64 (N,); those of a group sum to 1."""
        return group_weights(self.groups)

    def at(self, rows: np.ndarray) -> Examples:
        """Some of them.

        Args:
            rows: Indices, or bool (N,).
        """
        allowed = None if self.allowed is None else self.allowed[rows]
        return Examples(self.probs[rows], self.labels[rows], self.groups[rows], allowed)


def examples_of(
    head: Head,
    taxonomy: Taxonomy,
    outputs: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> Examples:
    """Photos that a calibrator of a head can be fitted to.

    A head that its parent limits is calibrated given the class of the parent. So only photos count
    where that class is known too, and allows the label.

    Args:
        head: One of the taxonomy's.
        taxonomy: Gives the parents and what these allow.
        outputs: As a model file gives them, see `Decision.decide`; N photos.
        truth: Labels of the same photos, as from `Taxonomy.encode`.
        groups: (N,) a number or name per photo; None where each is a group of its own.
    """
    probs = np.asarray(outputs[head.name], np.float64)
    labels = truth[head.name]
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    if head.kind == "multilabel":
        labels = labels.astype(np.float64)
    allowed = None
    if taxonomy.limits(head):
        assert head.parent is not None
        pairs = taxonomy.allowed_pairs(head)
        parent = truth[head.parent]
        allowed = pairs[parent] & (parent != MISSING)[:, None]
        if head.kind == "multilabel":
            probs = given_possible(probs, np.asarray(outputs[head.parent], np.float64) @ pairs)
            labels = np.where(allowed, labels, np.nan)
            allowed = None  # what is not allowed has no label now
        else:
            table = given_each_parent(outputs, head, pairs)
            probs = table[np.arange(len(parent)), parent]
            labels = np.where(allowed[np.arange(len(labels)), labels], labels, MISSING)
    unknown = np.isnan(labels).all(axis=1) if head.kind == "multilabel" else labels == MISSING
    return Examples(probs, labels, groups, allowed).at(~unknown)


def calibrated(examples: Examples, calibrator: Calibrator) -> np.ndarray:
    """Their probabilities by a calibrator, (N, K)."""
    return calibrator.apply(examples.probs, examples.allowed)
