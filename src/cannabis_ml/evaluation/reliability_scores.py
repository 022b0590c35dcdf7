"""Coverage and error rates of bands, sets, back-off and unknown score of a tier on test photos.

Sets and thresholds rest on few calibration photos, so what they reach on new ones varies: with n
groups for calibration and m new ones, the number that a conformal limit covers is beta-binomial
(Vovk 2012). A promise is `kept` unless chance explains what is found less than one time in forty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from cannabis_ml.evaluation.answered import (
    Answered,
    Calibrated,
    LabeledOutputs,
    answered_events,
    chain_events,
)
from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.evaluation.scores import Interval, Record
from cannabis_ml.evaluation.set_scores import score_sets
from cannabis_ml.inference.backoff import UNSURE
from cannabis_ml.inference.bands import ConfidenceBand
from cannabis_ml.inference.reliability import TierRules

ANSWERS_PER_BIN = 15
MOST_BINS = 10


class SetScores(Record):
    """How prediction sets of one head do."""

    promised: float = Field(description="Share of sets that are to hold the truth")
    n: int = Field(description="Labels; of a multilabel head, of attributes")
    groups: int
    coverage: float | None = Field(description="Share of sets that hold the truth")
    coverage_interval: Interval | None
    least_by_chance: float | None = Field(
        description="Coverage below which sets that keep the promise seldom fall"
    )
    kept: bool | None = Field(description="Whether coverage is at least that")
    mean_size: float | None = Field(description="Classes in a set; of an attribute 1 or 2 states")
    single: float | None = Field(description="Share of sets with one class")


class BandScores(Record):
    """How the confidence band of one head does."""

    level: float
    answers: int
    groups: int
    mean_width: float | None
    bins: int = Field(description="Of equally many answers, by confidence")
    consistent_bins: int = Field(
        description="Where the interval of the share right and the mean band overlap"
    )


class BackOffScores(Record):
    """How back-off along one chain of heads does."""

    promised: float = Field(description="Share of photos on a wrong branch that is not exceeded")
    photos: int
    groups: int
    wrong_branch: float | None = Field(description="Share of photos answered on a wrong branch")
    wrong_branch_interval: Interval | None
    kept: bool | None
    wrong_without: float | None = Field(description="The same if the deepest head always answered")
    answered: dict[str, float] = Field(
        description="Share of photos by the head that answers; an empty name for none"
    )


class UnknownScores(Record):
    """How the unknown score does at its threshold."""

    promised: float | None = Field(description="Share of known photos that are to be kept")
    photos: int = Field(description="Known ones")
    groups: int
    false_alarms: float | None = Field(description="Share of known photos called unknown")
    false_alarms_interval: Interval | None
    most_by_chance: float | None = Field(
        description="Share above which a threshold that keeps the promise seldom gets"
    )
    kept: bool | None = Field(description="Whether false alarms are at most that")
    caught: dict[str, float] = Field(
        description="By kind of unknown photo, the share that is called unknown"
    )


class ReliabilityScores(Record):
    """What is promised of one tier's answers beside what is found on test photos."""

    sets: dict[str, SetScores]
    bands: dict[str, BandScores]
    back_off: dict[str, BackOffScores] = Field(description="By the deepest head of each chain")
    unknown: UnknownScores | None


def score_reliability(
    rules: TierRules,
    photos: LabeledOutputs,
    unknown: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    confidence: float = 0.95,
) -> ReliabilityScores:
    """Score all that was fitted for one tier.

    Args:
        rules: Of the tier.
        photos: What its model file gives for photos that nothing was fitted to.
        unknown: Outputs for unknown photos, by their kind.
        confidence: Of the intervals.
    """
    taxonomy, reliability = rules.decision.taxonomy, rules.reliability
    truth, groups = photos.truth, photos.groups
    calibrated = Calibrated.of(rules.decision, photos.outputs)
    sets = {}
    if reliability.sets is not None:
        classes = reliability.sets.apply(calibrated.outputs, calibrated.decided, taxonomy)
        for name, scores in score_sets(classes, truth, groups, taxonomy, confidence).items():
            limits = reliability.sets.heads[name]
            least = least_coverage(limits.alpha, min(limits.groups), scores.groups)
            sets[name] = SetScores(
                promised=1 - limits.alpha,
                least_by_chance=least,
                kept=None if scores.coverage is None else scores.coverage >= least,
                **scores.model_dump(exclude={"per_class"}),
            )
    bands = {
        name: _score_band(
            band, answered_events(taxonomy[name], calibrated, truth[name], groups), confidence
        )
        for name, band in reliability.bands.items()
    }
    return ReliabilityScores(
        sets=sets,
        bands=bands,
        back_off=_score_back_off(rules, calibrated, photos, confidence),
        unknown=_score_unknown(rules, photos, unknown or {}, confidence),
    )


def least_coverage(alpha: float, calibration: int, test: int) -> float:
    """Coverage that a conformal limit stays below one time in forty, though it keeps its promise.

    Args:
        alpha: How often the truth may be outside, in (0, 1).
        calibration: Groups that the limit rests on.
        test: Groups that coverage is measured on.

    Returns:
        In [0, 1]; 1 where the limit is infinite, for want of groups, and covers all.
    """
    from scipy.stats import betabinom

    rank = math.ceil((1 - alpha) * (calibration + 1) - 1e-9)
    if rank > calibration:
        return 1.0
    return float(betabinom.ppf(0.025, test, rank, calibration + 1 - rank)) / max(1, test)


def _score_band(band: ConfidenceBand, events: Answered, confidence: float) -> BandScores:
    ends = band.around(events.confidence)
    bins = int(np.clip(len(events) // ANSWERS_PER_BIN, min(1, len(events)), MOST_BINS))
    parts = np.array_split(np.argsort(events.confidence, kind="stable"), bins) if bins else []
    consistent = 0
    for rows in parts:
        low, high = by_groups(events.right[rows], events.groups[rows], confidence) or (0.0, 1.0)
        below, above = ends[rows].mean(axis=0)
        consistent += bool(low <= above and below <= high)
    return BandScores(
        level=band.level,
        answers=len(events),
        groups=len(np.unique(events.groups)),
        mean_width=float((ends[:, 1] - ends[:, 0]).mean()) if len(events) else None,
        bins=bins,
        consistent_bins=consistent,
    )


def _score_back_off(
    rules: TierRules, calibrated: Calibrated, photos: LabeledOutputs, confidence: float
) -> dict[str, BackOffScores]:
    taxonomy, scores = rules.decision.taxonomy, {}
    for rule in rules.reliability.back_off:
        chain = [taxonomy[name] for name in rule.heads]
        sure, right, of_photo = chain_events(
            chain, taxonomy, calibrated, photos.truth, photos.groups
        )
        depth, rows = rule.depth(sure), np.arange(len(sure))
        wrong = ~np.logical_and.accumulate(right, axis=1)
        off = wrong[rows, depth] & (depth != UNSURE)
        interval = by_groups(off, of_photo, confidence)
        scores[rule.heads[-1]] = BackOffScores(
            promised=rule.alpha,
            photos=len(sure),
            groups=len(np.unique(of_photo)),
            wrong_branch=_mean(off),
            wrong_branch_interval=interval,
            kept=None if interval is None else interval[0] <= rule.alpha,
            wrong_without=_mean(wrong[:, -1]),
            answered={
                name: float((depth == level).mean()) if len(depth) else 0.0
                for level, name in [*enumerate(rule.heads), (UNSURE, "")]
            },
        )
    return scores


def _score_unknown(
    rules: TierRules,
    photos: LabeledOutputs,
    unknown: Mapping[str, Mapping[str, np.ndarray]],
    confidence: float,
) -> UnknownScores | None:
    score = rules.unknown
    if score is None:
        return None
    called = score.is_unknown(photos.outputs)
    alarms, groups = _mean(called), len(np.unique(photos.groups))
    most = None
    if score.kept is not None and alarms is not None:
        most = 1 - least_coverage(1 - score.kept, score.groups, groups)
    return UnknownScores(
        promised=score.kept,
        photos=len(called),
        groups=groups,
        false_alarms=alarms,
        false_alarms_interval=by_groups(called, photos.groups, confidence),
        most_by_chance=most,
        kept=None if most is None or alarms is None else alarms <= most,
        caught={kind: float(score.is_unknown(of).mean()) for kind, of in unknown.items()},
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
