"""Accuracy after release: what to put up for audit, and what the audited answers tell.

People correct more readily than they confirm, so what they send by themselves tells little of
accuracy. A share of the answers is drawn uniformly and judged; each weighs one over the probability
with which it was drawn (Horvitz & Thompson 1952).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import FeedbackError
from cannabis_ml.evaluation.intervals import effective_photos, wilson
from cannabis_ml.feedback.drift import DriftParams
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.vetting.params import Share
from cannabis_ml.text import counted

_LEAST_SKILL = 0.3
"""An auditor who tells right answers from wrong ones less often than this tells nothing."""


class AuditParams(BaseModel):
    """How many answers are audited, and how the audit is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_width: float = Field(
        default=0.05, gt=0, lt=0.5, description="Of the interval of accuracy that is wanted"
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="How often the interval holds the truth"
    )
    weeks: int = Field(default=1, ge=1, description="Of audits that one interval rests on")
    planned_accuracy: float = Field(
        default=0.8,
        ge=0.5,
        lt=1,
        description="Accuracy that the interval has to be as narrow at; 0.5 is the safest",
    )
    response: float = Field(
        default=1.0, gt=0, le=1, description="Share of the answers put up that people judge"
    )
    seen_answer: Share = Field(
        default=0.5, description="Weight of a judgment by who had seen the answer; 0: not counted"
    )
    correct_for_people: bool = Field(
        default=True,
        description="Allow for how often the auditors themselves are right (Rogan & Gladen 1978)",
    )
    drift: DriftParams = DriftParams()


@dataclass(frozen=True)
class AuditPlan:
    """How many answers to put up for audit.

    Attributes:
        per_week: Answers to put up a week.
        rate: Probability with which an answer is drawn, in [0, 1].
        half_width: Of the interval to expect; above what was asked for where there are too few
            answers.
        reason: In words.
    """

    per_week: int
    rate: float
    half_width: float
    reason: str


def plan_audit(answers_per_week: int, params: AuditParams) -> AuditPlan:
    """Find the rate at which answers are audited.

    Args:
        answers_per_week: Answers that could be audited.
        params: What interval is wanted, and from how many weeks.

    Raises:
        ValueError: If `answers_per_week` is negative.
    """
    if answers_per_week < 0:
        raise ValueError(f"answers_per_week is {answers_per_week}, not 0 or more")
    needed = photos_needed(params.half_width, params.planned_accuracy, params.confidence)
    per_week = math.ceil(needed / params.weeks / params.response)
    rate = min(1.0, per_week / answers_per_week) if answers_per_week else 1.0
    put_up = min(per_week, answers_per_week)
    judged = put_up * params.response * params.weeks
    half = half_width(judged, params.planned_accuracy, params.confidence)
    within = "" if params.weeks == 1 else f" within {params.weeks} weeks"
    reason = (
        f"±{params.half_width * 100:g} points with {params.confidence:.0%}{within} take"
        f" {counted(per_week, 'answer')} a week"
    )
    if put_up < per_week:
        reason += (
            f"; there are {answers_per_week:,}, so all are put up, for ±{half * 100:.1f} points"
        )
    else:
        reason += f", {rate:.1%} of {answers_per_week:,}"
    return AuditPlan(put_up, rate, half, reason)


def photos_needed(half_width_wanted: float, accuracy: float, confidence: float) -> int:
    """The fewest photos whose Wilson interval, at an accuracy, is as narrow as wanted."""
    low, high = 0, 1
    while half_width(high, accuracy, confidence) > half_width_wanted:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = half_width(middle, accuracy, confidence) <= half_width_wanted
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def half_width(photos: float, accuracy: float, confidence: float) -> float:
    """Half the width of Wilson's interval at an accuracy; 0.5 without photos."""
    ends = wilson(accuracy * photos, photos, confidence)
    return 0.5 if ends is None else (ends[1] - ends[0]) / 2


def is_drawn(photo_id: str, rate: float, salt: str = "audit") -> bool:
    """Whether a photo is drawn for audit: with probability `rate`, always the same.

    Decided by a hash of the id, so that it does not depend on what else there is, and a photo
    that is drawn at a rate is drawn at every higher one.

    Args:
        photo_id: The photo's.
        rate: In [0, 1].
        salt: Another one is another draw.
    """
    digest = hashlib.sha256(f"{salt}:{photo_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < rate * 2**64


@dataclass(frozen=True)
class AuditEstimate:
    """Accuracy after release.

    Attributes:
        accuracy: Estimate; None without audited answers.
        low: Lower end of its interval.
        high: Upper end.
        agreement: How often auditors agreed with the answer, before allowing for their own errors.
        photos: Audited answers it rests on.
        effective_photos: How many answers of equal weight would tell as much.
        blind: Share of the weight that comes from people who had not seen the answer.
        seen_gap: Agreement of those who had, less that of those who had not; None without both.
        reason: In words.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    agreement: float | None
    photos: int
    effective_photos: float
    blind: float
    seen_gap: float | None
    reason: str


def audited_answers(
    opinions: pd.DataFrame, answers: pd.DataFrame, people: pd.DataFrame, params: AuditParams
) -> pd.DataFrame:
    """Judgments of audited answers, one row per photo and head.

    Only photos drawn for audit count, whoever sent them; quarantined people do not, nor who is
    unsure. The model has no voice in it.

    Args:
        opinions: As from `opinions_table`.
        answers: With `photo_id`, `head` and `audit_probability`, as from the store; the inclusion
            probabilities.
        people: As from `judge_people`: `person`, `accuracy`, `quarantined`.
        params: Weight of those who had seen the answer.

    Returns:
        `photo_id`, `head`, `at` (of the latest judgment), `agreement` (weighted share of judgments
        that agree, in [0, 1]), `skill` (their weighted accuracy), `weight` (in [0, 1]: of the best
        judgment), `blind` (whether anybody had not seen the answer), `judgments` and `probability`.

    Raises:
        FeedbackError: If an audited photo has no inclusion probability.
    """
    known = people.set_index("person")
    mine = opinions[
        opinions["audit"].astype(bool)
        & (opinions["annotator"] == "person")
        & opinions["answered"].notna()
        & opinions["verdict"].isin(["confirmed", "corrected", "none_of_these", "proposed"])
        & ~opinions["person"].map(known["quarantined"]).fillna(False).astype(bool)
    ]
    mine = mine.sort_values(["at", "opinion_id"], kind="stable")
    mine = mine.drop_duplicates(["photo_id", "person", "head"], keep="last")
    blind = ~mine["seen_answer"].astype(bool)
    weight = np.where(blind, 1.0, params.seen_answer)
    skill = mine["person"].map(known["accuracy"]).fillna(1.0).to_numpy(np.float64)
    rows = mine[["photo_id", "head", "at"]].assign(
        agree=[_agrees(*row) for row in zip(*_verdicts(mine), strict=True)],
        blind=blind,
        weight=weight,
        skill=skill,
    )
    rows = rows[rows["weight"] > 0]
    rows = rows.assign(agree=rows["agree"] * rows["weight"], skill=rows["skill"] * rows["weight"])
    found = rows.groupby(["photo_id", "head"], sort=True).agg(
        at=("at", "max"),
        agree=("agree", "sum"),
        skill=("skill", "sum"),
        total=("weight", "sum"),
        weight=("weight", "max"),
        blind=("blind", "max"),
        judgments=("agree", "size"),
    )
    found = found.assign(
        agreement=found["agree"] / found["total"], skill=found["skill"] / found["total"]
    )
    return _with_probability(found.drop(columns=["agree", "total"]).reset_index(), answers)


def estimate_accuracy(
    audited: pd.DataFrame, classes: int, params: AuditParams, groups: np.ndarray | None = None
) -> AuditEstimate:
    """Estimate accuracy after release from audited answers.

    Hájek's form of the Horvitz-Thompson estimator: the mean of `agreement` weighted by `weight` /
    `probability`. Its interval is Wilson's, of the effective number of answers (Kish's, and no more
    than groups allow). Auditors who are right with probability s agree with a right answer as
    often, and with a wrong one with (1 - s) / (K - 1); what is seen is mapped back (Rogan & Gladen
    1978, Am. J. Epidemiol. 107:71), s taken as known.

    Args:
        audited: Of one head; as from `audited_answers`.
        classes: K of the head; 2 for a multilabel one.
        params: Of the interval.
        groups: Of each answer a number or name, (N,): near-duplicates are right or wrong together.
    """
    skilled = audited
    if params.correct_for_people:
        enough = (audited["skill"] - _chance(audited["skill"], classes) >= _LEAST_SKILL).to_numpy()
        skilled = audited[enough]
        groups = None if groups is None else groups[enough]
    if skilled.empty:
        return AuditEstimate(None, None, None, None, 0, 0.0, 0.0, None, "no answer was audited")
    weights = (skilled["weight"] / skilled["probability"]).to_numpy(np.float64)
    agreement = skilled["agreement"].to_numpy(np.float64)
    total = weights.sum()
    mean = float(weights @ agreement / total)
    effective = float(total**2 / (weights**2).sum())
    if groups is not None:
        effective *= effective_photos(agreement > 0.5, groups, params.confidence) / len(skilled)
    ends = wilson(mean * effective, effective, params.confidence) or (0.0, 1.0)
    values = np.array([mean, *ends])
    if params.correct_for_people:
        skill = float(weights @ skilled["skill"] / total)
        chance = _chance(skill, classes)
        values = np.clip((values - chance) / (skill - chance), 0.0, 1.0)
    blind = skilled["blind"].to_numpy(bool)
    accuracy, low, high = map(float, values)
    return AuditEstimate(
        accuracy=accuracy,
        low=low,
        high=high,
        agreement=mean,
        photos=len(skilled),
        effective_photos=effective,
        blind=float(weights[blind].sum() / total),
        seen_gap=_gap(agreement, weights, blind),
        reason=f"right in {accuracy:.1%} ({low:.1%} to {high:.1%} with {params.confidence:.0%}) of"
        f" {counted(len(skilled), 'audited answer')}; auditors agreed with {mean:.1%}",
    )


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Accuracy that calibrated confidence promises, without a label.

    Attributes:
        accuracy: Mean confidence.
        low: Lower end of where the share of right answers lies, if every confidence is true.
        high: Upper end.
        answers: How many.
    """

    accuracy: float
    low: float
    high: float
    answers: int

    def is_contradicted_by(self, audit: AuditEstimate) -> bool:
        """Whether the audit's interval and this one have nothing in common."""
        if audit.low is None or audit.high is None:
            return False
        return audit.high < self.low or self.high < audit.low


def expected_accuracy(confidence: np.ndarray, level: float = 0.95) -> ExpectedAccuracy | None:
    """Accuracy of answers as their calibrated confidence has it.

    The number of right answers is a sum of independent events with these probabilities (Poisson
    binomial), taken as normal. It holds as long as calibration does: drift shows first here.

    Args:
        confidence: Calibrated, in [0, 1], (N,); NaN where not known.
        level: Probability of the interval.

    Returns:
        None where no confidence is known.
    """
    known = np.asarray(confidence, np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    mean = float(known.mean())
    z = NormalDist().inv_cdf((1 + level) / 2)
    half = z * math.sqrt(float((known * (1 - known)).sum())) / len(known)
    return ExpectedAccuracy(mean, max(0.0, mean - half), min(1.0, mean + half), len(known))


def _verdicts(opinions: pd.DataFrame) -> tuple[list[str], list[Label], list[Label]]:
    return (
        opinions["verdict"].tolist(),
        opinions["label"].tolist(),
        opinions["answered"].tolist(),
    )


def _agrees(verdict: str, label: Label, answered: Label) -> float:
    if verdict == "confirmed":
        return 1.0
    if verdict != "corrected":
        return 0.0
    return float(_as_set(label) == _as_set(answered))


def _as_set(label: Label) -> frozenset[str]:
    return frozenset([label] if isinstance(label, str) else label or ())


def _with_probability(found: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    drawn = answers.dropna(subset=["audit_probability"]).groupby("photo_id")["audit_probability"]
    probability = found["photo_id"].map(drawn.max())
    lost = found["photo_id"][~(probability > 0)].unique()
    if len(lost):
        raise FeedbackError(
            f"{counted(len(lost), 'audited photo')} of {found['photo_id'].nunique():,} have no"
            f" inclusion probability, such as {lost[0]}. Draw them with"
            " FeedbackStore.mark_audit(photo_ids, probability)."
        )
    return found.assign(probability=probability.astype(float))


def _chance(skill: float | pd.Series, classes: int) -> float | pd.Series:
    return (1 - skill) / (classes - 1)


def _gap(agreement: np.ndarray, weights: np.ndarray, blind: np.ndarray) -> float | None:
    if blind.all() or not blind.any():
        return None
    seen = float(np.average(agreement[~blind], weights=weights[~blind]))
    return seen - float(np.average(agreement[blind], weights=weights[blind]))


def draw_for_audit(photo_ids: Iterable[str], rate: float, salt: str = "audit") -> list[str]:
    """The photos that `is_drawn` draws, sorted."""
    return sorted(photo for photo in set(photo_ids) if is_drawn(photo, rate, salt))
