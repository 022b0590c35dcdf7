"""Wiring of the planning stage."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.planning.nodes import choose, describe_setup, gather_setup
from cannabis_ml.tiers import TIERS, Tier


def create_pipeline(tiers: tuple[Tier, ...] = TIERS, **_: object) -> Pipeline:
    """Photo set and minutes -> the recipe that fits into them."""
    gather = Node(
        gather_setup,
        {
            "training": "params:training",
            "augmentation": "params:augmentation",
            "store": "params:ingestion.store",
        }
        | {tier.name: f"{tier.name}.setup" for tier in reversed(tiers)},
        "setup",
        name="gather_setup",
    )
    chosen = Node(
        choose,
        [
            *("setup", "photo_set", "balanced_rows", "taxonomy", "params:budget"),
            *("stopwatch", "chosen_recipe_before"),
        ],
        "chosen_recipe",
        name="choose_recipe",
    )
    return sum((_tier(tier) for tier in tiers), Pipeline([gather, chosen]))


def _tier(tier: Tier) -> Pipeline:
    node = Node(
        describe_setup,
        ["params:model", "params:schedule"],
        "setup",
        name="describe_setup",
    )
    return Pipeline([node], namespace=tier.name)
