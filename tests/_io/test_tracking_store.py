"""MLflow looks for artifacts in the project that runs, also after it was moved."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cannabis_ml._io.tracking_store import follow_move

EXPERIMENT = "photos"


class Project:
    """A folder with MLflow's database in it."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder, self.artifacts = folder, folder / "artifacts"
        self.database = folder / "mlflow.db"
        self.client = MlflowClient(f"sqlite:///{self.database}")

    def begin(self):
        self.client.create_experiment(EXPERIMENT, artifact_location=self.artifacts.as_uri())

    def run(self, name):
        """A run with one artifact; returns its id."""
        follow_move(self.database, EXPERIMENT, self.artifacts)
        experiment = self.client.get_experiment_by_name(EXPERIMENT).experiment_id
        run = self.client.create_run(experiment).info.run_id
        self.client.log_text(run, name, "said.txt")
        return run

    def said(self, run):
        return Path(self.client.download_artifacts(run, "said.txt")).read_text()


@pytest.fixture
def first(tmp_path):
    project = Project(tmp_path / "first")
    project.begin()
    return project


def test_a_moved_project_keeps_its_artifacts_below_itself(first, tmp_path):
    early = first.run("early")
    first.folder.rename(tmp_path / "second é 1")
    second = Project(tmp_path / "second é 1")
    late = second.run("late")
    assert not first.folder.exists()
    assert (second.artifacts / late / "artifacts/said.txt").read_text() == "late"
    assert second.said(early) == "early"


def test_a_copied_project_has_artifacts_of_its_own(first, tmp_path):
    early = first.run("early")
    shutil.copytree(first.folder, tmp_path / "copy")
    copy = Project(tmp_path / "copy")
    copy.run("late")
    shutil.rmtree(first.folder)
    assert copy.said(early) == "early"


def test_artifacts_left_behind_are_found_and_reported(first, tmp_path, caplog):
    early = first.run("early")
    (tmp_path / "second").mkdir()
    first.database.rename(tmp_path / "second/mlflow.db")
    second = Project(tmp_path / "second")
    late = second.run("late")
    assert [second.said(run) for run in (early, late)] == ["early", "late"]
    told = caplog.records[-1].getMessage()
    assert "artifacts of 1 earlier run stay in" in told
    assert str(first.artifacts) in told
    assert str(second.artifacts) in told
    # What the message says helps, and it is not said again.
    (first.artifacts / early).rename(second.artifacts / early)
    caplog.clear()
    second.run("later")
    assert second.said(early) == "early"
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_artifacts_that_are_nowhere_are_reported(first, tmp_path, caplog):
    first.run("early")
    (tmp_path / "second").mkdir()
    first.database.rename(tmp_path / "second/mlflow.db")
    shutil.rmtree(first.folder)
    Project(tmp_path / "second").run("late")
    assert "artifacts of 1 earlier run are neither in" in caplog.records[-1].getMessage()


def test_runs_that_lie_elsewhere_are_left_alone(first, tmp_path):
    client = first.client
    client.create_experiment("other", artifact_location="s3://bucket/x")
    other = client.get_experiment_by_name("other").experiment_id
    run = client.create_run(other).info
    follow_move(first.database, "other", tmp_path / "x")
    follow_move(first.database, "absent", tmp_path / "x")
    follow_move(tmp_path / "absent.db", "other", tmp_path / "x")
    assert client.get_run(run.run_id).info.artifact_uri == run.artifact_uri
    assert client.get_experiment(other).artifact_location == "s3://bucket/x"
    assert not (tmp_path / "absent.db").exists()
