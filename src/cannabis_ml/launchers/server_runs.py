"""MLflow runs of a job onto a tracking server, by its REST interface.

A server gives ids of its own: the id that bundles and lineage name is kept as a tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.text import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ORIGIN = "launch.run"
"""Tag: the id that the run had on the other machine."""

UNKNOWN = "unknown"
"""Commit of a run that was not in a git checkout, such as the job's copy of the project."""

AT_ONCE = 100
"""Parameters, tags and metrics in one request; a server takes no more of the first two."""


@dataclass(frozen=True)
class Server:
    """An MLflow server.

    Attributes:
        uri: Its address; who may write there is in MLFLOW_TRACKING_USERNAME and the like.
        experiment: Its name; made if it is not there.
    """

    uri: str
    experiment: str


def send_runs(
    fetched: Path,
    artifacts: Path,
    server: Server,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> list[str]:
    """Copy every run of a fetched store onto a server.

    A run that is there already stays as it is; one that an interrupted copy left is made anew.

    Args:
        fetched: SQLite file of the other machine.
        artifacts: Folder with a folder per run.
        server: Where they go.
        tags: Set on each run besides its own; `git_commit` only where the run has none.
        metrics: Logged on each run besides its own.

    Returns:
        Ids of the runs on the server.

    Raises:
        LaunchError: If the server does not take them.
    """
    if not fetched.is_file():
        return []
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        here, there = MlflowClient(f"sqlite:///{fetched}"), MlflowClient(server.uri)
        experiment = _experiment(there, server.experiment)
        copies = _Copies(here, there, experiment, artifacts)
        return [copies.of(run, tags, metrics) for run in _runs(here)]
    except MlflowException as error:
        raise LaunchError(
            f"The runs were not copied onto MLflow's server {urlsplit(server.uri).hostname}:"
            f" {one_line(error)}\nFetch again: what is there already stays."
        ) from error


@dataclass(frozen=True)
class _Copies:
    here: MlflowClient
    there: MlflowClient
    experiment: str
    artifacts: Path

    def of(self, run: Run, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
        """Id of the copy, which is made unless it is there."""
        same = f"tags.`{ORIGIN}` = '{run.info.run_id}'"
        for found in self.there.search_runs([self.experiment], same):
            if found.info.status != "RUNNING":
                return str(found.info.run_id)
            self.there.delete_run(found.info.run_id)  # it was not copied whole
        began = run.info.start_time
        copy = self.there.create_run(
            self.experiment, began, {ORIGIN: run.info.run_id}, run.info.run_name
        ).info.run_id
        self._log(copy, run, tags, metrics)
        folder = self.artifacts / run.info.run_id / "artifacts"
        if folder.is_dir():
            self.there.log_artifacts(copy, str(folder))
        ended = run.info.status not in ("RUNNING", "SCHEDULED")
        status = run.info.status if ended else "KILLED"
        self.there.set_terminated(copy, status, run.info.end_time or began)
        return str(copy)

    def _log(
        self, copy: str, run: Run, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        own = {key: value for key, value in run.data.tags.items() if key != ORIGIN}
        kept = (
            {"git_commit": own["git_commit"]} if own.get("git_commit", UNKNOWN) != UNKNOWN else {}
        )
        at = run.info.end_time or run.info.start_time
        points = [
            point
            for key in run.data.metrics
            for point in self.here.get_metric_history(run.info.run_id, key)
        ]
        points += [Metric(key, number, at, 0) for key, number in metrics.items()]
        params = [Param(*pair) for pair in run.data.params.items()]
        marks = [RunTag(*pair) for pair in {**own, **tags, **kept}.items()]
        for start in range(0, max(len(points), len(params), len(marks)), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self.there.log_batch(copy, points[part], params[part], marks[part])


def _runs(client: MlflowClient) -> list[Run]:
    """All runs of a store, the oldest first."""
    experiments = [str(experiment.experiment_id) for experiment in client.search_experiments()]
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)
