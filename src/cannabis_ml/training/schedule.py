"""Parameters of training: the schedule of each tier, and what all tiers share; no PyTorch here."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import LossParams, ModelParams


class LastBlocks(BaseModel):
    """Heads, attention and the last layers of the backbone. Written `{last_blocks: 2}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    last_blocks: int = Field(
        ge=1,
        description="Number of layers of the backbone, counted from the top, that are trained:"
        " stages and stem of a convolutional network, blocks of a transformer",
    )


Solver = Literal["adamw", "lbfgs", "ridge"]
"""What finds the weights of a phase."""


class Phase(BaseModel):
    """Epochs in which the same parameters are trained, with one learning rate.

    Or linear heads that are solved on the features of the frozen backbone, without epochs and
    rate: `{name: heads, train: heads, solver: lbfgs}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Its name in history and log")
    epochs: int = Field(default=1, ge=1, description="Passes over the training photos (adamw)")
    fewest_steps: int = Field(
        default=0,
        ge=0,
        description="Few photos have few steps in an epoch: epochs, and training.patience with"
        " them, are multiplied until there are at least so many (adamw)",
    )
    learning_rate: float = Field(
        default=1e-3,
        gt=0,
        description="Highest rate of the backbone's top layer (adamw); heads: times"
        " head_multiplier",
    )
    train: Literal["heads", "all"] | LastBlocks = Field(
        default="all",
        description="heads: the backbone is frozen; {last_blocks: n}: its last n layers are trained"
        " too; all: everything is. Frozen layers keep their BatchNorm statistics",
    )
    image_size: int | None = Field(
        default=None,
        ge=32,
        le=1024,
        description="Side of the training photos in this phase, pixels; null: the network's own."
        " Smaller first, then larger (progressive resizing, Tan & Le 2021) saves time. Validation"
        " is at the network's",
    )
    solver: Solver = Field(
        default="adamw",
        description="adamw: step by step, in epochs. Of the first phase, where heads alone are"
        " trained and have no hidden layer, also lbfgs: penalized logistic regression by L-BFGS, or"
        " ridge: ridge regression in closed form, multiclass heads alone. These look at each photo"
        " once, as it is, and learn from labels alone; validation photos choose the penalty",
    )

    @property
    def is_solved(self) -> bool:
        """Whether heads are solved, in place of trained in steps."""
        return self.solver != "adamw"

    @property
    def in_words(self) -> str:
        """Its name, and how long it is trained or that it is solved."""
        return f"{self.name} ({self.solver})" if self.is_solved else f"{self.name} {self.epochs}"

    @model_validator(mode="after")
    def _check(self) -> Phase:
        of_steps = {"epochs", "learning_rate"}
        given = sorted((of_steps | {"image_size", "fewest_steps"}) & self.model_fields_set)
        if not self.is_solved:
            if not of_steps <= self.model_fields_set:
                raise ValueError(f"phase '{self.name}' needs epochs and learning_rate")
        elif self.train != "heads":
            raise ValueError(f"solver {self.solver} of phase '{self.name}' needs train: heads")
        elif given:
            raise ValueError(
                f"phase '{self.name}' is solved ({self.solver}) and has no {' and no '.join(given)}"
            )
        return self


class Distillation(BaseModel):
    """Distillation from the teacher's predictions for the same photos (Hinton et al. 2015)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the loss that is the teacher's; 0: no teacher",
    )
    temperature: float = Field(
        default=2.0,
        gt=0,
        description="Of teacher and student; T > 1 gives small probabilities more weight",
    )
    compare_without_teacher: bool = Field(
        default=False,
        description="Train once more without the teacher and report the gain; doubles the time",
    )


class Schedule(BaseModel):
    """Schedule of training of one tier."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phases: list[Phase] = Field(
        default_factory=lambda: [
            Phase(name="heads", epochs=6, learning_rate=1e-3, train="heads"),
            Phase(name="top", epochs=2, learning_rate=1e-3, train=LastBlocks(last_blocks=5)),
        ],
        min_length=1,
        description="In this order; optimizer state carries over between phases",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Photos per step of this tier; null: training.batch_size"
    )
    distillation: Distillation = Field(
        default_factory=Distillation,
        description="Students only",
    )

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"names of phases must differ, got {', '.join(names)}")
        late = [phase.name for phase in self.phases[1:] if phase.is_solved]
        if late:
            raise ValueError(
                f"only the first phase can be solved by lbfgs or ridge, not {', '.join(late)}"
            )
        return self

    @property
    def solved(self) -> Phase | None:
        """The first phase, where its heads are solved."""
        return self.phases[0] if self.phases[0].is_solved else None

    def steps(self, photos: int, batch_size: int) -> int:
        """Steps of an epoch.

        Args:
            photos: Of an epoch.
            batch_size: Photos per step, where the schedule has none of its own.
        """
        return math.ceil(photos / (self.batch_size or batch_size))

    def for_photos(self, photos: int, batch_size: int) -> Schedule:
        """The same with as many epochs as `fewest_steps` of the phases ask for.

        Args:
            photos: Of an epoch.
            batch_size: As for `steps`.
        """
        steps = max(1, self.steps(photos, batch_size))
        phases = [
            phase.model_copy(
                update={
                    "epochs": max(phase.epochs, math.ceil(phase.fewest_steps / steps)),
                    "fewest_steps": 0,
                }
            )
            if phase.fewest_steps
            else phase
            for phase in self.phases
        ]
        return self.model_copy(update={"phases": phases})

    @property
    def cached_epochs(self) -> int:
        """Epochs of the leading phases that train heads alone, with an unchanged backbone."""
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

    def image_sizes(self, of_network: int) -> list[int]:
        """Side of the training photos in each epoch, pixels.

        Args:
            of_network: Where a phase has none of its own.
        """
        return [
            phase.image_size or of_network for phase in self.phases for _ in range(phase.epochs)
        ]

    def first_epoch(self, index: int) -> int:
        """The epoch (from 0) that a phase begins with."""
        return sum(phase.epochs for phase in self.phases[:index])


class TrainingParams(BaseModel):
    """Parameters of training that all tiers share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="Of initial weights, order, augmentation")
    batch_size: int = Field(
        default=32, ge=1, description="Photos per step, over all devices and machines together"
    )
    head_multiplier: float = Field(
        default=5.0,
        gt=0,
        description="Learning rate of the heads over that of the pretrained backbone",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Learning rate of each layer over that of the layer above it; 1: all the same",
    )
    weight_decay: float = Field(
        default=0.02, ge=0, description="AdamW's; none on biases and normalization layers"
    )
    warmup_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of each phase's steps with linear warm-up; cosine decay to 0 follows",
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient")
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Of the moving average of the weights (EMA) that is validated and kept; at step"
        " t it is at most (1 + t) / (10 + t). 0: no EMA",
    )
    loss: LossParams = Field(default_factory=LossParams, description="Losses and their weights")
    class_weights: Literal["none", "inverse_frequency"] = Field(
        default="none",
        description="inverse_frequency: photos / (classes × photos of the class), of what an epoch"
        " shows; for multiclass heads. Photos count by the weights of balancing, which are not"
        " applied twice",
    )
    augment: bool = Field(
        default=True,
        description="Random crop, mirror and exposure in training",
    )
    crop_scale: float = Field(
        default=0.7, gt=0, le=1, description="Smallest share of the photo's area that a crop keeps"
    )
    brightness: float = Field(
        default=0.2, ge=0, lt=1, description="Largest change of brightness and of contrast"
    )
    geometry: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Strength of one more transform of each photo: a rotation, shear, change of"
        " perspective or erased square, drawn anew each time (as TrivialAugment, Müller & Hutter"
        " 2021, without its colors, so that no guard of labels is broken); 0: off. Not of copies",
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
        description="While the backbone is frozen, train the heads on features computed once,"
        " without augmentation. Off: photos go through the backbone, augmented",
    )
    patience: int = Field(
        default=5,
        ge=1,
        description="Epochs of the last phase without a better validation loss before stopping",
    )
    checkpoint_every: int = Field(
        default=200,
        ge=1,
        description="Steps between saved states to resume from, besides the end of every epoch",
    )
    workers: int = Field(
        default=0, ge=0, description="Processes that prepare photos; 0: the training process itself"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="Lightning's"
    )
    compile: bool = Field(
        default=False,
        description="torch.compile the backbone: minutes at the start, faster steps",
    )
    accelerator: str = Field(
        default="auto", description="Lightning's: auto takes an accelerator where there is one"
    )
    devices: int = Field(default=1, ge=1, description="Processes on this machine, a device each")
    nodes: int = Field(
        default=1,
        ge=1,
        description="Machines. Start the same command on each, once, with MASTER_ADDR, MASTER_PORT"
        " and NODE_RANK set, or under torchrun, Slurm, SageMaker, Vertex AI, SkyPilot or Ray Train;"
        " each needs the same photos, and each ends with all results",
    )
    strategy: str = Field(
        default="auto",
        description="Lightning's; auto: one process, or data-parallel ones started from this one",
    )

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
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
        schedule: The training schedule.
        start: A checkpoint to start from, before any pretrained weights; heads of the same name
            and classes are taken over.
    """

    model: ModelParams
    training: TrainingParams
    schedule: Schedule = field(default_factory=Schedule)
    start: Checkpoint | None = None

    @property
    def batch_size(self) -> int:
        """Photos per step, over all devices and machines together."""
        return self.schedule.batch_size or self.training.batch_size

    def for_photos(self, photos: int) -> TrainingPlan:
        """The same with as many epochs as `fewest_steps` of the phases ask for.

        Args:
            photos: Of an epoch.
        """
        schedule = self.schedule.for_photos(photos, self.training.batch_size)
        longer = schedule.phases[-1].epochs / self.schedule.phases[-1].epochs
        patience = math.ceil(self.training.patience * longer)
        training = self.training.model_copy(update={"patience": patience})
        return replace(self, schedule=schedule, training=training)

    @property
    def in_steps(self) -> TrainingPlan | None:
        """The same with the phases that are trained in epochs; None where there is none."""
        phases = self.schedule.phases
        left = phases[1:] if self.schedule.solved else phases
        if not left:
            return None
        return replace(self, schedule=self.schedule.model_copy(update={"phases": left}))

    def training_everything(self) -> TrainingPlan:
        """The same with every phase training all layers, for a network of random weights.

        Raises:
            TrainingError: If heads are to be solved: random features are of no use to them.
        """
        if self.schedule.solved is not None:
            raise TrainingError(
                f"Phase '{self.schedule.solved.name}' solves heads on features of a backbone of"
                " random weights: put another source before `random` in model.weights, or train"
                " in epochs (solver: adamw)."
            )
        phases = [phase.model_copy(update={"train": "all"}) for phase in self.schedule.phases]
        return replace(self, schedule=self.schedule.model_copy(update={"phases": phases}))
