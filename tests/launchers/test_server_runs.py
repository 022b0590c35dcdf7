"""Runs of a job onto MLflow's own server, which answers in this process."""

import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from werkzeug.serving import make_server

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.server_runs import ORIGIN, Server, send_runs


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from mlflow.server import app, handlers

    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_artifact_repo", None)
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/server.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "artifacts"))
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        here = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=here.serve_forever, daemon=True).start()
        yield Server(f"http://127.0.0.1:{here.server_port}", "leaves")
        here.shutdown()


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A folder with a store of two runs, the first of which was killed; and the ids of both."""
    tmp_path = tmp_path_factory.mktemp("fetched")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("there", (tmp_path / "artifacts").as_uri())
    runs = [client.create_run(experiment, start_time=at).info.run_id for at in (1000, 2000)]
    for run in runs:
        points = [Metric("loss", 1 / step, 1000 + step, step) for step in range(1, 151)]
        client.log_batch(run, metrics=points)
        client.log_param(run, "size", 64)
        client.set_tag(run, "git_commit", "unknown")
        client.log_text(run, "drawn", "figures/a.txt")
    client.set_terminated(runs[1], "FINISHED", 3000)
    return tmp_path, runs


def test_runs_are_copied_whole_and_once(server, fetched, tmp_path):
    folder, runs = fetched
    client = MlflowClient(server.uri)
    half = client.create_run(client.create_experiment(server.experiment), tags={ORIGIN: runs[1]})
    given = (
        folder / "mlflow.db",
        folder / "artifacts",
        server,
        {"git_commit": "c0ffee"},
        {"launch.usd": 2},
    )
    copies = send_runs(*given)
    assert half.info.run_id not in copies  # an interrupted copy
    assert client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    for run, copy, status in zip(runs, copies, ("KILLED", "FINISHED"), strict=True):
        found = client.get_run(copy)
        assert (found.info.status, found.data.params) == (status, {"size": "64"})
        assert found.data.tags.items() >= {ORIGIN: run, "git_commit": "c0ffee"}.items()
        assert found.data.metrics["launch.usd"] == 2
        losses = client.get_metric_history(copy, "loss")
        assert sorted((p.step, p.value, p.timestamp) for p in losses) == [
            (step, 1 / step, 1000 + step) for step in range(1, 151)
        ]
        figure = client.download_artifacts(copy, "figures/a.txt", str(tmp_path))
        assert Path(figure).read_text() == "drawn"
    assert (found.info.start_time, found.info.end_time) == (2000, 3000)
    assert send_runs(*given) == copies


def test_a_server_that_refuses_is_named_and_its_password_is_not(server, fetched):
    uri = server.uri.replace("http://", "http://ann:hush@")
    folder, _ = fetched
    other = Server(f"{uri}/nowhere", "leaves")
    with pytest.raises(LaunchError, match=r"server 127\.0\.0\.1") as caught:
        send_runs(folder / "mlflow.db", folder / "artifacts", other, {}, {})
    assert "hush" not in str(caught.value)


def test_a_job_without_runs_asks_no_server(tmp_path):
    nowhere = Server("http://127.0.0.1:1", "leaves")
    assert send_runs(tmp_path / "mlflow.db", tmp_path, nowhere, {}, {}) == []
