"""A job from its start until its results are here."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from cannabis_ml.launchers.backend import RESULTS_FILE, Backend, JobState, LaunchError, Result
from cannabis_ml.launchers.package import pack
from cannabis_ml.launchers.records import Record
from cannabis_ml.launchers.results import (
    ARTIFACTS,
    DATABASE,
    Installed,
    check_result,
    install,
    unpack,
)
from cannabis_ml.launchers.runs import Store, import_runs
from cannabis_ml.launchers.secrets import without_secrets
from cannabis_ml.launchers.server_runs import Server, send_runs

logger = logging.getLogger(__name__)

PATIENCE = 5
"""How often a lost connection to the log is made anew without a line in between."""


def start(record: Record, project: Path, backend: Backend, secrets: Mapping[str, SecretStr]) -> str:
    """Pack the project, send it and start the job; the provider's id, which the record keeps.

    Raises:
        LaunchError: The backend cannot do it.
    """
    package = record.folder / "package.tar.gz"
    try:
        pack(project, record.job, package)
        remote = backend.submit(record.job, package, secrets)
    except Exception as error:
        # Whatever the provider's library puts into its message, no secret is in ours.
        told = without_secrets(str(error), secrets)
        record.update(state=JobState(phase="failed", message=f"not started: {told}"))
        if told == str(error):
            raise
        raise LaunchError(told) from None
    finally:
        package.unlink(missing_ok=True)
    record.update(remote=remote, state=JobState(phase="queued"))
    return remote


def follow(
    record: Record,
    backend: Backend,
    show: Callable[[str], None],
    secrets: Mapping[str, SecretStr] | None = None,
    pause: float = 2.0,
) -> JobState:
    """Show the lines of a job's output that are not here yet, until it has ended.

    A lost connection is made anew. Lines are kept in the record.

    Args:
        record: Of the job.
        backend: Where it runs.
        show: Called with each line.
        secrets: Values that are replaced by their names, should the job print them.
        pause: Seconds before a lost connection is made anew.

    Raises:
        LaunchError: The log cannot be had again and again.
    """
    remote = remote_of(record)
    failed = 0
    while True:
        seen = record.lines()
        try:
            with record.log.open("a", encoding="utf-8") as log:
                for raw in backend.logs(remote, seen):
                    line = without_secrets(raw, secrets or {})
                    log.write(line + "\n")
                    log.flush()
                    show(line)
                    failed = 0
            state = look(record, backend)
        except (LaunchError, OSError) as error:
            failed += 1
            if failed > PATIENCE:
                raise
            logger.warning("The connection was lost (%s); trying again.", error)
            time.sleep(pause)
            continue
        if state.ended:
            return state
        time.sleep(pause)


def look(record: Record, backend: Backend) -> JobState:
    """How far the job is, kept in the record."""
    state = backend.state(remote_of(record))
    record.update(state=state)
    return state


def collect(
    record: Record, backend: Backend, data: Path, store: Store | Server | None
) -> tuple[Result, Installed, list[str]]:
    """Fetch the results of a job into this project: files into `data`, runs into MLflow.

    To collect again changes nothing.

    Args:
        record: Of the job.
        backend: Where it ran.
        data: The project's data/.
        store: MLflow's; None where runs are kept in neither a local database nor a server.

    Returns:
        How the job ended, what was put where, and the ids of its runs.

    Raises:
        LaunchError: The results are not there yet, or did not come whole.
    """
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".results-", dir=data) as temporary:
        fetched, unpacked = Path(temporary, "fetched"), Path(temporary, "unpacked")
        fetched.mkdir()
        unpacked.mkdir()
        backend.fetch(remote_of(record), fetched)
        result = check_result(fetched)
        unpack(fetched / RESULTS_FILE, record.job, unpacked)
        installed = install(unpacked, data, record.folder / "results")
        runs: list[str] = []
        marks = tags_of(record), metrics_of(record, result)
        if isinstance(store, Store):
            runs = import_runs(unpacked / DATABASE, unpacked / ARTIFACTS, store, *marks)
        elif store is not None:
            runs = send_runs(unpacked / DATABASE, unpacked / ARTIFACTS, store, *marks)
        elif (unpacked / DATABASE).is_file():
            kept = record.folder / "results" / "09_tracking"
            shutil.copytree(unpacked / "09_tracking", kept, dirs_exist_ok=True)
            installed.aside.append(DATABASE)
    record.update(result=result)
    return result, installed, runs


def tags_of(record: Record) -> dict[str, str]:
    """What the runs of a job are marked with in MLflow."""
    job, progress = record.job, record.progress
    commit, changed = progress.commit.removesuffix("+"), progress.commit.endswith("+")
    tags = {
        "launch.job": job.name,
        "launch.backend": job.backend,
        "launch.machine": progress.estimate.what if progress.estimate else job.machine.gpu or "CPU",
        "git_commit": commit,
    }
    if commit != "unknown":
        tags["git_dirty"] = str(changed).lower()
    return tags


def metrics_of(record: Record, result: Result) -> dict[str, float]:
    """Estimate and actual values of a job side by side."""
    metrics = {"launch.seconds": result.seconds, "launch.attempts": float(result.attempts)}
    if result.cost_usd is not None:
        metrics["launch.cost_usd"] = result.cost_usd
    estimate = record.progress.estimate
    if estimate is not None and estimate.measured:
        metrics["launch.estimated_seconds"] = estimate.seconds
        metrics["launch.estimated_usd"] = estimate.usd
    return metrics


def remote_of(record: Record) -> str:
    """The provider's id of a job.

    Raises:
        LaunchError: It was never started, as far as this machine knows.
    """
    remote = record.progress.remote
    if remote is None:
        raise LaunchError(
            f"{record.name} was not started, or this machine was switched off in that very moment:"
            f" look for '{record.name}' at {record.job.backend}."
        )
    return remote
