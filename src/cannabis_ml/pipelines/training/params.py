"""Parameters of what people read after training."""

from pydantic import BaseModel, ConfigDict, Field


class ReportParams(BaseModel):
    """What the reports on a trained model say and show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error_limit: float = Field(
        default=0.2, ge=0, lt=1, description="Classes that go wrong more often are named"
    )
    confidence: float = Field(
        default=0.95, gt=0, lt=1, description="How often an interval holds the true value"
    )
    threshold_photos: int = Field(
        default=5,
        ge=1,
        description="Validation photos with an attribute, and without, from which on a threshold"
        " of its own is chosen for it; below, it is there from 0.5 on",
    )
    mistakes: int = Field(
        default=24, ge=1, description="Photos per head on the sheet of confident mistakes"
    )
