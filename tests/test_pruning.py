"""Old versions go, and nothing that a version which stays was made from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, DatasetError, MemoryDataset, Version
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from cannabis_ml import lineage
from cannabis_ml._io.remote import RemotePath
from cannabis_ml.datasets import freeing
from cannabis_ml.datasets.lineage import LineageDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.errors import StorageError
from cannabis_ml.photo_sets import mirror
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.pruning import Versions, registered_runs


def store(names):
    rows = pd.DataFrame({"photo_id": names, "path": names, "group": names, "split": "train"})
    return PhotoStream(rows, lambda row: row["photo_id"].encode() * 50, 1)


def of_photos(photos):
    return {"made_from": ["photos", photos.labels()["photo_id"].tolist()]}


def of(*parts):
    return {"made_from": list(parts)}


def add(*parts):
    return of(*parts), of(*parts)


PIPELINES = {
    "data": Pipeline([Node(store, "names", "photos"), Node(of_photos, "photos", "rows")]),
    "training": Pipeline(
        [
            Node(of, ["rows", "params:x"], "features"),  # not kept
            Node(of, "features", "checkpoint"),
            Node(of, "checkpoint", "figure"),
        ]
    ),
    "bundle": Pipeline([Node(of, ["checkpoint", "rows"], "bundle")]),
}
EVERYTHING = sum(PIPELINES.values(), Pipeline([]))
# As `add_class` does: makes the checkpoint in another way, from the last one, and heads beside it.
PIPELINES["adding"] = Pipeline([Node(add, ["checkpoint_before", "rows"], ["checkpoint", "heads"])])
JSONS = ("rows", "checkpoint", "figure", "bundle")
ENTRIES = ("photos", *JSONS)


class Project:
    """A folder of data, and runs that fill it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.count = 0

    def catalog(self, version=None, names=(), **load):
        def at(name):
            return Version(load.get(name), version)

        return DataCatalog(
            {
                "names": MemoryDataset(list(names)),
                "params:x": MemoryDataset(1),
                "photos": PhotoSetDataset(
                    filepath=str(self.folder / "photos"), version=at("photos")
                ),
                **{
                    name: JSONDataset(
                        filepath=(self.folder / f"{name}.json").as_posix(), version=at(name)
                    )
                    for name in (*JSONS, "heads")
                },
                # One file under two names: the pipeline that writes it reads the last one.
                "checkpoint_before": JSONDataset(
                    filepath=(self.folder / "checkpoint.json").as_posix(), version=at("checkpoint")
                ),
                "lineage": LineageDataset(filepath=str(self.folder / "lineage")),
            }
        )

    def run(self, *stages, names=("a", "b"), mlflow_run=None, recorded=True, **load):
        """Runs stages; returns the version of what they wrote."""
        self.count += 1
        version = f"2026-01-01T00.00.{self.count:02}.000Z"
        pipeline = sum((PIPELINES[stage] for stage in stages), Pipeline([]))
        catalog = self.catalog(version, names, **load)
        if recorded:
            run = lineage.planned(version, pipeline, catalog)
            catalog.save("lineage", run.model_copy(update={"mlflow_run": mlflow_run}))
        SequentialRunner().run(pipeline, catalog)
        return version

    def versions(self):
        return Versions(self.catalog(), EVERYTHING, PIPELINES["adding"])

    def prune(self, keep, registered=()):
        versions = self.versions()
        plan = versions.plan(keep, registered)
        versions.free(plan)
        return plan

    def there(self):
        entries = self.versions().entries.items()
        return {name: entry.versions for name, entry in entries if entry.versions}

    def load(self, name, version):
        return self.catalog(**{name: version}).load(name)

    def everything(self):
        """All versions with what they hold; fails where one cannot be read."""
        return {
            (name, version): (loaded.labels()["photo_id"].tolist() if name == "photos" else loaded)
            for name, versions in self.there().items()
            for version in versions
            for loaded in [self.load(name, version)]
        }

    def files(self):
        return {
            path.relative_to(self.folder): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    def size(self):
        """Bytes of all but the records of runs."""
        files = self.files().items()
        return sum(len(data) for path, data in files if path.parts[0] != "lineage")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_newest_stay_and_older_ones_go(project):
    old, middle, new = (project.run("data", "training", "bundle") for _ in range(3))
    plan = project.prune(keep=2)
    assert project.there() == {name: [new, middle] for name in ENTRIES}
    assert plan.freed == {name: [old] for name in ENTRIES}
    assert old not in project.catalog().load("lineage")


def test_what_a_bundle_rests_on_stays_however_old(project):
    first = project.run("data", "training")
    bundled = project.run("bundle")
    newer = [project.run("data", names=[str(n)]) for n in range(3)]
    plan = project.prune(keep=1)
    there = project.there()
    assert there["photos"] == there["rows"] == [newer[-1], first]
    assert there["checkpoint"] == [first]
    assert there["bundle"] == [bundled]
    assert plan.rested_on == {"photos": [first], "rows": [first]}
    assert project.load("photos", first).labels()["photo_id"].tolist() == ["a", "b"]


def test_versions_that_were_asked_for_are_what_is_rested_on(project):
    first = project.run("data", names=["a"])
    second = project.run("data", names=["b"])
    project.run("training", rows=first)
    newest = project.run("data", names=["c"])
    project.prune(keep=1)
    assert project.there()["photos"] == project.there()["rows"] == [newest, first]
    assert second not in project.catalog().load("lineage")


def test_what_other_pipelines_make_goes_too_with_what_it_was_made_from(project):
    first = project.run("data", "training")
    old, new = (project.run("adding", "bundle") for _ in range(2))
    assert project.there()["heads"] == [new, old]
    assert "checkpoint_before" not in project.there()  # it is the checkpoint itself
    plan = project.prune(1)
    assert plan.freed["heads"] == [old]
    assert project.there()["heads"] == [new]
    # What the newest run read stays, and what the newest heads and figure are made from.
    assert project.there()["checkpoint"] == [new, old, first]
    assert project.there()["rows"] == [first]
    project.everything()


def test_what_a_registered_run_made_stays(project):
    old = project.run("data", "training", "bundle", mlflow_run="registered")
    for _ in range(3):
        new = project.run("data", "training", "bundle", names=["other"], mlflow_run="other")
    project.prune(keep=1, registered={"registered"})
    assert project.there() == {name: [new, old] for name in ENTRIES}


def test_what_nobody_recorded_rests_on_all_that_is_older(project):
    first = project.run("data")
    second = project.run("data", names=["c"])
    project.run("training", recorded=False)
    third = project.run("data", names=["d"])
    project.prune(keep=1)
    assert project.there()["photos"] == [third, second, first]


def test_a_run_that_is_going_on_finds_what_it_is_going_to_read(project):
    first = project.run("data")
    project.run("data", names=["c"])
    catalog = project.catalog("2026-01-02", rows=first)
    catalog.save("lineage", lineage.planned("2026-01-02", PIPELINES["training"], catalog))
    project.prune(keep=1)
    SequentialRunner().run(PIPELINES["training"], catalog)


def test_photos_that_versions_share_stay(project):
    names = [str(n) for n in range(400)]
    project.run("data", names=names)
    project.run("data", names=[*names, "x"])
    before = project.size()
    plan = project.prune(keep=1)
    assert project.size() == before - sum(plan.bytes.values())
    assert plan.bytes["photos"] < before / 2  # of one shard and an index
    assert len(project.load("photos", None).labels()["photo_id"].tolist()) == 401


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["data", "training", "bundle", "data training", "data training bundle"]),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)


@given(runs=RUNS, keep=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_nothing_that_stays_misses_what_it_was_made_from(runs, keep, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.run("data", "training", names=["0"])
    for number, (stages, photos, pinned) in enumerate(runs):
        load = {"rows": project.there()["rows"][-1]} if pinned and "data" not in stages else {}
        project.run(*stages.split(), names=[str(photos), f"of {number}"], **load)
    before = project.everything()
    newest = {(name, v) for name, versions in project.there().items() for v in versions[:keep]}
    project.prune(keep)
    after = project.everything()
    assert newest <= set(after)
    assert {key: before[key] for key in after} == after  # nothing has changed
    for content in after.values():
        for part in parts_of(content):
            assert part not in before.values() or part in after.values()


def parts_of(content):
    """What a version was made from, as it tells itself, through what is not kept."""
    if isinstance(content, dict):
        for part in content["made_from"]:
            yield part
            yield from parts_of(part)


def test_a_dry_run_counts_to_the_byte_and_deletes_nothing(project):
    for n in range(4):
        project.run("data", "training", names=[f"{n} {i}" for i in range(30)])
    before, size = project.files(), project.size()
    plan = project.versions().plan(keep=1)
    assert project.files() == before
    assert len(plan.records) == 3
    project.versions().free(plan)
    assert project.size() == size - sum(plan.bytes.values())


@pytest.mark.parametrize("step", range(0, 30, 3))
def test_interrupted_anywhere_what_is_left_is_whole_and_the_next_goes_on(
    step, project, monkeypatch
):
    for n in range(3):
        project.run("data", "training", "bundle", names=[str(n), "shared"])
    newest = {(name, versions[0]) for name, versions in project.there().items()}
    before = project.everything()
    left = step

    def stop_at(real):
        def one(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return one

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "unlink"), (os, "unlink"), (os, "rmdir")):
            patch.setattr(owner, name, stop_at(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            project.prune(keep=1)
    after = project.everything()
    assert newest <= set(after)
    assert {key: before[key] for key in after} == after
    project.prune(keep=1)
    assert {(n, v) for n, versions in project.there().items() for v in versions} == newest
    assert not list(project.folder.rglob(freeing.TRASH))
    assert len(list(project.folder.glob("photos/shards/*.arrow"))) == 1


def test_photos_are_not_pruned_while_a_run_writes_some(project):
    for n in range(2):
        project.run("data", names=[str(n)])
    before = project.files()
    plan = project.versions().plan(keep=1)
    shards = project.catalog()["photos"].store
    code = "from pathlib import Path; from cannabis_ml.photo_sets.shards import ShardStore as S\n"
    code += f"with S(Path({str(shards.root)!r})).locked(): print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match="Another run is writing"):
            project.versions().free(plan)
        other.communicate("\n")
    photos = {path for path in before if path.parts[0] == "photos"}
    assert photos <= set(project.files())


def test_one_version_has_to_stay(project):
    project.run("data")
    with pytest.raises(ValueError, match="keep is 0"):
        project.versions().plan(keep=0)


def test_without_lineage_nothing_is_known(project):
    catalog = project.catalog()
    catalog["lineage"] = MemoryDataset({})
    with pytest.raises(DatasetError, match="no LineageDataset"):
        Versions(catalog, EVERYTHING)


def test_runs_of_registered_models_are_found(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")
    try:
        assert registered_runs() == set()
        client = mlflow.MlflowClient()
        # Other tests of the process may have left another experiment active.
        with mlflow.start_run(experiment_id="0") as run:
            mlflow.log_text("x", "bundle/bundle.json")
        client.create_registered_model("plants")
        client.create_model_version("plants", f"{run.info.artifact_uri}/bundle", run.info.run_id)
        assert registered_runs() == {run.info.run_id}
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.slow
def test_the_command_frees_what_it_announced(photos_ready, kedro, processes, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(photos_ready[0], project)
    data = project / "data/envs/test"
    kedro(project, "run", "--env=test", "--pipeline=data")

    def files():
        return {path: path.stat().st_size for path in data.rglob("*") if path.is_file()}

    before = files()
    done = kedro(project, "prune", "--keep=1", "--dry-run", "--env=test")
    told = done.stdout.splitlines()[-1]
    assert told.startswith("Would free ")
    assert files() == before
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")}
    command = ["-m", "cannabis_ml", "prune", "--keep", "1", "--env", "test"]
    done = processes.run(command, cwd=project, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == told.replace("Would free", "Freed")
    freed = int(last.split()[1].replace(",", ""))
    records = sum(size for path, size in before.items() if "lineage" in str(path.parent.name))
    left = sum(size for path, size in files().items())
    assert left + freed == pytest.approx(sum(before.values()), abs=records)
    assert len(list(data.glob("*/photo_set/*/photo_set"))) == 1
    (state,) = data.glob("*/photo_set/*/photo_set/state.json")
    assert json.loads(state.read_text())["_data_files"]


class RemoteProject(Project):
    """The same in a bucket, whose newest files count as old."""

    def __init__(self, address):
        super().__init__(address)
        self.address = address

    def catalog(self, version=None, names=(), **load):
        def options(name, file):
            at = Version(load.get(name), version)
            return {"filepath": f"{self.address}/{file}", "version": at}

        return DataCatalog(
            {
                "names": MemoryDataset(list(names)),
                "params:x": MemoryDataset(1),
                "photos": PhotoSetDataset(**options("photos", "photos")),
                **{n: JSONDataset(**options(n, f"{n}.json")) for n in (*JSONS, "heads")},
                "checkpoint_before": JSONDataset(**options("checkpoint", "checkpoint.json")),
                "lineage": LineageDataset(filepath=f"{self.address}/lineage"),
            }
        )


@pytest.fixture
def remote_project(monkeypatch):
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    for module in (mirror, freeing):
        monkeypatch.setattr(module, "UPLOAD_SECONDS", -3600)
    return RemoteProject("memory://data")


def test_in_a_bucket_old_versions_go_with_their_shards_and_what_killed_uploads_left(remote_project):
    for n in range(3):
        remote_project.run("data", "training", "bundle", names=[str(n), "shared"])
    photos = RemotePath.at("memory://data/photos")
    shards = (photos / "shards").names()
    photos.fs.pipe_file(f"{photos.path}/2025-01-01/photos/dataset_info.json", b"{")
    newest = {name: versions[:1] for name, versions in remote_project.there().items()}
    kept = remote_project.everything()
    plan = remote_project.prune(keep=1)
    assert sum(plan.bytes.values()) > 0
    assert remote_project.there() == newest
    assert remote_project.everything() == {k: v for k, v in kept.items() if k[1] in newest[k[0]]}
    assert len((photos / "shards").names()) < len(shards)
    assert photos.names() == {"shards", *newest["photos"]}
    assert list(remote_project.catalog().load("lineage")) == newest["photos"]
    assert remote_project.prune(keep=1).bytes == {}


def test_in_a_bucket_files_of_killed_uploads_are_found_and_no_others(remote_project, monkeypatch):
    remote_project.run("data", names=["a"])
    entry, root = remote_project.catalog()["lineage"], RemotePath.at("memory://data")
    left = root / "training/state.safetensors.0a1b2c3d.part"
    others = ("training/state.safetensors", "training/first.part", "other.0a1b2c3d.partial")
    for place in (left, *(root / name for name in others)):
        place.fs.pipe_file(place.path, b"half")
    RemotePath.at("memory://datasets").fs.pipe_file("/datasets/x.0a1b2c3d.part", b"elsewhere")
    assert freeing.unfinished_uploads(entry, "memory://data") == {left: 4}
    assert freeing.unfinished_uploads(entry, "data") == {}
    monkeypatch.setattr(freeing, "UPLOAD_SECONDS", 3600)  # it may be going on
    assert freeing.unfinished_uploads(entry, "memory://data") == {}


def test_in_a_bucket_shards_of_a_run_that_is_going_on_stay(remote_project, monkeypatch):
    monkeypatch.undo()
    for n in range(2):
        remote_project.run("data", names=[str(n)])
    remote_project.prune(keep=1)
    assert len((RemotePath.at("memory://data/photos") / "shards").names()) == 2


@pytest.mark.parametrize("step", range(0, 12, 3))
def test_in_a_bucket_interrupted_anywhere_what_is_left_is_whole(remote_project, step, monkeypatch):
    for n in range(3):
        remote_project.run("data", "training", "bundle", names=[str(n), "shared"])
    newest = {(name, versions[0]) for name, versions in remote_project.there().items()}
    before, left, real = remote_project.everything(), step, MemoryFileSystem._rm

    def stop(self, path):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_rm", stop)
        with pytest.raises(KeyboardInterrupt):
            remote_project.prune(keep=1)
    after = remote_project.everything()
    assert newest <= set(after)
    assert {key: before[key] for key in after} == after
    remote_project.prune(keep=1)
    assert {(n, v) for n, versions in remote_project.there().items() for v in versions} == newest
