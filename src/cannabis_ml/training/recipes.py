"""Recipes: how a whole run is made cheaper or dearer than its environment; no PyTorch here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photos.augmentation_policy import Policy
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams

SMALLEST_SIDE = 64
"""Below this, maps of the usual backbones are a place or two."""

STEP_OF_SIDES = 16


class Recipe(BaseModel):
    """A cheaper or dearer version of what an environment configures, for all tiers alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Its name in log, model card and MLflow")
    sides: float = Field(
        default=1.0, gt=0, le=4, description="Sides of photos over those that are configured"
    )
    epochs: float = Field(
        default=1.0,
        ge=0,
        description="Epochs of phases that train more than the heads over those that are"
        " configured, at least; the time that is left goes to more of them. 0: the heads alone",
    )
    copies: float = Field(
        default=1.0, ge=0, description="Augmented copies over those that are configured"
    )
    backbones: Literal["configured", "smallest"] = Field(
        default="configured",
        description="smallest: every tier has the backbone of the last one, tier1",
    )


class TierSetup(BaseModel):
    """The network of a tier and how it is trained."""

    model_config = ConfigDict(frozen=True)

    model: ModelParams
    schedule: Schedule


@dataclass(frozen=True)
class Setup:
    """What a run trains.

    Attributes:
        tiers: By name, the teacher first.
        training: What all tiers share.
        policy: How augmented copies differ, and their side.
        copies: Augmented copies per training photo.
        stored_side: Short side of stored photos, which no network's may exceed.
    """

    tiers: dict[str, TierSetup]
    training: TrainingParams
    policy: Policy = field(default_factory=Policy)
    copies: int = 0
    stored_side: int = 256

    def following(self, recipe: Recipe, epochs: float | None = None) -> Setup:
        """The same by a recipe.

        Args:
            recipe: What is cheaper or dearer.
            epochs: In place of the recipe's.
        """
        share = recipe.epochs if epochs is None else epochs
        smallest = list(self.tiers.values())[-1].model.backbone
        tiers = {
            name: TierSetup(
                model=tier.model.model_copy(
                    update={
                        "image_size": self._side(tier.model.image_size, recipe.sides),
                        "backbone": smallest
                        if recipe.backbones == "smallest"
                        else tier.model.backbone,
                    }
                ),
                schedule=tier.schedule.model_copy(
                    update={"phases": self._phases(tier.schedule.phases, recipe.sides, share)}
                ),
            )
            for name, tier in self.tiers.items()
        }
        copies = round(self.copies * recipe.copies)
        if not any(is_fine_tuning(p) for tier in tiers.values() for p in tier.schedule.phases):
            copies = 0  # heads learn from photos as they are
        largest = max(side for tier in tiers.values() for side in sides_of(tier))
        policy = self.policy
        if copies and largest > policy.size:  # copies are never enlarged for a network
            policy = Policy.model_validate(policy.model_dump() | {"size": largest})
        return replace(self, tiers=tiers, copies=copies, policy=policy)

    def for_photos(self, photos: int) -> Setup:
        """The same with as many epochs as `fewest_steps` of the phases ask for.

        Args:
            photos: Of an epoch.
        """
        tiers = {
            name: tier.model_copy(
                update={"schedule": tier.schedule.for_photos(photos, self.training.batch_size)}
            )
            for name, tier in self.tiers.items()
        }
        return replace(self, tiers=tiers)

    @property
    def most_epochs(self) -> int:
        """The largest number of epochs of a phase that trains more than the heads."""
        phases = [p for tier in self.tiers.values() for p in tier.schedule.phases]
        return max((p.epochs for p in phases if is_fine_tuning(p)), default=0)

    def _side(self, configured: int, share: float) -> int:
        side = round(configured * share / STEP_OF_SIDES) * STEP_OF_SIDES
        if share == 1:
            side = configured
        return min(max(side, min(SMALLEST_SIDE, configured)), max(self.stored_side, configured))

    def _phases(self, phases: list[Phase], sides: float, epochs: float) -> list[Phase]:
        scaled = [
            self._phase(phase, sides, epochs)
            for phase in phases
            if epochs or not is_fine_tuning(phase)
        ]
        # Where no phase trains the heads alone, the first does.
        return scaled or [phases[0].model_copy(update={"train": "heads", "image_size": None})]

    def _phase(self, phase: Phase, sides: float, epochs: float) -> Phase:
        update: dict[str, int] = {}
        if phase.image_size:
            update["image_size"] = self._side(phase.image_size, sides)
        if is_fine_tuning(phase):
            update["epochs"] = max(1, round(phase.epochs * epochs))
        return phase.model_copy(update=update)


def is_fine_tuning(phase: Phase) -> bool:
    """Whether a phase trains more than the heads, and so looks at every photo in every epoch."""
    return phase.train != "heads"


def sides_of(tier: TierSetup) -> list[int]:
    """Sides in pixels of the photos that a tier looks at: in its phases, and as a network."""
    return [tier.model.image_size, *(p.image_size for p in tier.schedule.phases if p.image_size)]


def backbone_name(model: ModelParams) -> str:
    """The backbone in a word, other networks of it apart; fused ones are joined by a plus sign."""
    return "+".join(model.backbones) + (" mirrored" if model.mirrored else "")


class Costs(BaseModel):
    """Seconds of what is not training, on a machine whose `unit` is `reference_unit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference_unit: float = Field(
        gt=0, description="Seconds in which the machine that the others come from reads a photo"
    )
    start: float = Field(ge=0, description="Until the run begins, and after it ends")
    once: float = Field(ge=0, description="Routing, bundle, gate and figures of all tiers")
    per_tier: float = Field(ge=0, description="Export, calibration and figures of a tier")
    per_photo: float = Field(ge=0, description="The same, of a tier and a photo that is held out")
    lightning: float = Field(ge=0, description="What a training step takes besides the network")
    compared: tuple[int, int] = Field(
        description="Photos that a tier's files are compared on, copies among them: fewest and most"
        " (export.agreement)"
    )
    comparisons: float = Field(
        ge=0, description="Files of a tier that are compared, on the average: float and quantized"
    )
    answered: int = Field(
        ge=0,
        description="Training photos that the file that ships answers, at most"
        " (calibration.training_photos)",
    )


class BudgetParams(BaseModel):
    """How long a run may take, and what it may do in that time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minutes: float | None = Field(
        default=None,
        gt=0,
        description="From the start of the command to the bundle; null: as configured, however long"
        " it takes",
    )
    recipes: list[Recipe] = Field(
        min_length=1, description="From the cheapest on; the last one that fits is taken"
    )
    most_epochs: float = Field(
        default=2.0,
        ge=1,
        description="Epochs over those that are configured, above which time that is left is left",
    )
    aim: float = Field(
        default=0.95, gt=0, le=1, description="Share of the minutes that a forecast may fill"
    )
    measure_again: bool = Field(
        default=False,
        description="Measure and choose anew where the same run chose before; else it keeps what it"
        " chose, so that an interrupted training goes on",
    )
    costs: Costs = Field(description="Of what is not training")

    @model_validator(mode="after")
    def _check(self) -> BudgetParams:
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError(f"names of recipes must differ, got {', '.join(names)}")
        return self
