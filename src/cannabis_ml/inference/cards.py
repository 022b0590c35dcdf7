"""Cards: the metadata of a trained network and of a model file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.outputs import Output
from cannabis_ml.taxonomy import Taxonomy

LARGEST_IMAGE_SIZE = 8192

Finite = Annotated[float, Field(allow_inf_nan=False)]


class NetworkCard(BaseModel):
    """A trained network; it lies in the header of its checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    taxonomy: Taxonomy
    taxonomy_sha256: str | None = Field(
        default=None, description="`Taxonomy.sha256`; checked where it is written"
    )
    image_size: int = Field(
        ge=1, le=LARGEST_IMAGE_SIZE, description="Side S of the square that it sees, in pixels"
    )
    backbone: str | list[str] = Field(
        default="", description="Name of the timm model; several are fused"
    )
    mean: list[Finite] = Field(default=[], description="Of a channel, in 0..1; R, G, B")
    std: list[Finite] = Field(default=[], description="Of a channel, in 0..1; R, G, B")
    dropout: Finite = 0.0
    ensemble: int = Field(default=1, description="Members of every head")
    attention: bool = False
    hidden: int | dict[str, int] = Field(
        default=0, description="Width of the hidden layer, by head where it differs; 0: none"
    )
    mirrored: bool = Field(
        default=False, description="Whether it looks at the mirror image of a photo too"
    )
    experts: dict[str, list[str]] = Field(
        default={},
        description="Head that networks of their own answer, and the classes of its parent that"
        " have one",
    )
    weights: dict[str, str | None] | None = Field(
        default=None, description="What it started from: source, file, sha256, licence"
    )
    photo_set_fingerprint: str | None = Field(
        default=None, description="Of the photos that it was trained on"
    )
    training_key: str | None = Field(
        default=None, description="Hash of everything that decided its training"
    )
    taught: bool = Field(default=False, description="Whether it learned from a teacher too")
    best_epoch: int | None = None
    validation_loss: Finite | None = None
    cannabis_ml: str | None = Field(default=None, description="Version that trained it")
    run: str | None = Field(default=None, description="MLflow run that trained it")

    @model_validator(mode="after")
    def _check_taxonomy(self) -> NetworkCard:
        if self.taxonomy_sha256 not in (None, self.taxonomy.sha256):
            raise ValueError("taxonomy_sha256 is of another taxonomy")
        return self

    @property
    def backbones(self) -> list[str]:
        """Names of all backbones: one, or those that are fused."""
        return [self.backbone] if isinstance(self.backbone, str) else list(self.backbone)

    @property
    def backbone_in_words(self) -> str:
        """Names of all backbones, how they look, and how many more of them are experts."""
        names = " + ".join(self.backbones) + (" on both mirror images" if self.mirrored else "")
        experts = [f"{len(classes)} experts for {head}" for head, classes in self.experts.items()]
        return f"{names}, with {', '.join(experts)}" if experts else names


def _described(outputs: object) -> object:
    """Older cards have one text about all outputs, which describes none of them."""
    return {} if isinstance(outputs, str) else outputs


class FileCard(NetworkCard):
    """A model file; it lies in the metadata of the file, see `inference.seal`."""

    input: str = Field(default="", description="In words")
    outputs: Annotated[dict[str, Output], BeforeValidator(_described)] = Field(
        default={}, description="By name, see `inference.outputs`; checked when the file is opened"
    )
    absent_outputs: dict[str, str] = Field(
        default={}, description="Outputs that other files have, and why this one lacks them"
    )
    tier: str | None = Field(default=None, description="Name of the tier that it belongs to")
    format: str | None = Field(default=None, description="onnx or tflite")
    quantization: str = Field(default="float", description="float, or the name of the quantization")
    decision: DecisionRule = Field(
        default=DecisionRule(), description="The rule that the model was scored with"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_calibration(cls, given: object) -> Any:
        """Older cards have a field `calibration`, always empty."""
        if isinstance(given, dict) and given.get("calibration", 0) is None:
            return {name: value for name, value in given.items() if name != "calibration"}
        return given

    @model_validator(mode="after")
    def _check_decision(self) -> FileCard:
        faults = list(self.decision.faults(self.taxonomy))
        if faults:
            raise ValueError(f"the decision is of another taxonomy: {'; '.join(faults)}")
        return self


def faults_of(error: ValidationError) -> str:
    """What is wrong, in one line: the first five faults."""
    each = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".strip(": ") for e in error.errors()]
    return "; ".join(each[:5])
