"""What is printed after a run with a limit of minutes."""

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from cannabis_ml.minutes_hook import MinutesHook
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe, TierRecipe
from cannabis_ml.training.schedule import Schedule
from cannabis_ml.training.time_needed import StageTime

STAGES = {"so far": 60, "augmented copies": 120, "tier3": 600, "after training": 180}

CHOSEN = ChosenRecipe(
    minutes=18,
    stages=[StageTime(name=name, what="", seconds=seconds) for name, seconds in STAGES.items()],
    tiers={"tier3": TierRecipe(backbone="b", image_size=64, schedule=Schedule())},
)


def both():
    return 1, 2


def node(name):
    return Node(both, None, ["chosen_recipe", "bundle"], name=name)


TAKEN = {
    "ingestion.index_photos": 90,
    "planning.choose_recipe": 30,
    "augmentation.augment_photos": 60,
    "training.tier3.train_model": 480,
    "training.tier3.draw_mistakes": 60,
    "export.tier3.export_float": 120,
}


@pytest.fixture
def run(monkeypatch):
    def run(chosen):
        now = [1000.0]
        monkeypatch.setattr("cannabis_ml.minutes_hook.time.monotonic", lambda: now[0])
        hook, pipeline = MinutesHook(), Pipeline([node("gate.any")])
        hook.before_pipeline_run()
        for name, seconds in TAKEN.items():
            hook.before_node_run(node(name))
            now[0] += seconds
            hook.after_dataset_saved()
        hook.after_pipeline_run(pipeline, DataCatalog({"chosen_recipe": MemoryDataset(chosen)}))
        return hook

    return run


def test_every_stage_stands_beside_what_was_foreseen(run, capsys):
    run(CHOSEN)
    rows = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()[3:]]
    assert [(name.strip(), foreseen, taken) for name, foreseen, taken in rows] == [
        ("so far", "1.0", "2.0"),
        ("augmented copies", "2.0", "1.0"),
        ("tier3", "10.0", "8.0"),
        ("after training", "3.0", "3.0"),
        ("together", "16.0", "14.0"),
    ]


def test_a_run_without_a_limit_prints_nothing(run, capsys):
    run(AS_CONFIGURED)
    assert capsys.readouterr().out == ""
