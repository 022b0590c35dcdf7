"""Parameters of the export stage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cannabis_ml.taxonomy import Kind

RECIPES = ("weight_only_int8", "dynamic_int8", "static_int8", "mixed", "float16")
"""Names of the quantisations, see `models.quantise.RECIPES`."""

Recipe = Literal["weight_only_int8", "dynamic_int8", "static_int8", "mixed", "float16"]


class LatencyParams(BaseModel):
    """How time and memory are measured."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(default=8, gt=0, description="Test photos that are timed one by one")
    repeats: int = Field(default=5, gt=0, description="Times that each photo is timed in a round")
    rounds: int = Field(default=2, gt=0, description="Processes per file, files taking turns")


class ExportParams(BaseModel):
    """What exported files must fulfil, whichever tier."""

    model_config = ConfigDict(extra="forbid")

    max_difference: float = Field(
        default=1e-3,
        gt=0,
        description="Largest allowed difference of a float file's probability to PyTorch's",
    )
    max_accuracy_loss: dict[Kind, float] = Field(
        default={"multiclass": 0.01, "ordinal": 0.03, "multilabel": 0.03},
        description="Share of right answers that a quantised file may lose, by kind of head",
    )
    photos: int = Field(default=256, gt=0, description="Test photos that are compared, at most")
    calibration_photos: int = Field(
        default=64, gt=0, description="Photos of the calibration split that quantisers see, at most"
    )
    same_size: float = Field(
        default=0.1, ge=0, description="Files larger by this share still count as equally small"
    )
    try_all: bool = Field(
        default=False, description="Measure recipes too that can no longer give the smallest file"
    )
    latency: LatencyParams = LatencyParams()

    @field_validator("max_accuracy_loss")
    @classmethod
    def _names_all(cls, value: dict[Kind, float]) -> dict[Kind, float]:
        missing = {"multiclass", "ordinal", "multilabel"} - set(value)
        if missing:
            raise ValueError(f"max_accuracy_loss lacks {', '.join(sorted(missing))}")
        return value


class TierExportParams(BaseModel):
    """What a tier is exported as."""

    model_config = ConfigDict(extra="forbid")

    tier: str = Field(description="Its name, as it stands in the file's card")
    format: Literal["onnx", "tflite"]
    recipes: list[Recipe] = Field(
        description="Quantisations to try; of equally small files the first ships"
    )
