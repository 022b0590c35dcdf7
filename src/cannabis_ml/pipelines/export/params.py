"""Parameters of the export stage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cannabis_ml.exporting.quantize import Quantization
from cannabis_ml.taxonomy import Kind


class LatencyParams(BaseModel):
    """How latency and memory are measured."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(default=8, gt=0, description="Test photos that are timed one by one")
    repeats: int = Field(default=5, gt=0, description="Times that each photo is timed in a round")
    rounds: int = Field(default=2, gt=0, description="Processes per file, files taking turns")


class AgreementParams(BaseModel):
    """How closely a quantized file must agree with its float file, on photos without labels."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(
        default=2000,
        gt=0,
        description="Largest number of photos and copies to compare on: of every split but test,"
        " without the calibration photos of the quantizer",
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
    """Requirements that exported files of every tier must meet."""

    model_config = ConfigDict(extra="forbid")

    max_difference: float = Field(
        default=1e-3,
        gt=0,
        description="Largest allowed difference of a float file's probability to PyTorch's",
    )
    agreement: AgreementParams = AgreementParams()
    max_accuracy_loss: dict[Kind, float] = Field(
        default={"multiclass": 0.01, "ordinal": 0.03, "multilabel": 0.03},
        description="Accuracy that a quantized file may lose, by kind of head; a larger loss fails"
        " if a paired test finds it significant",
    )
    photos: int = Field(
        default=256,
        gt=0,
        description="Largest number of test photos: float files are compared with PyTorch on them,"
        " and all files reported; they select nothing",
    )
    calibration_photos: int = Field(
        default=64, gt=0, description="Largest number of calibration photos for quantizers"
    )
    same_size: float = Field(
        default=0.1, ge=0, description="Files larger by this share count as equally small"
    )
    try_all: bool = Field(
        default=False,
        description="Also try quantizations that can no longer give the smallest file",
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
    """Format and quantizations of one tier."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["onnx", "tflite"]
    quantizations: list[Quantization] = Field(
        description="Quantizations to try; of equally small files the first is selected"
    )
