"""Estimated against actual time of three trainings that differ in photos, sizes and epochs.

One probe is made of a training of one tier, with 48 and 96 photos and an epoch per phase; from it
the time of three whole runs is estimated, none of which has the photos, size and epochs that were
probed. Each run is a process of its own, `python -m cannabis_ml run`. Compared are CPU seconds,
which other programs on the machine disturb least; wall seconds are printed beside them.

    python tests/benchmarks/bench_launch_estimate.py
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from cannabis_ml.launchers.throughput import Plan, Throughput

PROJECT = Path(__file__).parents[2]
COMMAND = (
    "run",
    "--env",
    "test",
    "--pipeline=train",
    "--to-outputs=tier3.training_curves,tier3.test_metrics",
)
PROBED = {"photos": 240, "size": 64, "epochs": {"heads": 2, "top": 1}}
RUNS = (
    {"photos": 120, "size": 64, "epochs": {"heads": 4, "top": 4}},
    {"photos": 240, "size": 96, "epochs": {"heads": 6, "top": 3}},
    {"photos": 360, "size": 48, "epochs": {"heads": 3, "top": 8}},
)

MEASURE = """
import json, sys, time
from pathlib import Path
from kedro.framework.project import configure_project
from cannabis_ml.launchers.probe import measure
configure_project("cannabis_ml")
measured = measure(tuple(sys.argv[2:]), Path.cwd(), 0.0, time.process_time)
Path(sys.argv[1]).write_text(measured.model_dump_json())
Path(sys.argv[1]).with_suffix(".cpu").write_text(str(time.process_time()))
"""


def configure(project: Path, run: dict) -> None:
    """Set number of photos, size and epochs."""
    conf = project / "conf/test"
    catalog = yaml.safe_load((conf / "catalog_ingestion.yml").read_text())
    catalog["source_photos"]["source"]["count"] = run["photos"]
    (conf / "catalog_ingestion.yml").write_text(yaml.safe_dump(catalog))
    training = yaml.safe_load((PROJECT / "conf/test/parameters_training.yml").read_text())
    tier = training["tier3"]
    tier["model"]["image_size"] = run["size"]
    for phase in tier["schedule"]["phases"]:
        phase["epochs"] = run["epochs"][phase["name"]]
    (conf / "parameters_training.yml").write_text(yaml.safe_dump(training))


def draw(project: Path) -> None:
    """Draw the sample photos, which is no part of a training."""
    command = [sys.executable, "-m", "cannabis_ml", "run", "--env", "test"]
    subprocess.run(
        [*command, "--pipeline=ingestion", "--to-outputs=listed_photos"],
        cwd=project,
        check=True,
        capture_output=True,
    )


def timed(command: list[str], project: Path) -> tuple[float, float]:
    """CPU and wall seconds of a process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started


def main() -> None:
    os.environ.update(OMP_NUM_THREADS="1", DO_NOT_TRACK="1")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        project.mkdir()
        for name in ("src", "conf"):
            skipped = shutil.ignore_patterns("__pycache__", "node_modules", "built*", "local")
            shutil.copytree(PROJECT / name, project / name, ignore=skipped)
        (project / "conf/local").mkdir()
        shutil.copy(PROJECT / "pyproject.toml", project)
        os.environ["PYTHONPATH"] = str(project / "src")
        configure(project, PROBED)
        draw(project)
        output = Path(folder, "probe.json")
        cpu, wall = timed([sys.executable, "-c", MEASURE, str(output), *COMMAND], project)
        measured = Throughput.model_validate_json(output.read_bytes())
        leaving = cpu - float(output.with_suffix(".cpu").read_text())  # after the last line
        measured = measured.model_copy(update={"start": measured.start + leaving})
        print(
            f"probe: {cpu:.1f} CPU s, {wall:.1f} s; {os.cpu_count()} cores,"
            f" load {os.getloadavg()[0]:.1f}"
        )
        print(json.dumps({name: round(line.at(240), 2) for name, line in measured.nodes.items()}))
        print(
            f"{'photos':>8}{'size':>6}{'epochs':>8}{'estimate':>10}{'CPU s':>8}{'error':>8}"
            f"{'wall s':>8}"
        )
        for run in RUNS:
            configure(project, run)
            draw(project)
            plan = Plan(
                photos=run["photos"],
                epochs={"tier3": run["epochs"]},
                image_size={"tier3": run["size"]},
            )
            expected = measured.seconds(plan)
            shutil.rmtree(project / "data/09_tracking", ignore_errors=True)
            cpu, wall = timed([sys.executable, "-m", "cannabis_ml", *COMMAND], project)
            epochs = "+".join(map(str, run["epochs"].values()))
            print(
                f"{run['photos']:>8}{run['size']:>6}{epochs:>8}{expected:>10.1f}{cpu:>8.1f}"
                f"{expected / cpu - 1:>+8.0%}{wall:>8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
