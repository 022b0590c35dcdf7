"""How a network is trained: the recipe of one tier, and what all tiers share; no PyTorch here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import LossParams, ModelParams


class LastBlocks(BaseModel):
    """The heads and the top of the backbone. Written `{last_blocks: 2}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    last_blocks: int = Field(
        ge=1,
        description="Layers of the backbone, counted from the top, that learn; stem and stages of"
        " a convolutional network, blocks of a transformer. Attention learns with them",
    )


class Phase(BaseModel):
    """Some epochs in which the same part of the network learns, at one rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="As it stands in the history and the log")
    epochs: int = Field(ge=1, description="Passes over the training photos")
    learning_rate: float = Field(
        gt=0,
        description="Highest rate of the backbone's top layer (AdamW); heads: times"
        " head_multiplier",
    )
    train: Literal["heads", "all"] | LastBlocks = Field(
        default="all",
        description="heads: the backbone is frozen; {last_blocks: n}: its top n layers learn too;"
        " all: everything does. What is frozen keeps its BatchNorm statistics",
    )


class Distillation(BaseModel):
    """What a student takes from its teacher's answers on the same photos (Hinton et al. 2015)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the loss that is the teacher's; 0: no teacher",
    )
    temperature: float = Field(
        default=2.0, gt=0, description="Softens both answers: above 1, small probabilities speak up"
    )
    compare_without_teacher: bool = Field(
        default=False,
        description="Train once more without the teacher and report the gain; doubles the time",
    )


class Recipe(BaseModel):
    """How one tier is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phases: list[Phase] = Field(
        default_factory=lambda: [
            Phase(name="heads", epochs=6, learning_rate=1e-3, train="heads"),
            Phase(name="top", epochs=2, learning_rate=1e-3, train=LastBlocks(last_blocks=5)),
        ],
        min_length=1,
        description="One after the other; the optimiser's memory goes with them",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Photos per step of this tier; null: training.batch_size"
    )
    distillation: Distillation = Field(
        default_factory=Distillation,
        description="Students only: what they learn from their teacher",
    )

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases need names of their own, got {', '.join(names)}")
        return self

    @property
    def cached_epochs(self) -> int:
        """Epochs of the leading phases that train heads alone: the backbone is as it was."""
        leading = itertools.takewhile(lambda phase: phase.train == "heads", self.phases)
        return sum(phase.epochs for phase in leading)

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> int:
        """Index of the phase that an epoch (from 0) belongs to; the last one beyond the end."""
        for index, phase in enumerate(self.phases):
            if epoch < phase.epochs:
                return index
            epoch -= phase.epochs
        return len(self.phases) - 1

    def first_epoch(self, index: int) -> int:
        """The epoch (from 0) that a phase begins with."""
        return sum(phase.epochs for phase in self.phases[:index])


class TrainingParams(BaseModel):
    """What all tiers share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="Decides fresh weights, order, augmentation")
    batch_size: int = Field(
        default=32, ge=1, description="Photos per step, over all devices and machines together"
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
    weight_decay: float = Field(
        default=0.02, ge=0, description="AdamW's; none on biases and normalisation"
    )
    warmup_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of each phase's steps with a rising rate; half a cosine to 0 follows",
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient")
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Of the running average of the weights that is validated and kept; it starts"
        " at the weights and forgets its first steps faster. 0: no average",
    )
    loss: LossParams = Field(default_factory=LossParams, description="What wrong answers cost")
    class_weights: Literal["none", "inverse_frequency"] = Field(
        default="none",
        description="inverse_frequency: photos / (classes × photos of the class), of what an epoch"
        " shows; for multiclass heads. Photos count as balancing weighs them, so that what it has"
        " made up for is not made up for again",
    )
    augment: bool = Field(
        default=True,
        description="Random crop, mirror and exposure while training; off: photos as they are",
    )
    crop_scale: float = Field(
        default=0.7, gt=0, le=1, description="Smallest share of the photo that a crop keeps"
    )
    brightness: float = Field(
        default=0.2, ge=0, lt=1, description="Largest change of brightness and of contrast"
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        description="Alpha of mixup (Zhang et al. 2018), 0.2 is usual; 0: off. Both photos' labels"
        " count, each head's by their shares",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        description="Alpha of CutMix (Yun et al. 2019), 1.0 is usual; 0: off. With mixup, each"
        " step draws one of the two",
    )
    cache_features: bool = Field(
        default=True,
        description="While the backbone is frozen: compute its features once, of the photos as they"
        " are, and train the heads on these. Off: photos go through it with augmentation",
    )
    patience: int = Field(
        default=5,
        ge=1,
        description="Epochs of the last phase without a better validation loss before stopping",
    )
    checkpoint_every: int = Field(
        default=200,
        ge=1,
        description="Steps between states kept to resume from, besides the end of every epoch",
    )
    workers: int = Field(
        default=0, ge=0, description="Processes that prepare photos; 0: the training process itself"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="Lightning's name for the arithmetic"
    )
    compile: bool = Field(
        default=False,
        description="torch.compile the backbone: minutes of preparation, faster steps",
    )
    accelerator: str = Field(
        default="auto", description="Lightning's: auto takes an accelerator where there is one"
    )
    devices: int = Field(default=1, ge=1, description="Processes on this machine, a device each")
    nodes: int = Field(
        default=1,
        ge=1,
        description="Machines. Start the same command on each, with MASTER_ADDR, MASTER_PORT and"
        " NODE_RANK set; each needs the same photos, and each ends with all results",
    )
    strategy: str = Field(
        default="auto",
        description="Lightning's; auto: one process, or data-parallel ones started from this one",
    )

    @property
    def processes(self) -> int:
        """That train together."""
        return self.devices * self.nodes

    @model_validator(mode="after")
    def _check(self) -> TrainingParams:
        if self.batch_size < self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} leaves none of {self.processes} processes a photo"
            )
        return self


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """How one network is made and trained.

    Attributes:
        model: The network and its pretrained weights.
        training: Parameters that all tiers share.
        recipe: The training schedule.
        start: A checkpoint to start from, before any pretrained weights; heads of the same name
            and classes are taken over.
    """

    model: ModelParams
    training: TrainingParams
    recipe: Recipe = field(default_factory=Recipe)
    start: Checkpoint | None = None

    @property
    def batch_size(self) -> int:
        """Photos per step, over all devices and machines together."""
        return self.recipe.batch_size or self.training.batch_size

    def learning_everywhere(self) -> TrainingPlan:
        """The same with every phase training all layers, for a network of random weights."""
        phases = [phase.model_copy(update={"train": "all"}) for phase in self.recipe.phases]
        return replace(self, recipe=self.recipe.model_copy(update={"phases": phases}))
