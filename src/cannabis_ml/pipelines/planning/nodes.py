"""Choose what a run does within its minutes."""

from __future__ import annotations

import hashlib
import json
import logging

import pandas as pd

from cannabis_ml.datasets.clock import Stopwatch
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.augmentation_params import AugmentationParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe_choice import ChosenRecipe, choose_recipe
from cannabis_ml.training.recipes import BudgetParams, Setup, TierSetup
from cannabis_ml.training.schedule import Schedule, TrainingParams
from cannabis_ml.training.time_needed import PhotoCounts
from cannabis_ml.training.training_data import TrainingData

logger = logging.getLogger(__name__)


def describe_setup(model: ModelParams, schedule: Schedule) -> TierSetup:
    """Put together what is configured for a tier."""
    return TierSetup(model=model, schedule=schedule)


def gather_setup(
    training: TrainingParams,
    augmentation: AugmentationParams,
    store: StoreParams,
    **tiers: TierSetup,
) -> Setup:
    """Put together what is configured for a run.

    Args:
        training: What all tiers share.
        augmentation: How many augmented copies, and how they differ.
        store: Gives the short side of stored photos.
        **tiers: By name, the teacher first.
    """
    policy, copies = augmentation.policy, augmentation.copies
    return Setup(dict(tiers), training, policy, copies, store.short_side)


def choose(
    setup: Setup,
    photo_set: PhotoSet,
    balanced_rows: pd.DataFrame,
    taxonomy: Taxonomy,
    budget: BudgetParams,
    stopwatch: Stopwatch,
    chosen_recipe_before: ChosenRecipe | None,
) -> ChosenRecipe:
    """Measure this machine for some seconds, and choose the recipe that fits into the minutes.

    Without minutes nothing is measured, and all stays as configured. The same run chooses once:
    interrupted and started again, it keeps its recipe.

    Args:
        setup: What is configured.
        photo_set: Stored photos of all splits.
        balanced_rows: Rows of an epoch.
        taxonomy: The heads.
        budget: Minutes and recipes.
        stopwatch: Runs since the run began.
        chosen_recipe_before: Of the last run with as many minutes.

    Raises:
        ConfigError: If the minutes are too few for the cheapest recipe; gives how many are needed.
    """
    if budget.minutes is None:
        return ChosenRecipe()
    from cannabis_ml.training.speed_probe import machine, measure_speed

    counts = _counted(photo_set, balanced_rows)
    key = _key(setup, photo_set, taxonomy, counts, budget, machine(setup.training))
    before = chosen_recipe_before
    if before is not None and before.key == key and not budget.measure_again:
        _log(before, "kept from an earlier run of the same photos and parameters")
        return before
    setup = setup.for_photos(counts.shown)
    data = TrainingData.balanced(photo_set, taxonomy, balanced_rows)
    setups = [setup, *(setup.following(recipe) for recipe in budget.recipes)]
    logger.info("Measuring how fast this machine trains, for some seconds.")
    speed = measure_speed(data, setups, budget.minutes)
    start = budget.costs.start * speed.unit / budget.costs.reference_unit
    chosen = choose_recipe(setup, counts, speed, budget, start + stopwatch.seconds)
    _log(chosen, chosen.why)
    return chosen.model_copy(update={"key": key})


def _counted(photo_set: PhotoSet, balanced_rows: pd.DataFrame) -> PhotoCounts:
    training = len(photo_set.rows_of(Split.TRAIN))
    return PhotoCounts(
        shown=len(balanced_rows),
        training=training,
        validation=len(photo_set.rows_of(Split.VALIDATION)),
        held_out=len(photo_set) - training,
    )


def _key(
    setup: Setup,
    photo_set: PhotoSet,
    taxonomy: Taxonomy,
    counts: PhotoCounts,
    budget: BudgetParams,
    machine: str,
) -> str:
    parts = [
        photo_set.fingerprint,
        taxonomy.sha256,
        machine,
        counts.model_dump(),
        {name: tier.model_dump(mode="json") for name, tier in setup.tiers.items()},
        setup.training.model_dump(mode="json"),
        [setup.copies, setup.policy.sha256, setup.stored_side],
        budget.model_dump(mode="json", exclude={"measure_again"}),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _log(chosen: ChosenRecipe, why: str) -> None:
    table = "\n".join(f"  {line}" for line in chosen.table())
    logger.info(
        "Recipe for %g minutes: %s (%s). Minutes:\n%s", chosen.minutes, chosen.name, why, table
    )
