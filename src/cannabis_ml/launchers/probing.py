"""Probes: what was measured, and where it is kept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.prices import FREE
from cannabis_ml.launchers.results import Installed
from cannabis_ml.launchers.throughput import Throughput

FOLDER = "09_tracking/probes"
"""Below data/: what jobs measured."""


def known_throughput(launches: Path, job: Job) -> Throughput | None:
    """What a probe of the same command on the same kind of machine measured; None: there was none.

    Args:
        launches: data/09_tracking/launches of the project.
        job: Its command, backend and machine are looked for.
    """
    path = _file(launches, job)
    return Throughput.model_validate_json(path.read_bytes()) if path.is_file() else None


def keep_throughput(launches: Path, job: Job, measured: Throughput) -> None:
    """Keep what a probe measured, for `known_throughput`."""
    with written_aside(_file(launches, job)) as aside:
        aside.write_text(measured.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_throughput(data: Path, measured: Throughput) -> None:
    """Write what a probe measured among the results of a job."""
    name = hashlib.sha256(measured.model_dump_json().encode()).hexdigest()[:16]
    with written_aside(data / FOLDER / f"{name}.json") as aside:
        aside.write_text(measured.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_throughput(data: Path, installed: Installed) -> Throughput | None:
    """What a job measured, if its results are just installed into `data`."""
    for name in installed.new:
        if name.startswith(f"{FOLDER}/"):
            return Throughput.model_validate_json((data / name).read_bytes())
    return None


def _file(launches: Path, job: Job) -> Path:
    machine = job.machine
    parts = [job.backend, machine.gpu, machine.gpus, machine.cpus, job.command]
    if job.backend in FREE:
        parts = [job.backend, job.options.get("host"), job.command]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return launches / "probes" / f"{job.backend}-{key}.json"
