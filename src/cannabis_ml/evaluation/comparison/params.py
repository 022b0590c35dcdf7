"""What a challenger has to show to take the champion's place, and what it may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.evaluation.comparison.paired import PairedParams

Margin = Annotated[float, Field(ge=0, le=1)]


class Budget(BaseModel):
    """What a tier may cost its device."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    milliseconds: float | None = Field(
        default=None, gt=0, description="Median per photo, JPEG to probabilities, one thread"
    )
    megabytes: float | None = Field(default=None, gt=0, description="Of the file that ships")


class GateParams(BaseModel):
    """What a challenger has to show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paired: PairedParams = PairedParams()
    margin: Margin = Field(
        default=0.02,
        description="Overall, a challenger must be shown to be worse by no more than this share of"
        " labels",
    )
    head_margin: Margin = Field(
        default=0.05,
        description="A head that is worse by more than this, and significantly, refuses it",
    )
    class_margin: Margin = Field(
        default=0.1,
        description="So does a class whose recall is worse by more than this, significantly after"
        " Holm's correction for the number of classes",
    )
    calibration_margin: Margin = Field(
        default=0.02,
        description="So does a smooth ECE that is above chance, and larger by more than this",
    )
    log_loss_margin: float = Field(
        default=0.05,
        ge=0,
        description="So does a log loss that is larger by more than this, in nats, significantly",
    )
    risk_margin: Margin = Field(
        default=0.02,
        description="So does an error rate among accepted answers that is larger by more than this,"
        " significantly",
    )
    agreement: Margin = Field(
        default=0.9, description="Where fewer answers agree, a person looks before it is promoted"
    )
    budgets: dict[str, Budget] = Field(default_factory=dict, description="By tier")

    @property
    def significant(self) -> float:
        """p-value below which a difference is significant."""
        return 1 - self.paired.confidence
