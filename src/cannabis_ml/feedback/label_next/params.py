"""Parameters of the label_next pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.learning_curve import CurveParams


class LabelNextParams(BaseModel):
    """What is put up to be labelled, and what is measured on the way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str | None = Field(
        default=None, description="Multiclass or ordinal head; null: the first of the taxonomy"
    )
    tier: str | None = Field(
        default=None, description="Whose embeddings and answers count; null: the largest"
    )
    count: int = Field(default=100, ge=1, description="Photos to put up")
    uniform_share: float = Field(
        default=0.1, ge=0, le=1, description="Of these, drawn uniformly, to measure accuracy by"
    )
    disagreement_share: float = Field(
        default=0.1, ge=0, le=1, description="Of these, photos on which tiers disagree"
    )
    query: Literal["typical", "dropquery", "margin"] | None = Field(
        default=None,
        description="null: typical photos up to one label per class, smallest margin afterwards",
    )
    most_unlabelled: int = Field(
        default=2000, ge=1, description="Photos without a label that are looked at, drawn uniformly"
    )
    most_labelled: int = Field(
        default=5000, ge=2, description="Training photos that are looked at, drawn uniformly"
    )
    most_errors: int = Field(default=100, ge=0, description="Suspected label errors listed")
    most_classes: int = Field(
        default=12, ge=0, description="Classes with a learning curve: those with the lowest recall"
    )
    image_prefix: str | None = Field(
        default=None,
        description="What Label Studio finds photos under, such as /data/local-files/?d=photos;"
        " null: their paths as they are",
    )
    curves: CurveParams = CurveParams()
    seed: int = Field(default=0, ge=0)
