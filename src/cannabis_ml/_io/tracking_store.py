"""MLflow's database, when the project that it lies in was renamed or moved."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

logger = logging.getLogger(__name__)

WAIT_SECONDS = 60
"""How long another run may hold the database."""


def follow_move(database: Path, experiment: str, artifacts: Path) -> None:
    """Let MLflow look for artifacts in the project that runs.

    MLflow notes once and for all where an experiment and each of its runs keep their artifacts. A
    project that was renamed or moved would write to its old place, which is made anew. The
    new place is set for the experiment and for every earlier run, except those whose artifacts
    still lie in the old place and not in the new.

    Args:
        database: SQLite file of MLflow.
        experiment: Its name.
        artifacts: Folder that mlflow.yml gives it.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as db, db:
        row = db.execute(
            "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?", [experiment]
        ).fetchone()
        old = local_folder(row[1]) if row else None
        if old is None:  # there is nothing yet, or it lies on a server
            return
        if old != artifacts:
            db.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                [artifacts.as_uri(), row[0]],
            )
        moved, left = _move_runs(db, row[0], artifacts)
    if moved and not artifacts.is_dir():
        logger.warning(
            "The project was moved. The artifacts of %s are neither in %s nor in %s: if you have"
            " the old folder, move what is in it to the new one.",
            _runs(moved),
            old,
            artifacts,
        )
    elif moved:
        logger.info(
            "The project was moved: the artifacts of %s are in %s.", _runs(moved), artifacts
        )
    if left and old != artifacts:
        logger.warning(
            "The artifacts of %s stay in %s, where they are still found. To have all in one"
            " place, move what is in it to %s.",
            _runs(left),
            old,
            artifacts,
        )


def local_folder(uri: str | None) -> Path | None:
    """The local folder of a URI or path; None if it is elsewhere."""
    if not uri:
        return None
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if Path(uri).is_absolute() else None


def _move_runs(db: sqlite3.Connection, experiment: str, artifacts: Path) -> tuple[int, int]:
    """Rewrite the places of runs; how many were, and how many keep their old place."""
    runs = db.execute(
        "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ?", [experiment]
    ).fetchall()
    moved = left = 0
    for run, uri in runs:
        old, new = local_folder(uri), artifacts / run / "artifacts"
        if old is None or old == new or old.parts[-2:] != new.parts[-2:]:
            continue
        if old.is_dir() and not new.is_dir():
            left += 1
            continue
        moved += 1
        db.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", [new.as_uri(), run])
    return moved, left


def _runs(count: int) -> str:
    return "1 earlier run" if count == 1 else f"{count:,} earlier runs"
