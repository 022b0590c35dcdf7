"""Records of promotions and rollbacks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from cannabis_ml.evaluation.comparison.verdict import GateReport, Outcome, Reason
from cannabis_ml.evaluation.scores import Record


class PromotionRecord(Record):
    """How a bundle became champion; the newest record names the present one."""

    number: int = Field(ge=1, description="Of the record, in the order of time")
    kind: Literal["promotion", "rollback"]
    bundle_id: str = Field(description="`content_sha256` of its manifest")
    name: str = Field(description="Of the bundle")
    created: str = Field(description="When the bundle was made, ISO 8601")
    previous: str | None = Field(description="Id of the champion before; None where there was none")
    at: AwareDatetime
    by: str = Field(min_length=1, description="Who: a person, or `gate`")
    reason: str = Field(min_length=1, description="Why, in words")
    outcome: Outcome | None = Field(description="Of the gate; None where it was not asked")
    test: list[Reason] = Field(description="What the gate compared, and what followed from it")
    photo_set_fingerprint: str | None = Field(description="Of the photos it was trained on")
    run: str | None = Field(description="MLflow run that trained it")


class Standing(Record):
    """Who promotes and why, and what the gate found."""

    by: str
    reason: str
    at: datetime
    report: GateReport | None = None
