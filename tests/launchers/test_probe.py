"""Measuring a run with few photos and epochs."""

import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.probe import ProbeHook, _options, smaller_side
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.training.schedule import Phase, Schedule

NOW = [0.0]
"""What the clock of these tests shows; nodes put it forward."""


def read(photos):
    NOW[0] += 2 + 0.1 * len(photos)
    return photos


def train(photos, model, schedule):
    # The first epoch of a phase takes twice as long as the others.
    rows = [
        (p.name, 0.01 * len(photos) * (2 if i == 0 else 1))
        for p in schedule.phases
        for i in range(p.epochs)
    ]
    history = pd.DataFrame(rows, columns=["phase", "seconds"])
    NOW[0] += 3 + history["seconds"].sum()
    return model.image_size, list(photos["path"]), history


PIPELINE = Pipeline(
    [
        Node(read, "source_photos", "photos", name="ingestion.index_photos"),
        Node(
            lambda *configured: configured,
            ["params:tier1.model", "params:tier1.schedule"],
            ["tier1.model", "tier1.schedule"],
            name="training.tier1.apply_recipe",
        ),
        Node(
            train,
            ["photos", "tier1.model", "tier1.schedule"],
            ["side", "paths", "tier1.training_history"],
            name="training.tier1.train_model",
        ),
    ]
)


SCHEDULE = Schedule(
    phases=[
        Phase(name="heads", epochs=6, learning_rate=1e-3, train="heads"),
        Phase(name="top", epochs=2, learning_rate=1e-3, fewest_steps=20),
    ]
)


OUTPUTS = ("photos", "tier1.model", "tier1.schedule", "side", "paths", "tier1.training_history")


def run(hook, monkeypatch, photos=200):
    # What the hook calls wall time passes as fast as the clock of the test.
    monkeypatch.setattr("cannabis_ml.launchers.probe.time.perf_counter", lambda: NOW[0])
    NOW[0] = 100.0
    hooks = _create_hook_manager()
    hooks.register(hook)
    table = pd.DataFrame({"path": [f"{i}.jpg" for i in range(photos)]})
    catalog = DataCatalog(
        {
            "source_photos": MemoryDataset(table),
            "params:tier1.model": MemoryDataset(ModelParams(image_size=160)),
            "params:tier1.schedule": MemoryDataset(SCHEDULE),
            **{name: MemoryDataset() for name in OUTPUTS},
        }
    )
    hooks.hook.before_pipeline_run(run_params={}, pipeline=PIPELINE, catalog=catalog)
    SequentialRunner().run(PIPELINE, catalog, hooks)
    hooks.hook.after_pipeline_run(run_params={}, run_result={}, pipeline=PIPELINE, catalog=catalog)
    return hook, catalog


@pytest.mark.filterwarnings("ignore")
def test_a_probe_has_few_photos_and_epochs_and_notes_what_nodes_take(monkeypatch):
    hook, catalog = run(ProbeHook(50, clock=lambda: NOW[0]), monkeypatch)
    assert hook.found == 200
    assert len(catalog["paths"].load()) == 50
    assert catalog["side"].load() == 160
    measured = hook.measured
    # 140 of 200 photos are 5 steps of 32: 4 epochs are 20 of them.
    assert measured.schedules == {"tier1": {"heads": 6, "top": 4}}
    assert measured.sizes == {"tier1": 160}
    assert measured.ran["tier1"] == {"heads": 2, "top": 2}
    assert measured.epochs["tier1"] == pytest.approx({"heads": 0.5, "top": 0.5})
    assert measured.seconds["ingestion.index_photos"] == pytest.approx(7)
    assert measured.seconds["training.tier1.train_model"] == pytest.approx(3 + 2 * 1.5)


@pytest.mark.filterwarnings("ignore")
def test_the_last_probe_has_smaller_photos(monkeypatch):
    hook, catalog = run(ProbeHook(50, clock=lambda: NOW[0], smaller=True), monkeypatch)
    assert catalog["side"].load() == hook.measured.sizes["tier1"] == smaller_side(160) == 112


@pytest.mark.filterwarnings("ignore")
def test_photos_are_spread_over_the_source(monkeypatch):
    _, catalog = run(ProbeHook(3, clock=lambda: NOW[0]), monkeypatch, photos=101)
    assert catalog["paths"].load() == ["0.jpg", "50.jpg", "100.jpg"]


def test_options_of_the_run_are_those_that_are_typed():
    options = _options(("run", "--env", "full", "--pipelines=data,training", "--params", "a=1"))
    assert options.env == "full"
    assert options.params == {"a": 1}
    assert options.run["pipeline_names"] == ["data", "training"]
    assert options.run["to_nodes"] is None


def test_what_is_no_run_is_refused():
    with pytest.raises(LaunchError, match="Only `run` can be measured"):
        _options(("serve", "bundle"))
