"""Parameters of the reports on a trained model."""

from pydantic import BaseModel, ConfigDict, Field


class ReportParams(BaseModel):
    """Contents of the reports on a trained model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error_limit: float = Field(
        default=0.2, ge=0, lt=1, description="Classes with a larger error are named"
    )
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Confidence level of intervals")
    threshold_photos: int = Field(
        default=5,
        ge=1,
        description="Fewest validation photos with and without an attribute for which its threshold"
        " is chosen; with fewer it is 0.5",
    )
    mistakes: int = Field(
        default=24, ge=1, description="Photos per head on the sheet of the most confident mistakes"
    )
