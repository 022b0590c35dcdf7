"""Calibration of each head: log loss, calibration errors, reliability diagrams.

A group of photos counts as one photo in every number here. What cannot be computed is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.calibration_error import (
    BINS,
    DRAWS,
    Events,
    binned_ece,
    perfect_binned_ece,
    perfect_smooth_ece,
    reliability,
    smooth_ece,
    smooth_ece_interval,
)
from cannabis_ml.evaluation.groups import group_shares
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.inference.calibrators import SMALLEST
from cannabis_ml.inference.decision import Decision
from cannabis_ml.taxonomy import MISSING, Head, Kind

GROUPS_PER_BIN = 15
"""A reliability curve has as few bins as this asks for, so that each holds enough photos."""

Recalibrate = Callable[[Head, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Of a head, probabilities (N, K), labels and groups: probabilities of the same photos by a
calibrator that did not see their groups, as `cannabis_ml.calibration.refinement.recalibrated`."""


class CalibrationError(Record):
    """An error of calibration beside what perfection would get."""

    value: float
    interval: Interval | None = Field(default=None, description="Of the value, by bootstrap")
    perfect_mean: float = Field(
        description="Mean that a perfectly calibrated model would get with as many photos"
    )
    perfect_interval: Interval = Field(description="Range of such models at the level")

    @property
    def is_above_chance(self) -> bool:
        """Whether it is more than a perfectly calibrated model gets by chance."""
        return self.value > self.perfect_interval[1]


class ReliabilityBin(Record):
    """One point of a reliability curve."""

    confidence: float = Field(description="Mean")
    right: float = Field(description="Share of answers that are right; of attributes, there")
    answers: int
    consistent: Interval = Field(
        description="Range of `right` for perfectly calibrated models at the level"
    )


class CalibrationScores(Record):
    """Calibration of one head.

    Answers are the predicted classes with their probabilities; of a multilabel head, all attributes
    with theirs.
    """

    kind: Kind
    photos: int = Field(description="With a label")
    groups: int = Field(description="That these fall into")
    unanswered: int = Field(
        default=0, description="Labelled photos whose predicted parent allows no class here"
    )
    level: float = Field(description="How often intervals hold what they promise, in (0, 1)")
    log_loss: float | None = Field(description="Nats; of attributes, the mean over them")
    refinement_loss: float | None = Field(
        description="What of it no calibrator would mend: the log loss after calibration on the"
        " other photos; None if that was not asked for"
    )
    calibration_loss: float | None = Field(description="The rest; chance may make it negative")
    brier: float | None = Field(
        description="Squared distance, summed over classes (0 to 2); of attributes, their mean"
    )
    accuracy: float | None = Field(description="Share of answers that are right")
    mean_confidence: float | None
    smooth_ece: CalibrationError | None
    ece: CalibrationError | None = Field(description="15 bins of equal mass")
    classwise_ece: CalibrationError | None = Field(
        description="Mean over classes; of an ordinal head, over its thresholds; of attributes,"
        " over those that have a label"
    )
    reliability: list[ReliabilityBin]
    histogram: list[float] = Field(
        description="Share of answers in 20 equal steps of confidence from 0 to 1"
    )


class CalibrationComparison(Record):
    """Scores of one model file by head, before and after calibration."""

    before: dict[str, CalibrationScores]
    after: dict[str, CalibrationScores]


def score_calibration(
    decision: Decision,
    outputs: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    *,
    recalibrate: Recalibrate | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, CalibrationScores]:
    """Score every head as it is decided on, calibrators included.

    Args:
        decision: With its calibrators, or without them for the scores before calibration.
        outputs: What a model file gives for N photos, see `Decision.decide`.
        truth: Labels of these photos, as from `Taxonomy.encode`.
        groups: (N,) a number or name per photo; None where each is a group of its own.
        recalibrate: Splits the log loss; None leaves it whole.
        level: How often intervals hold what they promise, in (0, 1).
        draws: Samples behind each interval.
        seed: Of these.

    Returns:
        By head, in the taxonomy's order.
    """
    calibrated, decided = decision.calibrated(outputs), decision.decide(outputs)
    return {
        head.name: score_head(
            head,
            np.asarray(calibrated[head.name], np.float64),
            truth[head.name],
            groups,
            predicted=decided[head.name],
            recalibrate=recalibrate,
            level=level,
            draws=draws,
            seed=seed,
        )
        for head in decision.taxonomy.heads
    }


def score_head(  # noqa: PLR0913
    head: Head,
    probs: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    predicted: np.ndarray | None = None,
    recalibrate: Recalibrate | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> CalibrationScores:
    """Score the probabilities of one head.

    Args:
        head: Its kind decides what an answer is.
        probs: float64 (N, K).
        labels: As from `Taxonomy.encode`, with unknown ones.
        groups: As for `score_calibration`.
        predicted: Class indices (N,), `MISSING` where there is none; `Head.answer` by default.
            Multilabel heads need none.
        recalibrate: As for `score_calibration`.
        level: As for `score_calibration`.
        draws: As for `score_calibration`.
        seed: As for `score_calibration`.
    """
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    is_known = labels != MISSING if labels.ndim == 1 else ~np.isnan(labels).all(axis=1)
    probs, labels, groups = probs[is_known], labels[is_known], groups[is_known]
    classes = None if labels.ndim == 2 else _answers(head, probs, predicted, is_known)
    answers = answer_events(probs, labels, groups, classes)
    unanswered = 0 if classes is None else int((classes == MISSING).sum())
    loss = refined = brier = None
    if len(labels):
        share = group_shares(groups)
        loss = float(share @ log_losses(probs, labels))
        brier = float(share @ _squared(probs, labels))
        if recalibrate is not None:
            after = recalibrate(head, probs, labels, groups)
            refined = float(share @ log_losses(after, labels))
    judge = _Judge(level, draws, seed)
    return CalibrationScores(
        kind=head.kind,
        photos=len(labels),
        groups=len(np.unique(groups)),
        unanswered=unanswered,
        level=level,
        log_loss=loss,
        refinement_loss=refined,
        calibration_loss=None if loss is None or refined is None else loss - refined,
        brier=brier,
        accuracy=float(answers.weights @ answers.happened) if len(answers) else None,
        mean_confidence=float(answers.weights @ answers.confidence) if len(answers) else None,
        smooth_ece=judge.smooth(answers) if len(answers) else None,
        ece=judge.binned([answers]) if len(answers) else None,
        classwise_ece=judge.binned(
            list(_by_class(head, probs, labels, groups)), apart=head.kind == "multilabel"
        ),
        reliability=judge.curve(answers) if len(answers) else [],
        histogram=np.histogram(answers.confidence, 20, (0, 1), weights=answers.weights)[0].tolist()
        if len(answers)
        else [],
    )


def answer_events(
    probs: np.ndarray, labels: np.ndarray, groups: np.ndarray, predicted: np.ndarray | None = None
) -> Events:
    """Answers with their confidence, and whether they are right.

    Args:
        probs: (N, K).
        labels: Known class indices (N,); or of attributes float (N, K), NaN where unknown.
        groups: Of each photo a number, (N,).
        predicted: Class indices (N,); `MISSING` is not an answer. Attributes need none: their
            events are that each is there.
    """
    if labels.ndim == 2:
        return _attribute_events(probs, labels, groups)
    assert predicted is not None
    rows = np.flatnonzero(predicted != MISSING)
    classes = predicted[rows]
    return Events.of(probs[rows, classes], classes == labels[rows], groups[rows])


def _answers(
    head: Head, probs: np.ndarray, predicted: np.ndarray | None, is_known: np.ndarray
) -> np.ndarray:
    return head.answer(probs) if predicted is None else predicted[is_known]


def log_losses(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log likelihood of each photo's label, in nats.

    Args:
        probs: (N, K).
        labels: Known class indices (N,); or of attributes float (N, K), 0 and 1, NaN where
            unknown, at least one known of each photo.

    Returns:
        float64 (N,); of attributes, the mean over those that are known.
    """
    if labels.ndim == 1:
        return -np.log(np.maximum(probs[np.arange(len(labels)), labels], SMALLEST))
    likely = np.where(labels == 1, probs, 1 - probs)
    losses = -np.log(np.maximum(likely, SMALLEST))
    return np.nanmean(np.where(np.isnan(labels), np.nan, losses), axis=1)


@dataclass(frozen=True)
class _Judge:
    """Errors of calibration beside what perfection would get."""

    level: float
    draws: int
    seed: int

    def smooth(self, events: Events) -> CalibrationError:
        return self._error(
            smooth_ece(events),
            perfect_smooth_ece(events, self.draws, self.seed),
            smooth_ece_interval(events, self.level, self.draws, self.seed),
        )

    def binned(self, each: list[Events], apart: bool = False) -> CalibrationError | None:
        """The mean over several sets of events of the same photos.

        Args:
            each: At least one, or there is no mean.
            apart: Whether they have nothing to do with each other; or else one draw of luck decides
                on all of them, as it does on the class of a photo.
        """
        if not each:
            return None
        perfect = [
            perfect_binned_ece(events, BINS, self.draws, self.seed + (i if apart else 0))
            for i, events in enumerate(each)
        ]
        values = [binned_ece(events, BINS) for events in each]
        return self._error(float(np.mean(values)), np.mean(perfect, axis=0))

    def curve(self, events: Events) -> list[ReliabilityBin]:
        groups = len(np.unique(events.groups))
        bins = int(np.clip(groups // GROUPS_PER_BIN, 1, BINS))
        bins_found = reliability(events, bins, self.level, self.draws, self.seed)
        return [
            ReliabilityBin(
                confidence=float(bins_found.confidence[i]),
                right=float(bins_found.happened[i]),
                answers=int(bins_found.photos[i]),
                consistent=(float(bins_found.low[i]), float(bins_found.high[i])),
            )
            for i in range(len(bins_found.confidence))
        ]

    def _error(
        self, value: float, perfect: np.ndarray, interval: Interval | None = None
    ) -> CalibrationError:
        tail = (1 - self.level) / 2
        low, high = np.quantile(perfect, [tail, 1 - tail])
        return CalibrationError(
            value=value,
            interval=interval,
            perfect_mean=float(perfect.mean()),
            perfect_interval=(float(low), float(high)),
        )


def _by_class(
    head: Head, probs: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> Iterator[Events]:
    """Events of each class; of an ordinal head, that the label is worse than each but the last."""
    if not len(labels):
        return
    if head.kind == "multilabel":
        for k in range(probs.shape[1]):
            known = ~np.isnan(labels[:, k])
            if known.any():
                yield Events.of(probs[known, k], labels[known, k] == 1, groups[known])
    elif head.kind == "ordinal":
        worse = 1 - probs.cumsum(axis=1)
        for k in range(probs.shape[1] - 1):
            yield Events.of(worse[:, k], labels > k, groups)
    else:
        before = probs.cumsum(axis=1) - probs
        for k in range(probs.shape[1]):
            yield replace(Events.of(probs[:, k], labels == k, groups), start=before[:, k])


def _attribute_events(probs: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Events:
    """All attributes with a label; those of one photo are not there or absent together."""
    rows, which = np.nonzero(~np.isnan(labels))
    events = Events.of(probs[rows, which], labels[rows, which] == 1, groups[rows])
    return replace(events, shared=events.groups * probs.shape[1] + which)


def _squared(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2:
        return np.nanmean((probs - labels) ** 2, axis=1)
    there = np.arange(probs.shape[1]) == labels[:, None]
    return ((probs - there) ** 2).sum(axis=1)
