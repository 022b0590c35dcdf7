"""What a run reads and writes is kept, and is enough to make its models again."""

import shlex
import shutil
import sqlite3
from contextlib import closing

import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset, Version
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset

from cannabis_ml import lineage
from cannabis_ml.datasets.champion import ChampionStartDataset
from cannabis_ml.datasets.lineage import LineageDataset, RunVersions
from cannabis_ml.hooks import LineageHook

NOW, BEFORE, OLD = "2026-03-01", "2026-02-01", "2026-01-01"


def join(*_):
    return "made"


def stage(name, *nodes):
    return Pipeline(nodes, namespace=name, prefix_datasets_with_namespace=False)


DATA = stage("ingestion", Node(join, ["source", "params:x"], "photos", name="store"))
TRAINING = stage(
    "training",
    Node(join, ["photos", "rows"], "checkpoint", name="train"),
    Node(join, ["checkpoint", "photos"], "scores", name="score"),
)
EXPORT = stage("export", Node(join, "checkpoint", "files", name="export"))
REGISTERED = {
    "data": DATA,
    "ingestion": DATA,
    "training": TRAINING,
    "export": EXPORT,
    "__default__": DATA + TRAINING + EXPORT,
}


@pytest.fixture
def catalog(tmp_path):
    """As Kedro makes it for one run, with versions that others left: `catalog(load_versions)`."""

    def catalog(**load):
        entries = {
            name: JSONDataset(
                filepath=str(tmp_path / f"{name}.json"), version=Version(load.get(name), NOW)
            )
            for name in ("photos", "rows", "checkpoint", "scores", "files")
        }
        for name in ("photos", "rows"):
            for version in (OLD, BEFORE):
                path = tmp_path / f"{name}.json" / version / f"{name}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f'"{version}"')
        return DataCatalog(
            {
                **entries,
                "source": MemoryDataset(1),
                "params:x": MemoryDataset(1),
                "lineage": LineageDataset(filepath=str(tmp_path / "lineage")),
            }
        )

    return catalog


def test_a_run_reads_the_latest_of_what_it_does_not_make(catalog):
    run = lineage.planned(NOW, TRAINING, catalog())
    assert run.read == {"photos": BEFORE, "rows": BEFORE}
    assert run.written == ["checkpoint", "scores"]
    assert run.version_of("checkpoint") == NOW
    assert run.version_of("files") is None


def test_what_is_asked_for_is_what_is_read(catalog):
    pinned = catalog(photos=OLD)
    assert lineage.planned(NOW, TRAINING, pinned).read == {"photos": OLD, "rows": BEFORE}
    everything = lineage.planned(NOW, DATA + TRAINING, pinned)
    assert everything.version_of("photos") == OLD  # though it is made anew as well
    assert "photos" in everything.written


def command(run, pipeline, catalog, **params):
    return lineage.remake_command(run, pipeline, REGISTERED, catalog, params)


def test_the_command_begins_where_photos_are_ready(catalog):
    catalog = catalog()
    run = RunVersions(version=NOW, read={"rows": OLD}, written=["photos", "checkpoint", "scores"])
    told = command(run, DATA + TRAINING, catalog, env="test")
    assert told == (
        f"kedro run --pipelines=training --load-versions=photos:{NOW},rows:{OLD} --env=test"
    )


def test_the_command_names_steps_where_not_all_of_a_stage_ran(catalog):
    some = (DATA + TRAINING + EXPORT).to_outputs("files")
    run = lineage.planned(NOW, some, catalog())
    told = command(
        run, some, catalog(), runtime_params={"tier1": {"model": {"size": 64}}, "x": "a b"}
    )
    assert told == (
        "kedro run --pipelines=training,export --nodes=training.train,export.export"
        f" --load-versions=photos:{NOW},rows:{BEFORE} '--params=tier1.model.size=64,x=a b'"
    )


def test_what_is_made_again_does_not_ask_to_be_champion(catalog):
    gate = stage("gate", Node(join, ["files"], "promotion", name="promote"))
    every = DATA + TRAINING + EXPORT + gate
    run = lineage.planned(NOW, every, catalog())
    told = lineage.remake_command(run, every, {**REGISTERED, "gate": gate}, catalog(), {})
    assert told == command(run, DATA + TRAINING + EXPORT, catalog())
    assert "gate" not in told


def test_the_command_names_the_champion_that_a_run_started_from(catalog):
    catalog = catalog()
    catalog["tier1.champion_start"] = ChampionStartDataset(
        filepath="champion", tier="tier1", bundle="abc"
    )
    warm = stage(
        "training", Node(join, ["photos", "tier1.champion_start"], "checkpoint", name="train")
    )
    run = lineage.planned(NOW, DATA + warm, catalog)
    assert run.champion == "abc"
    registered = {**REGISTERED, "retrain": DATA + warm}
    told = lineage.remake_command(
        run, DATA + warm, registered, catalog, {"pipeline_names": ["retrain"]}
    )
    assert told == (
        f"kedro run --pipelines=retrain --nodes=training.train --load-versions=photos:{NOW}"
        " --params=champion=abc"
    )


def test_photos_that_are_got_ready_are_no_model(catalog):
    assert command(lineage.planned(NOW, DATA, catalog()), DATA, catalog()) is None


@pytest.fixture
def hook(catalog, monkeypatch):
    from kedro.framework.project import pipelines

    monkeypatch.setattr(pipelines, "_load_data", lambda: None, raising=False)
    monkeypatch.setattr(pipelines, "_content", REGISTERED, raising=False)
    return LineageHook()


def test_the_record_is_there_before_anything_runs_and_lists_what_was_really_read(hook, catalog):
    catalog = catalog()
    hook.before_pipeline_run({"run_id": NOW}, DATA + TRAINING, catalog)
    assert catalog.load("lineage")[NOW].version_of("photos") == NOW
    # With --only-missing-outputs photos that are there are not made, but read.
    catalog["photos"].load()
    hook.after_dataset_loaded("photos")
    hook.after_dataset_loaded("source")
    (kept,) = catalog.load("lineage").values()
    assert kept.version_of("photos") == BEFORE


def test_a_damaged_record_is_named(tmp_path):
    dataset = LineageDataset(filepath=str(tmp_path))
    dataset.save(RunVersions(version=NOW, read={}, written=["a"]))
    dataset.file(NOW).write_text('{"version": 1')
    with pytest.raises(DatasetError, match=rf"{NOW}\.json does not hold the versions of a run"):
        dataset.load()


@pytest.mark.slow
def test_a_model_is_made_again_bit_for_bit_after_its_photos_changed(finished, kedro, tmp_path):
    """By the command that MLflow keeps, on other photos, without what training left to resume."""
    from safetensors.numpy import load_file

    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    data = project / "data/envs/test"
    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        ((remake,),) = db.execute("SELECT value FROM tags WHERE key = 'remake'")
    config = project / "conf/test/catalog_ingestion.yml"
    config.write_text(config.read_text().replace("count: 96", "count: 120"))
    kedro(project, "run", "--env=test", "--pipeline=data")
    for tier in ("tier3", "tier2"):
        shutil.rmtree(data / "06_models" / tier / "workspace")
    program, *arguments = shlex.split(remake)
    assert program == "kedro"
    kedro(project, *arguments, "--to-outputs=tier3.checkpoint,tier2.checkpoint")
    for tier in ("tier3", "tier2"):
        first, again = sorted((data / "06_models" / tier / "checkpoint.safetensors").glob("*/*"))
        old, new = load_file(first), load_file(again)
        assert {name: value.tobytes() for name, value in old.items()} == {
            name: value.tobytes() for name, value in new.items()
        }
    sets = sorted(data.glob("*/photo_set/*/photo_set"))
    assert len(sets) == 2  # making the model again made no photos
    states = {(path / "state.json").read_text() for path in sets}
    assert len(states) == 2
