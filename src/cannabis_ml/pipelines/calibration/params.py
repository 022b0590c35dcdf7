"""Parameters of the calibration stage."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.calibration.choices import ChoiceParams


class CalibrationParams(BaseModel):
    """On which photos files are calibrated, and how."""

    model_config = ConfigDict(extra="forbid")

    training_photos: int = Field(
        default=1000,
        ge=0,
        description="Photos of the training split that files answer as well, at most; what is"
        " unlike these is unknown",
    )
    use_validation: bool = Field(
        default=False,
        description="Also calibrate on the validation split. It chose the epoch and thresholds, so"
        " the network looks better on it than on new photos, and calibrated confidence may stay"
        " too high",
    )
    choice: ChoiceParams = ChoiceParams()
