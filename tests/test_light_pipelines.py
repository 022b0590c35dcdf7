"""Pipelines that get photos ready, on a machine without a training framework."""

from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "timm", "lightning", "tensorflow")

CLUSTERS = ("dask", "distributed", "ray")

pytestmark = pytest.mark.slow


def test_getting_photos_ready_loads_no_training_framework(photos_ready):
    project, told = photos_ready
    assert Path(told["ran"]).is_relative_to(project)
    assert list(project.glob("data/envs/test/03_primary/photos.parquet/*/photos.parquet"))
    assert list(project.glob("data/envs/test/08_reporting/feedback.html/*/feedback.html"))
    assert any(name.startswith("albumentations.") for name in told["modules"])
    assert [name for name in told["modules"] if name.partition(".")[0] in HEAVY + CLUSTERS] == []


def test_a_run_loads_no_tracker_that_is_switched_off(photos_ready):
    assert [name for name in photos_ready[1]["modules"] if name.partition(".")[0] == "wandb"] == []
