"""How a calibrator is chosen, and what was chosen: parameters and reports, without SciPy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.calibrators import Calibrator
from cannabis_ml.taxonomy import Kind

POOL_BELOW = 50
"""Attributes that fewer photos have, or lack, are calibrated together: see `fit_affine`."""

CandidateName = Literal[
    "none",
    "temperature",
    "platt",
    "beta",
    "svs",
    "sms",
    "isotonic",
    "ordinal_scale",
    "ordinal_shift",
    "ordinal_shifts",
    "affine_pooled",
    "affine",
]
"""Of multiclass, ordinal and multilabel heads."""


class ChoiceParams(BaseModel):
    """How calibrators are chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidates: list[CandidateName] | None = Field(
        default=None,
        description="Only these; null takes every one of the head's kind. `none` always takes part",
    )
    folds: int = Field(default=5, ge=2, le=50)
    repeats: int = Field(default=4, ge=1, le=100, description="Of the cross-validation")
    seed: int = Field(default=0, ge=0)
    fewest_groups: int = Field(
        default=20, ge=2, description="With fewer groups of photos nothing is fitted"
    )
    one_number_groups: int = Field(
        default=100,
        ge=2,
        description="A calibrator of one number, which keeps the order of classes, is taken with so"
        " many groups of photos wherever it lowers the held-out log loss; with fewer only where it"
        " does by more than one standard error, as all others",
    )
    structured_groups: int = Field(
        default=400,
        ge=2,
        description="Vector and matrix scaling are refused with fewer groups of photos: from 400 on"
        " they lower the log loss more often than a temperature; of fewer nothing is known",
    )
    isotonic_groups: int = Field(
        default=10_000,
        ge=2,
        description="Isotonic regression is refused with fewer groups of photos: it made the log"
        " loss worse by 0.24 nats with 1,000 to 2,000, and by 0.02 with 5,000 to 10,000",
    )
    pool_below: int = Field(
        default=POOL_BELOW,
        ge=0,
        description="Attributes that fewer photos have, or lack, are calibrated together",
    )


class Candidate(BaseModel):
    """How one calibrator did on photos that it was not fitted to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: CandidateName
    numbers: int | None = Field(description="How many it fits; null for as many as photos need")
    log_loss: float | None = Field(default=None, description="Nats, mean over groups of photos")
    more_than_best: float | None = Field(default=None, description="Than the lowest log loss, nats")
    standard_error: float | None = Field(default=None, description="Of `more_than_best`")
    refused: str | None = Field(default=None, description="Why it took no part")


class Choice(BaseModel):
    """What was chosen for one head, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str
    kind: Kind
    photos: int = Field(
        description="With a label of this head, and of its parent if that limits it"
    )
    groups: int = Field(description="That these fall into; each counts as one photo")
    candidates: list[Candidate] = Field(description="The simplest first")
    chosen: CandidateName
    why: str = Field(description="A sentence")
    supports: str = Field(description="Smallest effect that so many photos can show, in words")
    calibrator: Annotated[Calibrator, Field(description="Fitted to all photos")]
    is_calibrated: bool = Field(
        default=True,
        description="False where no calibrator took part, for want of photos: then nothing is known"
        " of the confidence",
    )


class CalibrationReport(BaseModel):
    """What was chosen for the heads of one model file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    splits: list[str] = Field(description="Of the photos that calibrators were fitted to")
    heads: dict[str, Choice]
