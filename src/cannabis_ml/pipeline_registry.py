"""Registry of the pipelines that can be run by name."""

from __future__ import annotations

from types import ModuleType

from kedro.pipeline import Pipeline

from cannabis_ml.pipelines import (
    augmentation,
    balancing,
    bundle,
    calibration,
    export,
    feedback,
    gate,
    ingestion,
    label_next,
    planning,
    training,
)
from cannabis_ml.tiers import TIERS, Tier, check_tiers

STAGES: dict[str, ModuleType] = {
    "ingestion": ingestion,
    "balancing": balancing,
    "planning": planning,
    "augmentation": augmentation,
    "training": training,
    "export": export,
    "calibration": calibration,
    "bundle": bundle,
    "gate": gate,
}
"""Stages by name, in the order of `kedro run`."""


BEFORE_TRAINING = ("ingestion", "balancing", "planning", "augmentation")
"""What gets photos ready, and decides what to do with them."""

AFTER_TRAINING = ("export", "calibration", "bundle", "gate")
"""What turns checkpoints into a bundle, and the better bundle into the champion."""

LOOP: dict[str, ModuleType] = {"feedback": feedback, "label_next": label_next}
"""Pipelines between answers and the next run of the stages; none is part of `kedro run`."""


def register_pipelines(tiers: tuple[Tier, ...] = TIERS) -> dict[str, Pipeline]:
    """Register one pipeline per stage, and their combinations.

    Args:
        tiers: The tiers of every stage that works per tier.

    Returns:
        Pipelines by name: `data` up to the balanced rows, `train` up to the trained models,
        `__default__` up to the champion, `retrain` feedback and then the same from the champion's
        weights on, `add_class` from its backbone on, every stage, and those of `LOOP`.

    Raises:
        ConfigError: If the tiers contradict each other.
    """
    check_tiers(tiers)
    stages = {name: _stage(name, STAGES[name].create_pipeline(tiers=tiers)) for name in STAGES}
    data = sum((stages[name] for name in BEFORE_TRAINING), Pipeline([]))
    train = data + stages["training"]
    everything = sum(stages.values(), Pipeline([]))
    added = _stage("add_class", training.create_add_class_pipeline(tiers=tiers))
    add_class = (
        stages["ingestion"]
        + stages["augmentation"]
        + added
        + sum((stages[name] for name in AFTER_TRAINING), Pipeline([]))
    )
    from_champion = {f"{tier.name}.start": f"{tier.name}.champion_start" for tier in tiers}
    loop = {name: _stage(name, LOOP[name].create_pipeline(tiers=tiers)) for name in LOOP}
    retrain = loop["feedback"] + Pipeline(everything, inputs=from_champion)
    return {
        "__default__": everything,
        "data": data,
        "train": train,
        "retrain": retrain,
        "add_class": add_class,
        **stages,
        **loop,
    }


def _stage(name: str, pipeline: Pipeline) -> Pipeline:
    """A stage as a namespace, which kedro-viz folds; its data sets keep their names."""
    return Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)
