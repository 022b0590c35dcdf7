"""Agreement of a quantized file with its float file, photo by photo."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.inference.decision import Decision
from cannabis_ml.taxonomy import MISSING, Kind

SIGNIFICANT = 0.05
"""p-value below which a loss of accuracy counts as significant."""

ROUNDING = 1e-9
"""Shares of a count: a photo exactly at a limit must not fail by rounding."""


class AgreementParams(BaseModel):
    """How closely a quantized file must agree with its float file, on photos without labels."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(
        default=2000,
        gt=0,
        description="Largest number of photos and copies to compare on: of every split but test,"
        " without the calibration photos of the quantizer",
    )
    fewest: int = Field(
        default=1000,
        ge=0,
        description="Augmented copies are added where there are fewer photos than this",
    )
    min_same_decisions: float = Field(
        default=0.98, ge=0, le=1, description="Share of decisions of every head that must be equal"
    )
    min_same_as_shipped: float = Field(
        default=0.97,
        ge=0,
        le=1,
        description="The same share between a tier's file for web pages and the file that ships:"
        " each may differ from the float file, on other photos",
    )
    max_mean_difference: float = Field(
        default=0.02, gt=0, description="Mean |difference| of a head's probabilities"
    )
    max_p99_difference: float = Field(
        default=0.25,
        gt=0,
        description="99th percentile over photos of the largest |difference| of a probability",
    )


class HeadAgreement(Record):
    """How closely one head of a quantized file agrees with that of its float file."""

    kind: Kind
    mean_difference: float = Field(description="Mean |difference| of probabilities")
    mean_difference_interval: Interval = Field(description="95%; the upper end may be infinite")
    p99_difference: float = Field(
        description="99th percentile over photos of the largest |difference| of a probability"
    )
    p99_difference_interval: Interval = Field(description="95%")
    decisions: int = Field(description="Photos; photos times attributes of a multilabel head")
    same_decisions: float = Field(description="Share that is equal, in [0, 1]")
    same_decisions_interval: Interval = Field(description="95%")
    labelled: int = Field(description="Decisions with a label")
    accuracy_lost: float | None = Field(description="None without labels")
    p_value: float | None = Field(description="Of McNemar's exact test, one-sided")


def agreement(
    decision: Decision,
    outputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
) -> dict[str, HeadAgreement]:
    """Compare a quantized file's outputs and decisions with its float file's.

    Only the loss of accuracy needs labels.

    Args:
        decision: Turns outputs into decisions.
        outputs: The quantized file's, by name (N, …).
        expected: The float file's.
        truth: As from `Taxonomy.encode`.

    Returns:
        By head.
    """
    ours, theirs = decision.decide(outputs), decision.decide(expected)
    return {
        head.name: HeadAgreement.model_validate(
            {"kind": head.kind}
            | _differences(outputs[head.name], expected[head.name])
            | _same_decisions(ours[head.name] == theirs[head.name])
            | _paired_loss(ours[head.name], theirs[head.name], truth[head.name])
        )
        for head in decision.taxonomy.heads
    }


def agreement_faults(
    heads: Mapping[str, HeadAgreement],
    limits: AgreementParams,
    max_accuracy_loss: Mapping[Kind, float],
    other: str = "the float file",
) -> list[str]:
    """Reasons why a quantized file does not pass; empty if it does.

    Args:
        heads: As from `agreement`.
        limits: How closely it must agree with its float file.
        max_accuracy_loss: Accuracy that may be lost, by kind of head; a larger loss is a fault if
            it is significant.
        other: What it was compared with, for the reasons.
    """
    faults = []
    for name, head in heads.items():
        if not np.isfinite(head.mean_difference):
            faults.append(f"'{name}' gives no numbers")
            continue
        if head.same_decisions < limits.min_same_decisions - ROUNDING:
            faults.append(
                f"'{name}' decides as {other} in {head.same_decisions:.1%},"
                f" {limits.min_same_decisions:.1%} needed"
            )
        for words, value, most in (
            ("mean difference", head.mean_difference, limits.max_mean_difference),
            ("99th percentile of difference", head.p99_difference, limits.max_p99_difference),
        ):
            if value > most:
                faults.append(f"'{name}' {words} is {value:.3f}, allowed {most:g}")
        allowed, lost = max_accuracy_loss[head.kind], head.accuracy_lost
        significant = head.p_value is not None and head.p_value < SIGNIFICANT
        if lost is not None and lost > allowed + ROUNDING and significant:
            faults.append(f"'{name}' loses {100 * lost:.1f} points, allowed {100 * allowed:g}")
    return faults


def known_labels(truth: np.ndarray) -> np.ndarray:
    """Which labels are known, of one head as from `Taxonomy.encode`; bool of the same shape."""
    return ~np.isnan(truth) if truth.ndim == 2 else truth != MISSING


def _same_decisions(same: np.ndarray) -> dict[str, object]:
    return {
        "decisions": int(same.size),
        "same_decisions": float(same.mean()),
        "same_decisions_interval": wilson(int(same.sum()), same.size),
    }


def _differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, object]:
    from scipy.stats import binom

    apart = np.abs(ours.astype(float) - theirs)
    means = apart.mean(axis=1)
    mean = float(means.mean())
    half = 1.96 * float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else float("inf")
    largest = np.sort(apart.max(axis=1))
    # Order statistics hold a quantile without assuming a distribution (Conover 1999, sec. 3.2).
    n = len(largest)
    ends = binom.ppf([0.025, 0.975], n, 0.99).astype(int).clip(0, n - 1)
    return {
        "mean_difference": mean,
        "mean_difference_interval": (max(0.0, mean - half), mean + half),
        "p99_difference": float(np.quantile(largest, 0.99)),
        "p99_difference_interval": largest[ends].tolist(),
    }


def _paired_loss(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """Accuracy lost on the same photos, and the p-value of McNemar's exact test."""
    from scipy.stats import binomtest

    known = known_labels(truth)
    if not known.any():
        return {"labelled": 0, "accuracy_lost": None, "p_value": None}
    right, before = ((predicted == truth)[known] for predicted in (ours, theirs))
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    p_value = binomtest(lost, lost + won, 0.5, "greater").pvalue if lost + won else 1.0
    return {
        "labelled": int(known.sum()),
        "accuracy_lost": (lost - won) / int(known.sum()),
        "p_value": float(p_value),
    }
