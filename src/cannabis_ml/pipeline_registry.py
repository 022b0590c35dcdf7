"""The pipelines that people run by name."""

from __future__ import annotations

from types import ModuleType

from kedro.pipeline import Pipeline

from cannabis_ml.pipelines import augmentation, balancing, bundle, export, ingestion, training
from cannabis_ml.tiers import TIERS, Tier, check_tiers

STAGES: dict[str, ModuleType] = {
    "ingestion": ingestion,
    "augmentation": augmentation,
    "balancing": balancing,
    "training": training,
    "export": export,
    "bundle": bundle,
}
"""Every stage under its name, in the order in which `kedro run` comes to them."""


def register_pipelines(tiers: tuple[Tier, ...] = TIERS) -> dict[str, Pipeline]:
    """One pipeline per stage, and the ones people type.

    Args:
        tiers: Every stage that works per tier has these.

    Returns:
        `data` gets photos ready, `train` adds the trained model, `__default__` everything up to
        the bundle that is deployed.

    Raises:
        ConfigError: If the tiers contradict each other.
    """
    check_tiers(tiers)
    stages = {name: _stage(name, STAGES[name].create_pipeline(tiers=tiers)) for name in STAGES}
    data = stages["ingestion"] + stages["augmentation"] + stages["balancing"]
    train = data + stages["training"]
    everything = sum(stages.values(), Pipeline([]))
    return {"__default__": everything, "data": data, "train": train, **stages}


def _stage(name: str, pipeline: Pipeline) -> Pipeline:
    """A stage as one box that opens in kedro-viz; its data sets keep the names they have."""
    return Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)
