"""Which photos are put up for audit: a uniformly drawn share of each week's answers.

Confident answers and unsure ones are drawn alike, so that accuracy is that of all answers. A photo
belongs to the week in which it first came and is drawn by a hash of its id, at a rate that the
week's first draw fixes: so each photo has one chance, of a known probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.audit import AuditParams, draw_for_audit, plan_audit
from cannabis_ml.feedback.snapshot import FeedbackSnapshot

WEEK = timedelta(days=7)


class AuditPlanned(BaseModel):
    """What is put up for audit this week."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    week: str = Field(description="ISO date of the Monday that it begins on, UTC")
    answers: int = Field(description="Photos a week with an answer, by which the rate was planned")
    rate: float = Field(ge=0, le=1, description="Probability with which a photo is drawn")
    half_width: float = Field(description="Of the interval of accuracy to expect")
    reason: str


@dataclass(frozen=True, eq=False)
class AuditDraw:
    """A draw.

    Attributes:
        plan: Of the current week.
        rates: Probability by week, of all weeks that are drawn from.
        drawn: Week of each photo that was drawn and is not marked yet.
    """

    plan: AuditPlanned
    rates: Mapping[str, float]
    drawn: Mapping[str, str]


def draw_audits(snapshot: FeedbackSnapshot, now: datetime, params: AuditParams) -> AuditDraw:
    """Plan how many answers are audited, and draw them.

    The rate of a week follows from how many photos the week before brought, or, where that brought
    none, from how many it brought itself so far.

    Args:
        snapshot: Photos that were kept and have an answer can be audited.
        now: UTC.
        params: What interval is wanted.
    """
    photos = snapshot.photos[["photo_id", "received_at", "kept"]]
    photos = photos[photos["kept"].astype(bool)]
    photos = photos[photos["photo_id"].isin(snapshot.answers["photo_id"])]
    weeks = pd.Series([week_of(at) for at in photos["received_at"]], photos.index, dtype="str")
    counts = weeks.value_counts()
    this = week_of(now)
    rates = {
        week: rate_of(snapshot, counts, week, now, params)
        for week in sorted({*counts.index, this})
        if week <= this
    }
    marked = set(snapshot.answers.loc[snapshot.answers["audit"].astype(bool), "photo_id"])
    drawn: dict[str, str] = {}
    for week, names in photos["photo_id"].groupby(weeks):
        if str(week) in rates:
            found = draw_for_audit(names, rates[str(week)])
            drawn |= {name: str(week) for name in found if name not in marked}
    answers = _answers_a_week(counts, this, now)
    plan = plan_audit(answers, params)
    planned = AuditPlanned(
        week=this,
        answers=answers,
        rate=rates[this],
        half_width=plan.half_width,
        reason=plan.reason,
    )
    # A week without answers so far is not a forecast of how many there will be.
    known = {week: rate for week, rate in rates.items() if counts.get(week, 0)}
    return AuditDraw(planned, known, drawn)


def rate_of(
    snapshot: FeedbackSnapshot, counts: pd.Series, week: str, now: datetime, params: AuditParams
) -> float:
    """Probability with which photos of a week are drawn: as it was fixed, or as it is planned."""
    fixed = snapshot.audit_rates.get(week)
    return plan_audit(_answers_a_week(counts, week, now), params).rate if fixed is None else fixed


def _answers_a_week(counts: pd.Series, week: str, now: datetime) -> int:
    """Photos that the week before brought; else those of the week itself, at the pace so far."""
    start = datetime.fromisoformat(week).replace(tzinfo=UTC)
    before = int(counts.get(week_of(start - WEEK), 0))
    if before:
        return before
    gone = min(1.0, max((now - start) / WEEK, 1 / 7))
    return round(int(counts.get(week, 0)) / gone)


def week_of(at: datetime) -> str:
    """ISO date of the Monday of a time's week, in UTC."""
    day = at.astimezone(UTC).date()
    return (day - timedelta(days=day.weekday())).isoformat()


def to_judge(snapshot: FeedbackSnapshot, draw: AuditDraw, since: datetime | None) -> list[str]:
    """Photos that were drawn, now or before, and that nobody has judged without the answer.

    Who is not sure has not judged: were such photos left out, accuracy would be that of easy ones.

    Args:
        snapshot: Opinions, and what was drawn before.
        draw: What is drawn now.
        since: Time of the last training: earlier answers are of another model. None
            takes all.
    """
    answers = snapshot.answers[snapshot.answers["audit"].astype(bool)]
    if since is not None:
        answers = answers[answers["at"] >= pd.Timestamp(since)]
    opinions = snapshot.opinions
    judged = opinions[(opinions["annotator"] == "person") & (opinions["verdict"] != "unsure")]
    blind = judged[~judged["seen_answer"].astype(bool)]
    waiting = {*answers["photo_id"], *draw.drawn} - set(blind["photo_id"])
    return sorted(waiting & set(snapshot.paths))
