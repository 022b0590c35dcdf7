"""The pipelines that people run by name."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from cannabis_ml.pipelines import augmentation, balancing, bundle, export, ingestion, training


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline per stage, and the ones people type.

    Returns:
        `data` gets photos ready, `train` adds the trained model, `__default__` everything up to
        the bundle that is deployed.
    """
    stages = {
        "ingestion": ingestion.create_pipeline(),
        "augmentation": augmentation.create_pipeline(),
        "balancing": balancing.create_pipeline(),
        "training": training.create_pipeline(),
        "export": export.create_pipeline(),
        "bundle": bundle.create_pipeline(),
    }
    data = stages["ingestion"] + stages["augmentation"] + stages["balancing"]
    train = data + stages["training"]
    everything = train + stages["export"] + stages["bundle"]
    return {"__default__": everything, "data": data, "train": train, **stages}
