"""Parameters of the calibration stage."""

from __future__ import annotations

from pydantic import Field

from cannabis_ml.calibration.choices import ChoiceParams
from cannabis_ml.calibration.reliability import ReliabilityParams
from cannabis_ml.calibration.routing_choice import RoutingParams
from cannabis_ml.calibration.unknown_choice import UnknownParams
from cannabis_ml.splits import Split


class CalibrationParams(ReliabilityParams):
    """On which photos files are calibrated, and how."""

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
    unknown: UnknownParams = UnknownParams()
    routing: RoutingParams = RoutingParams()

    @property
    def splits(self) -> list[Split]:
        """Of the photos that calibrators, bands, sets and back-off are fitted to."""
        return [Split.CALIBRATION] + ([Split.VALIDATION] if self.use_validation else [])
