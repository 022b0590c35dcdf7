"""Minutes that were given against minutes that a whole run took, on photos of several sets.

Each trial is a process of its own, `python -m cannabis_ml run --params minutes=N`, in a fresh copy
of the project. Wall minutes are what is promised; CPU minutes and the load of the machine stand
beside them, because other programs that come or go after the probe break any promise. On a machine
that is shared, `--clock cpu` tries the same on one thread by the clock of the process, which stands
still while others run.

    python tests/benchmarks/bench_minutes.py --minutes 8 15
    python tests/benchmarks/bench_minutes.py --env folder --photos PATH --minutes 15 30 --count 600
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

PROJECT = Path(__file__).parents[2]
COPIED = ("conf", "src", "pyproject.toml")
LIBRARIES = ("torch", "timm", "onnxruntime", "ai-edge-litert", "kedro")


CLOCKS = """
import sys, time, types
from cannabis_ml import minutes_hook
from cannabis_ml.__main__ import main
from cannabis_ml.datasets import clock
from cannabis_ml.training import speed_probe
own = types.SimpleNamespace(perf_counter=time.process_time, monotonic=time.process_time)
minutes_hook.time = clock.time = speed_probe.time = own
sys.exit(main())
"""
"""Lets a run measure itself by the clock of its process."""


def some_photos(photos: Path, count: int, to: Path) -> Path:
    """So many photos of a folder of class folders, each class and split by its share."""
    folders = sorted({file.parent for file in photos.rglob("*") if file.is_file()})
    total = sum(1 for folder in folders for _ in folder.iterdir())
    for folder in folders:
        files = sorted(folder.iterdir())
        wanted = max(1, round(len(files) * count / total))
        kept = [files[i * len(files) // wanted] for i in range(min(wanted, len(files)))]
        (to / folder.relative_to(photos)).mkdir(parents=True)
        for file in kept:
            shutil.copy(file, to / file.relative_to(photos))
    return to


def run(project: Path, env: str, params: str, clock: str) -> tuple[float, float, str]:
    """Wall and CPU minutes of a run, and what it printed."""
    how = ["-c", CLOCKS] if clock == "cpu" else ["-m", "cannabis_ml"]
    command = [sys.executable, *how, "run", "--params", params]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*command, *(["--env", env] if env else [])],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / 60, cpu / 60, done.stdout


def trial(env: str, photos: Path | None, minutes: float, clock: str) -> None:
    """One run; prints what was promised, chosen, foreseen and taken."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        project.mkdir()
        for name in COPIED:
            (project / name).symlink_to(PROJECT / name)
        (project / "data").mkdir()
        params = f"minutes={minutes:g}" + (f",photos={photos}" if photos else "")
        load = os.getloadavg()[0]
        wall, cpu, printed = run(project, env, params, clock)
        (file,) = project.glob("data/**/chosen_recipe.json/*/chosen_recipe.json")
        chosen = json.loads(file.read_text("utf-8"))
        (scores,) = project.glob("data/**/tier3/test_metrics.json/*/test_metrics.json")
        heads = json.loads(scores.read_text("utf-8"))["heads"]
    off = (cpu if clock == "cpu" else wall) / minutes - 1
    table = printed.rpartition("that were given")[2].split("Where to look")[0]
    print(
        f"\n{photos.name if photos else 'sample photos'}: {minutes:g} minutes given,"
        f" {chosen['forecast_minutes']:.1f} foreseen; taken {wall:.1f} by the clock on the wall,"
        f" {cpu:.1f} of CPU; {clock}: {off:+.0%} of those given;"
        f" load {load:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    print(f"  {chosen['name']}; {chosen['photos']['training']} training photos")
    for tier, how in chosen["tiers"].items():
        phases = ", ".join(f"{p['name']} {p['epochs']}" for p in how["schedule"]["phases"])
        print(f"  {tier}: {how['backbone']} at {how['image_size']} px; {phases}")
    accuracies = {head: found.get("accuracy") for head, found in heads.items()}
    print(f"  accuracy of tier3: {accuracies}\n{table}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="")
    parser.add_argument("--photos", type=Path, help="folder of class folders, as --params photos")
    parser.add_argument("--count", type=int, help="take so many of them")
    parser.add_argument("--minutes", type=float, nargs="+", default=[8, 15])
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    given = parser.parse_args()
    os.environ.update(DO_NOT_TRACK="1")
    if given.clock == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"
    print(machine(LIBRARIES))
    with tempfile.TemporaryDirectory() as folder:
        photos = given.photos and given.photos.absolute()
        if photos and given.count:
            photos = some_photos(photos, given.count, Path(folder, photos.name))
        for minutes in given.minutes:
            trial(given.env, photos, minutes, given.clock)


if __name__ == "__main__":
    main()
