"""What to put up for audit, for an interval of accuracy after release as narrow as configured.

People correct more readily than they confirm, so what they send by themselves is a biased
sample. A share of the answers is drawn uniformly and judged; `release_accuracy` reads the result.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.feedback.drift import DriftParams
from cannabis_ml.feedback.vetting.params import Share
from cannabis_ml.text import counted


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
    known_from: int = Field(
        default=10,
        ge=1,
        description="Answers of an auditor that could be compared with other people's or a known"
        " label, from which it is allowed for how often they are right",
    )
    image_prefix: str | None = Field(
        default=None,
        description="Set before a photo's path in Label Studio's tasks of photos to judge",
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


def draw_for_audit(photo_ids: Iterable[str], rate: float, salt: str = "audit") -> list[str]:
    """The photos that `is_drawn` draws, sorted."""
    return sorted(photo for photo in set(photo_ids) if is_drawn(photo, rate, salt))
