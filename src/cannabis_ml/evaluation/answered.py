"""Answers beside labels: how sure each is and whether it is right, by head and chain of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.predictions import file_outputs_of, groups_of, labels_of
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.reliability import answer_confidence
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


@dataclass(frozen=True, eq=False)
class LabeledOutputs:
    """What a model file gives for photos with labels.

    Attributes:
        outputs: Raw, see `Decision.decide`, (N, …).
        truth: As from `Taxonomy.encode`.
        groups: Of each photo a number or name, (N,).
    """

    outputs: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.groups)

    def at(self, rows: np.ndarray) -> LabeledOutputs:
        """Some of the photos."""
        return LabeledOutputs(
            {name: values[rows] for name, values in self.outputs.items()},
            {name: values[rows] for name, values in self.truth.items()},
            np.asarray(self.groups)[rows],
        )


def labeled_outputs(
    file_outputs: pd.DataFrame, photos: pd.DataFrame, taxonomy: Taxonomy, *splits: Split
) -> LabeledOutputs:
    """Everything that a file gives for the photos of some splits, with labels and groups.

    Args:
        file_outputs: As from `predictions_of`, with `split`.
        photos: A row per photo, with `photo_id`, labels and, if known, `group`.
        taxonomy: Gives the heads.
        splits: Those that count.
    """
    predictions = file_outputs[file_outputs["split"].isin(splits)]
    return LabeledOutputs(
        file_outputs_of(predictions, taxonomy),
        taxonomy.encode(labels_of(predictions, photos)),
        groups_of(predictions, photos),
    )


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated outputs and decisions for N photos.

    Attributes:
        outputs: As from `Decision.calibrated`.
        decided: As from `Decision.decide`.
    """

    outputs: Mapping[str, np.ndarray]
    decided: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, decision: Decision, outputs: Mapping[str, np.ndarray]) -> Calibrated:
        """By a decision, from raw outputs."""
        return cls(decision.calibrated(outputs), decision.decide(outputs))

    @classmethod
    def joined(cls, parts: Sequence[tuple[np.ndarray, Calibrated]], photos: int) -> Calibrated:
        """Parts with the rows that they are of, put together; every photo is in one part."""
        rows = np.concatenate([np.empty(0, int), *(rows for rows, _ in parts)])
        back = np.argsort(rows, kind="stable")
        if len(rows) != photos:
            raise ValueError(f"The parts hold {len(rows)} of {photos} photos.")

        def whole(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
            return {
                name: np.concatenate([np.asarray(table[name]) for table in tables])[back]
                for name in (tables[0] if tables else {})
            }

        return cls(whole([p.outputs for _, p in parts]), whole([p.decided for _, p in parts]))


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers with a label; of a multilabel head, every labelled attribute is one.

    Attributes:
        confidence: Calibrated probability of the answer, float64 (A,); of an attribute, that it is
            there.
        right: Whether the answer is right, bool (A,); of an attribute, whether it is there.
        groups: Group of the photo, (A,).
    """

    confidence: np.ndarray
    right: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.right)


def answered_events(
    head: Head, calibrated: Calibrated, labels: np.ndarray, groups: np.ndarray
) -> Answered:
    """Answers of one head, those without an answer or a label left out.

    Args:
        head: Its kind decides what an answer is.
        calibrated: Of N photos.
        labels: As from `Taxonomy.encode`, (N,) or (N, K).
        groups: Of each photo a number or name, (N,).
    """
    probs = np.asarray(calibrated.outputs[head.name], np.float64)
    groups = np.asarray(groups)
    if head.kind == "multilabel":
        rows, columns = np.nonzero(~np.isnan(labels))
        return Answered(probs[rows, columns], labels[rows, columns] == 1, groups[rows])
    decided = calibrated.decided[head.name]
    rows = np.flatnonzero((labels != MISSING) & (decided != MISSING))
    return Answered(
        probs[rows, decided[rows]], decided[rows] == np.asarray(labels)[rows], groups[rows]
    )


def chains_of(taxonomy: Taxonomy) -> list[list[Head]]:
    """Every head that limits none of its own, with all above it: the topmost first, two or more."""
    heads = [head for head in taxonomy.heads if head.kind != "multilabel"]
    above = {head.name: head.parent for head in heads if taxonomy.limits(head)}
    chains = []
    for head in heads:
        if head.name in above.values() or head.name not in above:
            continue
        chain, name = [head], above[head.name]
        while name is not None:
            chain.insert(0, taxonomy[name])
            name = above.get(name)
        chains.append(chain)
    return chains


def chain_events(
    chain: Sequence[Head],
    taxonomy: Taxonomy,
    calibrated: Calibrated,
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers along a chain of heads, for photos whose labels are all known.

    Where the true class of the parent allows none, having no answer is right.

    Args:
        chain: As from `chains_of`, L heads.
        taxonomy: Gives what parents allow.
        calibrated: Of N photos.
        truth: As from `Taxonomy.encode`.
        groups: Of each photo a number or name, (N,).

    Returns:
        Confidence, (M, L), NaN where there is no answer; whether answers are right, bool (M, L);
        and groups, (M,).
    """
    confidence: list[np.ndarray] = []
    right: list[np.ndarray] = []
    known = np.ones(len(groups), bool)
    none_above = np.zeros(len(groups), bool)
    for head in chain:
        labels, decided = truth[head.name], calibrated.decided[head.name]
        if confidence:
            assert head.parent is not None
            allows = taxonomy.allowed_pairs(head).any(axis=1)
            parent = truth[head.parent]
            none_above |= (parent != MISSING) & ~np.asarray(allows)[parent]
        known &= (labels != MISSING) | none_above
        confidence.append(answer_confidence(calibrated.outputs[head.name], decided))
        right.append(np.equal(decided, labels))
    rows = np.flatnonzero(known)
    return (
        np.stack(confidence, axis=1)[rows],
        np.stack(right, axis=1)[rows],
        np.asarray(groups)[rows],
    )
