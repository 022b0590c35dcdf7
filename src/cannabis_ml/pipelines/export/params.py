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


class AgreementParams(BaseModel):
    """How nearly a quantised file must answer as its float file, on photos without labels."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(
        default=2000,
        gt=0,
        description="Photos and copies to judge by, at most: of every split but test, and none"
        " that a quantiser saw",
    )
    fewest: int = Field(
        default=1000,
        ge=0,
        description="Augmented copies are added where there are fewer photos than this",
    )
    min_same_decisions: float = Field(
        default=0.98, ge=0, le=1, description="Share of decisions of every head that must be equal"
    )
    max_mean_difference: float = Field(
        default=0.02, gt=0, description="Mean |difference| of a head's probabilities"
    )
    max_p99_difference: float = Field(
        default=0.25,
        gt=0,
        description="99th percentile over photos of the largest |difference| of a probability",
    )


class ExportParams(BaseModel):
    """What exported files must fulfil, whichever tier."""

    model_config = ConfigDict(extra="forbid")

    max_difference: float = Field(
        default=1e-3,
        gt=0,
        description="Largest allowed difference of a float file's probability to PyTorch's",
    )
    agreement: AgreementParams = AgreementParams()
    max_accuracy_loss: dict[Kind, float] = Field(
        default={"multiclass": 0.01, "ordinal": 0.03, "multilabel": 0.03},
        description="Share of right answers that a quantised file may lose, by kind of head; a"
        " larger loss fails where a paired test shows it not to be chance",
    )
    photos: int = Field(
        default=256,
        gt=0,
        description="Test photos, at most: the float file is held against PyTorch on them, and all"
        " files are reported on them; none is chosen by them",
    )
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

    format: Literal["onnx", "tflite"]
    recipes: list[Recipe] = Field(
        description="Quantisations to try; of equally small files the first ships"
    )
