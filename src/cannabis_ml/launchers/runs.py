"""MLflow runs of a job into the local store: under their own ids, with artifacts right here."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.backend import LaunchError

logger = logging.getLogger(__name__)

TABLES = ("params", "tags", "metrics", "latest_metrics")
"""What a run consists of besides its row in `runs`; each has a column run_uuid."""


@dataclass(frozen=True)
class Store:
    """A local MLflow store.

    Attributes:
        database: SQLite file.
        artifacts: Folder with one folder per run.
        experiment: Its name.
    """

    database: Path
    artifacts: Path
    experiment: str


def import_runs(
    fetched: Path,
    artifacts: Path,
    store: Store,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> list[str]:
    """Copy every run of a fetched store into the local one.

    A run keeps its id, which bundles and records of lineage name. One that was fetched before is
    replaced. A run that never ended, as its machine was taken away, becomes KILLED.

    Args:
        fetched: SQLite file of the other machine.
        artifacts: Folder with a folder per run.
        store: The local store; made if it is not there.
        tags: Set on each run besides its own; `git_commit` only where the run has none.
        metrics: Logged on each run besides its own.

    Returns:
        Ids of the runs.

    Raises:
        LaunchError: The two stores are of different versions of MLflow.
    """
    if not fetched.is_file():
        return []
    experiment = _experiment(store)
    with closing(sqlite3.connect(store.database, timeout=60)) as db:
        db.execute("ATTACH DATABASE ? AS there", [str(fetched)])
        versions = [
            db.execute(f"SELECT version_num FROM {schema}.alembic_version").fetchall()
            for schema in ("main", "there")
        ]
        if versions[0] != versions[1]:
            raise LaunchError(
                f"MLflow's database came from another version ({versions[1]}, here {versions[0]}):"
                " the other machine did not install requirements.lock."
            )
        runs = [row[0] for row in db.execute("SELECT run_uuid FROM there.runs ORDER BY start_time")]
        for run in runs:
            target = store.artifacts / run / "artifacts"
            if (artifacts / run / "artifacts").is_dir():
                with written_aside(target) as aside:
                    shutil.copytree(artifacts / run / "artifacts", aside)
            with db:  # a run is there whole or not at all
                _copy_run(db, run, experiment, target.as_uri())
                _mark(db, run, tags, metrics)
    return runs


def _experiment(store: Store) -> int:
    """Id of the experiment, made with the database where they are not there."""
    from mlflow import MlflowClient

    store.database.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(f"sqlite:///{store.database}")
    found = client.get_experiment_by_name(store.experiment)
    if found is not None:
        return int(found.experiment_id)
    return int(client.create_experiment(store.experiment, store.artifacts.as_uri()))


def _copy_run(db: sqlite3.Connection, run: str, experiment: int, artifact_uri: str) -> None:
    for table in (*TABLES, "runs"):
        db.execute(f"DELETE FROM main.{table} WHERE run_uuid = ?", [run])
    for table in ("runs", *TABLES):
        columns = [row[1] for row in db.execute(f"PRAGMA there.table_info({table})")]
        names = ", ".join(columns)
        db.execute(
            f"INSERT INTO main.{table} ({names})"
            f" SELECT {names} FROM there.{table} WHERE run_uuid = ?",
            [run],
        )
    db.execute(
        "UPDATE main.runs SET experiment_id = ?, artifact_uri = ? WHERE run_uuid = ?",
        [experiment, artifact_uri, run],
    )
    db.execute(
        "UPDATE main.runs SET status = 'KILLED', end_time = coalesce(end_time, start_time)"
        " WHERE run_uuid = ? AND status IN ('RUNNING', 'SCHEDULED')",
        [run],
    )


def _mark(
    db: sqlite3.Connection, run: str, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    for key, value in tags.items():
        if key == "git_commit":
            there = db.execute(
                "SELECT value FROM main.tags WHERE run_uuid = ? AND key = ?", [run, key]
            ).fetchone()
            if there is not None and there[0] != "unknown":
                continue
        db.execute(
            "INSERT OR REPLACE INTO main.tags (key, value, run_uuid) VALUES (?, ?, ?)",
            [key, value, run],
        )
    (at,) = db.execute(
        "SELECT coalesce(end_time, start_time, 0) FROM main.runs WHERE run_uuid = ?", [run]
    ).fetchone()
    for key, number in metrics.items():
        for table in ("metrics", "latest_metrics"):
            db.execute(
                f"INSERT OR REPLACE INTO main.{table}"
                " (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, 0, 0, ?)",
                [key, number, at, run],
            )
