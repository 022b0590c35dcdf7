"""How long a run takes, from what this machine was measured to do; no PyTorch here.

Networks take a time per photo that grows with its area, reading a photo one that does not. What
follows training is taken from a machine that was measured as a whole, times how much slower this
one reads a photo.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.training.recipes import Costs, Setup, TierSetup, backbone_name, is_fine_tuning
from cannabis_ml.training.schedule import Phase

SOLVED = 30
"""Epochs of heads on kept features that take as long as heads that are solved, about."""


class PerPhoto(BaseModel):
    """Seconds of a photo: `each` + `megapixel` × its area in megapixels."""

    model_config = ConfigDict(frozen=True)

    each: float = Field(ge=0)
    megapixel: float = Field(ge=0)

    def at(self, side: int) -> float:
        """Seconds for a photo of that side in pixels."""
        return self.each + self.megapixel * side * side / 1e6

    @classmethod
    def through(cls, small: tuple[int, float], large: tuple[int, float]) -> PerPhoto:
        """The line through (side, seconds) of two sides, neither part below 0."""
        (a, s), (b, t) = ((side * side / 1e6, seconds) for side, seconds in (small, large))
        slope = min(max(0.0, (t - s) / (b - a)), t / b)
        return cls(each=max(0.0, t - slope * b), megapixel=slope)


class BackboneSpeed(BaseModel):
    """What a photo takes of a network, by how it is used.

    Attributes:
        features: Of a frozen backbone, in small batches.
        predicting: In batches as large as in training, as in validation.
        cpu: As `features`, on the processor, which model files run on.
        steps: Forward and backward, by what is trained, see `trained_part`.
    """

    model_config = ConfigDict(frozen=True)

    features: PerPhoto
    predicting: PerPhoto
    cpu: PerPhoto
    steps: dict[str, PerPhoto]


class MachineSpeed(BaseModel):
    """What a machine was measured to do, in seconds.

    Attributes:
        machine: In words: processor, threads, accelerator.
        probing: How long measuring took.
        unit: Of reading a standard photo: how fast it is at all that is no network.
        reading: Of reading and changing a photo of the set for a network.
        copying: Of an augmented copy, all workers together.
        heads: Of a photo in a step that trains heads on kept features.
        backbones: By name, see `recipes.backbone_name`.
    """

    model_config = ConfigDict(frozen=True)

    machine: str
    probing: float = Field(ge=0)
    unit: float = Field(gt=0)
    reading: float = Field(ge=0)
    copying: float = Field(ge=0)
    heads: float = Field(ge=0)
    backbones: dict[str, BackboneSpeed]


class PhotoCounts(BaseModel):
    """Numbers of photos.

    Attributes:
        shown: Rows of an epoch, repeated if oversampled.
        training: Different photos of the training split.
        validation: Of the validation split.
        held_out: Of all splits but training.
    """

    model_config = ConfigDict(frozen=True)

    shown: int = Field(ge=0)
    training: int = Field(ge=0)
    validation: int = Field(ge=0)
    held_out: int = Field(ge=0)

    @property
    def all(self) -> int:
        """Of all splits."""
        return self.training + self.held_out


class StageTime(BaseModel):
    """A line of the forecast."""

    model_config = ConfigDict(frozen=True)

    name: str
    what: str
    seconds: float = Field(ge=0)


def forecast(
    setup: Setup, photos: PhotoCounts, speed: MachineSpeed, costs: Costs
) -> list[StageTime]:
    """Seconds of every stage that follows the choice of a recipe, up to the bundle.

    Early stopping is not foreseen: a training that stops before its last epoch takes less.

    Args:
        setup: What is trained.
        photos: How many.
        speed: Of the machine; has every backbone, and every part that a phase trains.
        costs: Of what is not training.
    """
    stages = []
    if setup.copies:
        seconds = setup.copies * photos.training * speed.copying
        made = f"{setup.copies} of each of {photos.training:,} training photos"
        stages.append(StageTime(name="augmented copies", what=made, seconds=seconds))
    for name, tier in setup.tiers.items():
        seconds = _training(setup, tier, photos, speed, costs)
        stages.append(StageTime(name=name, what=_described(tier), seconds=seconds))
    slower = speed.unit / costs.reference_unit
    after = sum(_after(tier, photos, speed, costs, slower) for tier in setup.tiers.values())
    stages.append(
        StageTime(
            name="after training",
            what="model files, their comparison, calibration, bundle",
            seconds=after + costs.once * slower,
        )
    )
    return stages


def trained_part(phase: Phase) -> str:
    """What a phase trains, in words: `all`, or `last 5 blocks`."""
    return phase.train if isinstance(phase.train, str) else f"last {phase.train.last_blocks} blocks"


def _training(
    setup: Setup, tier: TierSetup, photos: PhotoCounts, speed: MachineSpeed, costs: Costs
) -> float:
    """Of the nodes that train a tier and predict with it."""
    training, side = setup.training, tier.model.image_size
    network = speed.backbones[backbone_name(tier.model)]
    together = training.processes
    read = speed.reading / max(1, training.workers)
    steps_cost = costs.lightning * speed.unit / costs.reference_unit
    steps = tier.schedule.steps(photos.shown, training.batch_size)
    seconds = 0.0
    phases = tier.schedule.phases
    solved = any(phase.is_solved for phase in phases)
    if solved or (training.cache_features and not is_fine_tuning(phases[0])):
        looked_at = photos.all if solved else photos.training + photos.validation
        seconds += looked_at * (read + network.features.at(side))
    for phase in phases:
        if phase.is_solved:
            seconds += photos.shown * speed.heads * SOLVED
            continue
        validated = photos.validation * (read + network.predicting.at(side)) / together
        if is_fine_tuning(phase):
            step = network.steps[trained_part(phase)].at(phase.image_size or side)
            epoch = photos.shown * (read + step) / together + validated
        elif training.cache_features:
            epoch = (photos.shown + photos.validation / 2) * speed.heads
        else:
            step = network.predicting.at(phase.image_size or side) + speed.heads
            epoch = photos.shown * (read + step) / together + validated
        seconds += phase.epochs * (epoch + steps * steps_cost)
    if tier.schedule.distillation.compare_without_teacher and tier is not _teacher(setup):
        seconds *= 2
    if all(phase.is_solved for phase in phases):
        return seconds  # predictions are of the features that are there
    return seconds + photos.all * (read + network.predicting.at(side))


def _after(
    tier: TierSetup, photos: PhotoCounts, speed: MachineSpeed, costs: Costs, slower: float
) -> float:
    """Of export, calibration and figures of a tier."""
    file = speed.backbones[backbone_name(tier.model)].cpu.at(tier.model.image_size)
    fewest, most = costs.compared
    compared = min(max(photos.all, fewest), most) * costs.comparisons
    answered = min(photos.training, costs.answered) + photos.held_out
    files = (compared + answered) * (file + speed.reading)
    return files + slower * (costs.per_tier + costs.per_photo * photos.held_out)


def _teacher(setup: Setup) -> TierSetup:
    return next(iter(setup.tiers.values()))


def _described(tier: TierSetup) -> str:
    phases = ", ".join(
        phase.in_words + (f" at {phase.image_size} px" if phase.image_size else "")
        for phase in tier.schedule.phases
    )
    return f"{backbone_name(tier.model)} at {tier.model.image_size} px; epochs: {phases}"
