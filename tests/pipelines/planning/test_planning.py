"""The planning stage: what is kept, refused and left alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cannabis_ml.datasets.clock import Stopwatch
from cannabis_ml.errors import ConfigError
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.augmentation_params import AugmentationParams
from cannabis_ml.pipelines.planning.nodes import choose, describe_setup, gather_setup
from cannabis_ml.pipelines.training.nodes import apply_recipe
from cannabis_ml.training.recipe_choice import AS_CONFIGURED
from cannabis_ml.training.recipes import BudgetParams
from cannabis_ml.training.schedule import Schedule, TrainingParams
from cannabis_ml.training.speed_probe import measure_speed
from cannabis_ml.training.time_needed import PhotoCounts, forecast
from cannabis_ml.training.training_data import TrainingData

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def setup():
    model = ModelParams(backbone="tf_efficientnet_lite0", image_size=64, ensemble=1)
    tiers = {tier: describe_setup(model, Schedule()) for tier in ("tier3", "tier1")}
    training = TrainingParams(batch_size=4)
    return gather_setup(training, AugmentationParams(copies=2), StoreParams(short_side=64), **tiers)


def budget(minutes, **changes):
    text = (CONF / "base/parameters_planning.yml").read_text("utf-8")
    params = yaml.safe_load(text)["budget"] | changes
    return BudgetParams.model_validate(params | {"minutes": minutes})


@pytest.fixture
def rows(photo_set):
    training = photo_set.rows_of("train")
    return pd.DataFrame({"row": training, "weight": np.ones(len(training))})


@pytest.fixture
def at_once(monkeypatch):
    """Nothing is repeated for the sake of exact times."""
    monkeypatch.setattr("cannabis_ml.training.speed_probe.MOST", 0.0)


def test_without_minutes_nothing_is_measured(setup, photo_set, rows, taxonomy, monkeypatch):
    monkeypatch.setattr("cannabis_ml.training.speed_probe.measure_speed", None)
    stopwatch = Stopwatch()
    chosen = choose(setup, photo_set, rows, taxonomy, budget(None), stopwatch, None)
    assert chosen == AS_CONFIGURED
    model, schedule = apply_recipe(ModelParams(), Schedule(), chosen, "tier3")
    assert (model, schedule) == (ModelParams(), Schedule())


def test_a_run_that_is_started_again_keeps_its_recipe(
    setup, photo_set, rows, taxonomy, at_once, caplog
):
    def chosen(before, minutes=500, **changes):
        params = budget(minutes, **changes)
        return choose(setup, photo_set, rows, taxonomy, params, Stopwatch(), before)

    with caplog.at_level("INFO"):
        first = chosen(None)
    assert first.speed.backbones.keys() == {"tf_efficientnet_lite0"}
    assert "Recipe for 500 minutes" in caplog.text
    assert "after training" in caplog.text
    assert chosen(first) is first
    assert chosen(first, measure_again=True) is not first
    assert chosen(first, minutes=501).minutes == 501


def test_too_few_minutes_are_refused(setup, photo_set, rows, taxonomy, at_once):
    with pytest.raises(ConfigError, match="too few for 32 photos"):
        choose(setup, photo_set, rows, taxonomy, budget(0.1), Stopwatch(), None)


def test_every_network_and_part_of_every_recipe_is_measured(
    setup, photo_set, rows, taxonomy, at_once
):
    data = TrainingData.balanced(photo_set, taxonomy, rows)
    recipes = budget(9).recipes
    speed = measure_speed(data, [setup, *(setup.following(recipe) for recipe in recipes)])
    network = speed.backbones["tf_efficientnet_lite0"]
    assert network.steps.keys() == {"last 5 blocks"}
    assert network.steps["last 5 blocks"].at(64) > 0
    assert min(speed.unit, speed.reading, speed.copying, speed.heads, speed.probing) > 0


def test_a_network_that_looks_twice_is_measured_apart(photo_set, rows, taxonomy, at_once):
    model = ModelParams(backbone="tf_efficientnet_lite0", image_size=64, ensemble=1)
    both = model.model_copy(update={"mirrored": True})
    tiers = {"tier3": describe_setup(both, Schedule()), "tier1": describe_setup(model, Schedule())}
    setup = gather_setup(
        TrainingParams(batch_size=4),
        AugmentationParams(copies=0),
        StoreParams(short_side=64),
        **tiers,
    )
    speed = measure_speed(TrainingData.balanced(photo_set, taxonomy, rows), [setup])
    assert speed.backbones.keys() == {"tf_efficientnet_lite0", "tf_efficientnet_lite0 mirrored"}
    counts = PhotoCounts(shown=10, training=10, validation=5, held_out=5)
    names = [stage.name for stage in forecast(setup, counts, speed, budget(9).costs)]
    assert names == ["tier3", "tier1", "after training"]
