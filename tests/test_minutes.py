"""A run with a limit of minutes, as a person types it."""

import json
import shutil

import pytest

from cannabis_ml.networks.checkpoint import Checkpoint

pytestmark = pytest.mark.slow


def test_a_training_follows_the_recipe_of_its_minutes_and_keeps_it(photos_ready, kedro, tmp_path):
    """The stages that it takes, of a project that has its photos ready."""
    project = tmp_path / "project"
    shutil.copytree(photos_ready[0], project)
    data = project / "data/envs/test"
    before = set(data.glob("08_reporting/chosen_recipe.json/*/*"))

    stages = "--pipelines=planning,augmentation,training"
    first = ("run", "--env=test", stages, "--to-outputs=tier3.checkpoint", "--params=minutes=60")
    printed = kedro(project, *first).stdout
    assert "Recipe for 60 minutes" in printed
    (file,) = set(data.glob("08_reporting/chosen_recipe.json/*/*")) - before
    chosen = json.loads(file.read_text())
    assert chosen["minutes"] == 60
    assert 0 < chosen["forecast_minutes"] <= 60
    (made,) = data.glob("06_models/tier3/checkpoint.safetensors/*/*")
    tier = chosen["tiers"]["tier3"]
    assert Checkpoint.read(made).card.image_size == tier["image_size"] > 64

    kedro(project, "run", "--env=test", "--pipelines=planning", "--params=minutes=60")
    newest = max(data.glob("08_reporting/chosen_recipe.json/*/*"))
    assert newest != file
    assert json.loads(newest.read_text()) == chosen

    other = ("run", "--env=test", "--pipelines=training", "--params=minutes=61")
    refused = kedro(project, *other, check=False)
    assert refused.returncode != 0
    assert "No recipe was chosen for 61 minutes" in refused.stdout + refused.stderr
    assert "kedro run --pipeline=train --params minutes=61" in refused.stdout + refused.stderr
