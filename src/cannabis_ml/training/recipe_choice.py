"""The recipe that fits into the minutes of a run: the last of a list that fits, and its epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from cannabis_ml.errors import ConfigError
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.training.recipes import BudgetParams, Recipe, Setup
from cannabis_ml.training.schedule import Schedule
from cannabis_ml.training.time_needed import MachineSpeed, PhotoCounts, StageTime, forecast


class TierRecipe(BaseModel):
    """What a recipe changes in a tier."""

    model_config = ConfigDict(frozen=True)

    backbone: str | list[str]
    image_size: int
    schedule: Schedule

    @field_serializer("schedule")
    def _as_given(self, schedule: Schedule) -> dict[str, object]:
        """Without what was left out: heads that are solved may not name epochs."""
        return schedule.model_dump(mode="json", exclude_unset=True)


class ChosenRecipe(BaseModel):
    """What a run does to keep within its minutes; without minutes it changes nothing.

    Attributes:
        minutes: That the run may take, from the start of the command to the bundle.
        key: Hash of what the choice depends on, but for the speed that was measured.
        name: Of the recipe.
        why: In words.
        tiers: What it changes, by tier.
        copies: Augmented copies per training photo.
        copies_side: Their side in pixels.
        stages: Forecast, in order.
        photos: That the forecast is for.
        speed: That it rests on.
    """

    model_config = ConfigDict(frozen=True)

    minutes: float | None = None
    key: str = ""
    name: str = "as configured"
    why: str = "no minutes were given"
    tiers: dict[str, TierRecipe] = {}
    copies: int | None = None
    copies_side: int | None = None
    stages: list[StageTime] = []
    photos: PhotoCounts | None = None
    speed: MachineSpeed | None = None
    forecast_minutes: float | None = Field(default=None, ge=0)

    def model_of(self, tier: str, model: ModelParams) -> ModelParams:
        """Parameters of a tier's network."""
        if tier not in self.tiers:
            return model
        chosen = self.tiers[tier]
        update = {"backbone": chosen.backbone, "image_size": chosen.image_size}
        return model.model_copy(update=update)

    def schedule_of(self, tier: str, schedule: Schedule) -> Schedule:
        """Schedule of a tier."""
        return self.tiers[tier].schedule if tier in self.tiers else schedule

    def table(self) -> list[str]:
        """The forecast, a line per stage."""
        lines = [(stage.name, f"{stage.seconds / 60:.1f}", stage.what) for stage in self.stages]
        lines.append(("together", f"{self.forecast_minutes or 0:.1f}", "minutes"))
        width = max(len(name) for name, _, _ in lines)
        return [f"{name:<{width}} {minutes:>6}  {what}" for name, minutes, what in lines]


AS_CONFIGURED = ChosenRecipe()
"""Of a run without a limit of minutes."""


@dataclass(frozen=True)
class Option:
    """A recipe with a number of epochs, and what it takes."""

    recipe: Recipe
    setup: Setup
    stages: list[StageTime]

    @property
    def seconds(self) -> float:
        """From the choice to the bundle."""
        return sum(stage.seconds for stage in self.stages)


def choose_recipe(
    setup: Setup,
    photos: PhotoCounts,
    speed: MachineSpeed,
    budget: BudgetParams,
    spent: float,
) -> ChosenRecipe:
    """Choose the last recipe of the list that fits, and as many epochs as fit with it.

    Args:
        setup: As configured.
        photos: How many.
        speed: Of this machine; has every backbone of every recipe.
        budget: The minutes, and the recipes.
        spent: Seconds from the start of the command until now, probe included.

    Raises:
        ConfigError: If no recipe fits; gives the minutes that the cheapest needs.
    """
    assert budget.minutes is not None
    costs = budget.costs
    minutes = budget.minutes
    left = minutes * 60 * budget.aim - spent

    def option(recipe: Recipe, epochs: float | None = None) -> Option:
        changed = setup.following(recipe, epochs)
        return Option(recipe, changed, forecast(changed, photos, speed, costs))

    options = [option(recipe) for recipe in budget.recipes]
    fitting = [index for index, one in enumerate(options) if one.seconds <= left]
    if not fitting:
        cheapest = min(options, key=lambda one: one.seconds)
        least = (spent + cheapest.seconds) / 60 / budget.aim
        raise ConfigError(
            f"{minutes:g} minutes are too few for {photos.all:,} photos on this machine"
            f" ({speed.machine}): the cheapest recipe, '{cheapest.recipe.name}', needs"
            f" {least:.1f}. Give --params minutes={int(least) + 1} or more, or fewer photos."
        )
    at = fitting[-1]
    best = options[at]
    for epochs in _more_epochs(setup, best.recipe, budget.most_epochs):
        longer = option(best.recipe, epochs)
        if longer.seconds > left:
            break
        best = longer
    after = options[at + 1] if at + 1 < len(options) else None
    return _chosen(best, after, photos, speed, budget, spent)


def _more_epochs(setup: Setup, recipe: Recipe, most: float) -> Iterator[float]:
    """Shares of the configured epochs above those of the recipe, an epoch at a time."""
    configured = setup.most_epochs
    if not recipe.epochs or not configured:
        return
    begin = max(1, round(configured * recipe.epochs))
    for epochs in range(begin + 1, int(configured * most) + 1):
        yield epochs / configured


def _chosen(
    best: Option,
    after: Option | None,
    photos: PhotoCounts,
    speed: MachineSpeed,
    budget: BudgetParams,
    spent: float,
) -> ChosenRecipe:
    minutes = budget.minutes or 0.0
    total = (spent + best.seconds) / 60
    why = f"of {len(budget.recipes)} recipes the last that fits into {minutes:g} minutes"
    if after is not None:
        needed = (spent + after.seconds) / 60
        why += f"; the next, '{after.recipe.name}', would take {needed:.1f}"
    elif total < 0.8 * minutes:
        why += "; there is none that makes use of more time"
    so_far = StageTime(
        name="so far",
        what=f"photos read, checked and stored; this machine measured in {speed.probing:.0f} s",
        seconds=spent,
    )
    return ChosenRecipe(
        minutes=minutes,
        name=best.recipe.name,
        why=why,
        tiers={
            name: TierRecipe(
                backbone=tier.model.backbone,
                image_size=tier.model.image_size,
                schedule=tier.schedule,
            )
            for name, tier in best.setup.tiers.items()
        },
        copies=best.setup.copies,
        copies_side=best.setup.policy.size,
        stages=[so_far, *best.stages],
        photos=photos,
        speed=speed,
        forecast_minutes=total,
    )
