"""Parameters of the gate stage."""

from __future__ import annotations

from pydantic import Field

from cannabis_ml.evaluation.comparison.params import GateParams


class GateStageParams(GateParams):
    """What a challenger has to show, on how many photos, and what follows."""

    photos: int = Field(default=2000, gt=0, description="Test photos compared on, at most")
    unlabelled: int = Field(
        default=500, ge=0, description="Photos without labels compared on, at most"
    )
    sheet: int = Field(default=60, ge=0, description="Flipped answers shown on the page, per tier")
    promote: bool = Field(
        default=True,
        description="Promote a challenger that passes; false leaves it to `kedro promote`",
    )
    registered_model: str | None = Field(
        default=None,
        min_length=1,
        description="Name in MLflow's registry; null: the bundle's name",
    )
