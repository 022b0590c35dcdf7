"""Runs in W&B, read back from the files that its own client writes in offline mode."""

import json
import signal
import socket
import sqlite3
import struct
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro_datasets.json import JSONDataset

from cannabis_ml._io import live_metrics
from cannabis_ml.datasets.figures import FiguresDataset
from cannabis_ml.errors import ConfigError
from cannabis_ml.training.callbacks import log_live
from cannabis_ml.wandb_hook import WandbHook, wandb_names, wandb_params

pytest.importorskip("wandb")

BLOCK, HEADER = 32768, 7
UNUSED = ("conf_catalog", "conf_creds", "parameters", "save_version", "load_versions")


def records(path):
    """Protobuf records of a .wandb file: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block has no room for a header
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if not kind:
            return
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


class ReadRun:
    """What the only run below a folder holds."""

    def __init__(self, folder):
        (self.path,) = folder.glob("wandb/*run-*/run-*.wandb")
        self.config, self.summary, self.history = {}, {}, []
        self.exit_code, self.artifacts, self.steps = None, {}, {}
        for record in records(self.path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.name, self.project = record.run.display_name, record.run.project
                    self.host = record.run.host
                    self.config |= _values(record.run.config.update)
                case "config":
                    self.config |= _values(record.config.update)
                case "summary":
                    self.summary |= _values(record.summary.update)
                case "history":
                    self.history.append(_values(record.history.item))
                case "metric":
                    self.steps[record.metric.name] = record.metric.step_metric
                case "artifact":
                    paths = [content.path for content in record.artifact.manifest.contents]
                    self.artifacts[record.artifact.name] = (record.artifact.type, paths)
                case "exit":
                    self.exit_code = record.exit.exit_code


def _values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


class Photos(list):
    fingerprint = "f00d"


@pytest.fixture
def catalog(tmp_path):
    def entry(name, **marks):
        return {"version": Version(None, "v1"), "metadata": {"mlflow": marks}}

    return DataCatalog(
        {
            "photo_set": MemoryDataset(Photos("abc"), metadata={"mlflow": {"fingerprint": True}}),
            "tier3.test_metrics": JSONDataset(
                filepath=str(tmp_path / "catalog/metrics.json"),
                **entry("metrics", metrics="tier3.test", artifact="reports"),
            ),
            "tier3.models": JSONDataset(
                filepath=str(tmp_path / "catalog/models.json"), **entry("m", artifact="models")
            ),
            "tier3.curves": FiguresDataset(
                filepath=str(tmp_path / "catalog/curves"), **entry("c", artifact="figures")
            ),
        }
    )


@pytest.fixture
def run_with(tmp_path, catalog):
    """Hooks around a run with these values of `tracking.wandb`, as Kedro calls them."""

    def run_with(**values):
        hooks = _create_hook_manager()
        hooks.register(WandbHook())
        parameters = {"tier3": {"epochs": 2}, "tracking": {"wandb": values}}
        context = SimpleNamespace(
            config_loader={"parameters": parameters}, project_path=tmp_path / "project"
        )
        hooks.hook.after_context_created(context=context)
        hooks.hook.after_catalog_created(**dict.fromkeys(UNUSED), catalog=catalog)
        params = {"env": "test", "pipeline_names": ["train"]}
        hooks.hook.before_pipeline_run(run_params=params, pipeline=None, catalog=catalog)
        return hooks.hook

    yield run_with
    assert not live_metrics._listeners


def save(hooks, catalog, name, data):
    catalog.save(name, data)
    hooks.after_dataset_saved(dataset_name=name, data=data, node=None)


def figures(*names):
    import matplotlib.figure

    return {name: matplotlib.figure.Figure(figsize=(1, 1)) for name in names}


def test_a_run_has_the_marked_metrics_files_and_epochs(run_with, catalog, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    hooks = run_with(enabled=True, project="leaves")
    hooks.after_dataset_loaded(dataset_name="photo_set", data=Photos("abc"), node=None)
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        log_live({"epoch": epoch, "phase": "heads", "train_loss": loss}, "tier3")
    log_live({"epoch": 1, "phase": "heads", "train_loss": 0.75}, "tier2")
    metrics = {"heads": {"kind": {"n": 12, "accuracy": 0.875, "enough": True}}}
    save(hooks, catalog, "tier3.test_metrics", metrics)
    save(hooks, catalog, "tier3.models", {"weights": 1})
    save(hooks, catalog, "tier3.curves", figures("one", "two"))
    hooks.after_pipeline_run(run_params={}, run_result={}, pipeline=None, catalog=catalog)

    folder = tmp_path / "project/data/09_tracking/wandb"
    run = ReadRun(folder)
    assert (run.name, run.project, run.host) == ("train on test", "leaves", "")
    assert run.config["tier3"] == {"epochs": 2}
    assert run.exit_code == 0
    epochs = [row for row in run.history if "tier3/train_loss" in row or "tier2/epoch" in row]
    assert [(row.get("tier3/epoch"), row.get("tier3/train_loss")) for row in epochs] == [
        (1, 0.5),
        (2, 0.25),
        (None, None),
    ]
    assert (epochs[2]["tier2/epoch"], epochs[2]["tier2/train_loss"]) == (1, 0.75)
    assert run.steps["tier2/train_loss"] == "tier2/epoch"
    assert run.summary["tier3/test/heads/kind/accuracy"] == 0.875
    assert "tier3/test/heads/kind/enough" not in run.summary
    assert (run.summary["photo_set_fingerprint"], run.summary["photo_set_photos"]) == ("f00d", 3)
    assert run.artifacts == {"tier3.test_metrics": ("reports", ["metrics.json"])}
    media = sorted(p.name[:3] for p in folder.glob("wandb/offline*/files/media/images/**/*.png"))
    assert media == ["one", "two"]


def test_a_run_that_ends_in_an_error_is_failed_with_the_epochs_until_then(run_with, tmp_path):
    hooks = run_with(enabled=True, files=[])
    log_live({"epoch": 1, "phase": "heads", "train_loss": 0.5})
    hooks.on_pipeline_error(error=ValueError(), run_params={}, pipeline=None, catalog=None)
    log_live({"epoch": 2, "phase": "heads", "train_loss": 0.25})  # of whoever trains after it
    run = ReadRun(tmp_path / "project/data/09_tracking/wandb")
    assert run.exit_code == 1
    assert [row["train_loss"] for row in run.history] == [0.5]


def test_a_tracker_that_fails_costs_its_own_curve_alone(caplog):
    taken = []

    def take(numbers, log_as, epoch):
        taken.append((dict(numbers), log_as, epoch))

    def fail(*_):
        raise OSError("the disk is full")

    for listener in (fail, take, take):
        live_metrics.add_listener(listener)
    try:
        log_live({"epoch": 3, "phase": "heads", "train_loss": 0.5}, "tier1")
    finally:
        live_metrics.remove_listener(fail)
        live_metrics.remove_listener(take)
    assert taken == [({"train_loss": 0.5}, "tier1", 3)]
    assert "metrics of epoch 3" in caplog.text


def test_a_missing_library_ends_the_run_before_any_node(run_with, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"pip install 'cannabis_ml\[wandb\]'") as raised:
        run_with(enabled=True)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "project").exists()
    run_with(enabled=False)


def test_uploading_without_a_key_is_refused(run_with, monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="set WANDB_API_KEY"):
        run_with(enabled=True, mode="online")


def test_a_server_that_is_away_leaves_files_to_upload_later(
    run_with, monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("WANDB_MODE", "offline")  # what is configured is tried all the same
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    hooks = run_with(enabled=True, mode="online", timeout=0.5)
    hooks.after_pipeline_run(run_params={}, run_result={}, pipeline=None, catalog=None)
    (path,) = (tmp_path / "project").glob("data/09_tracking/wandb/wandb/offline-run-*/*.wandb")
    assert [r.exit.exit_code for r in records(path) if r.HasField("exit")] == [0]
    assert "W&B's server cannot be reached" in caplog.text
    assert "0" * 40 not in path.parent.joinpath("logs/debug.log").read_text() + caplog.text


@pytest.mark.parametrize(
    ("values", "named"), [({"mode": "onlin"}, "mode"), ({"enable": True}, "enable")]
)
def test_a_mistyped_setting_is_named(values, named):
    with pytest.raises(ConfigError, match=rf"tracking\.wandb in .*: {named}: "):
        wandb_params({"tracking": {"wandb": values}})


def test_off_is_the_default():
    assert not wandb_params({}).enabled
    assert wandb_params({}).mode == "offline"


def test_names_of_metrics_are_grouped_by_tier():
    names = {"tier1.test.A+": 1.0, "tier1.test.A_": 2.0}
    assert wandb_names(names) == {"tier1/test/A plus": 1.0, "tier1/test/A_": 2.0}


@pytest.fixture(scope="module")
def project(copy_project, tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("wandb") / "project")


ONE_NODE = ("--env=test", "--nodes=ingestion.add_feedback,ingestion.resolve_taxonomy")


@pytest.mark.slow
def test_kedro_run_keeps_all_below_data_and_uploads_nothing(project, kedro, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("HOME", str(tmp_path))
        printed = kedro(project, "run", *ONE_NODE, "--params", "tracking.wandb.enabled=true")
        with pytest.raises(BlockingIOError):  # nobody connected
            server.accept()
    folder = project / "data/09_tracking/wandb"
    run = ReadRun(folder)
    assert run.exit_code == 0
    assert "wandb sync" in printed.stdout
    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        ids = db.execute("SELECT run_uuid, status FROM runs").fetchall()
        tag = db.execute("SELECT value FROM tags WHERE key = 'wandb_run'").fetchall()
    assert ids == [(run.config["mlflow_run"], "FINISHED")]
    assert tag == [(run.path.stem.removeprefix("run-"),)]
    elsewhere = [
        *(p for p in tmp_path.rglob("*wandb*")),
        *(p for p in project.rglob("*wandb*") if folder not in (p, *p.parents)),
    ]
    assert {p.relative_to(project).parts[0] for p in elsewhere} <= {"src", "tests", "docs"}


WAIT = """
import os, sys, time
import wandb
from cannabis_ml import cli

def run(**options):
    wandb.init(mode="offline", dir=".", settings=wandb.Settings(console="off"))
    if sys.argv[2] == "fail":
        raise ValueError("a bug")
    print("running", flush=True)
    time.sleep(60)

cli.kedro_run.callback = run
cli.cli(["run"])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_is_killed(processes, name, tmp_path):
    process = processes.start(["-c", WAIT, "-", "wait"], cwd=tmp_path)
    process.wait_for("running")
    process.send_signal(getattr(signal, name))
    assert process.wait().returncode != 0
    assert ReadRun(tmp_path).exit_code == 255


def test_a_run_that_ends_in_a_message_is_failed(processes, tmp_path):
    assert processes.run(["-c", WAIT, "-", "fail"], cwd=tmp_path).returncode == 1
    assert ReadRun(tmp_path).exit_code == 1
