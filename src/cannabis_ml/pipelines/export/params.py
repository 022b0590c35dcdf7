"""Parameters of the export stage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cannabis_ml.evaluation.agreement import AgreementParams
from cannabis_ml.evaluation.latency import LatencyParams
from cannabis_ml.exporting.quantize import Quantization
from cannabis_ml.taxonomy import Kind


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
        description="Also try quantizations that can no longer give the smallest file, and each"
        " file on all photos, not only until it can no longer pass",
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
    page: list[Quantization] = Field(
        default=[],
        description="Quantizations of one more file, TFLite for web pages, in order of preference:"
        " the first that agrees is taken. Nothing is made of a tier whose format is tflite: pages"
        " run its own files",
    )

    @property
    def makes_page(self) -> bool:
        """Whether there is to be a file for web pages beside the others."""
        return bool(self.page) and self.format != "tflite"
