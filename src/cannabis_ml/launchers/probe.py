"""Measure how long a command takes: the same command on a few photos, with few epochs.

`python -m cannabis_ml.launchers.probe OUTPUT STARTED -- run …` runs in a process of its own, in the
project. Its data lies in a temporary folder; photos of the source are read where they are.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.framework.hooks import hook_impl

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.throughput import Line, Throughput, TierRate

if TYPE_CHECKING:
    import pandas as pd
    from kedro.pipeline.node import Node

    from cannabis_ml.training.schedule import Schedule

FEW, MANY = 48, 144
"""Photos of the source in the two probes; their difference gives the time per photo."""

EPOCHS = 2
"""Of every phase in a probe; the second tells what one more would take."""

SMALLER = 0.7
"""Side of photos in the last probe over that of the configuration."""

TRAINING_SHARE = 0.7
"""Of the photos of the source that are trained on, about."""

SOURCE = "source_photos"


@dataclass
class Measured:
    """One probe.

    Attributes:
        photos: How many it had.
        seconds: Of each node with reading and writing, by name.
        epochs: Seconds of the last epoch, by tier and phase: the first takes longer.
        ran: How many epochs there were, by tier and phase.
        schedules: Epochs of the configuration, by tier and phase.
        sizes: Side of photos in pixels, by tier.
    """

    photos: int
    seconds: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, dict[str, float]] = field(default_factory=dict)
    ran: dict[str, dict[str, int]] = field(default_factory=dict)
    schedules: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


class ProbeHook:
    """Lets a run have few photos and few epochs, and notes how long its nodes take.

    Args:
        photos: How many of the source.
        smaller: Whether networks get smaller photos.
        clock: Seconds; `time.process_time` where other programs disturb.
    """

    def __init__(
        self, photos: int, clock: Callable[[], float] = time.perf_counter, smaller: bool = False
    ) -> None:
        self._smaller = smaller
        self.measured = Measured(photos)
        self.found = 0
        self._clock, self._node, self._last = clock, "", 0.0
        self._wall = 0.0

    @hook_impl
    def before_pipeline_run(self) -> None:
        self._last = self._clock()

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
        """Replace inputs: fewer photos, fewer epochs."""
        self._next(node.name)
        self._wall = time.perf_counter()
        changed: dict[str, Any] = {}
        for name, value in inputs.items():
            tier, _, what = name.removeprefix("params:").rpartition(".")
            if name == SOURCE:
                self.found = len(value)
                changed[name] = _some(value, self.measured.photos)
            elif not name.startswith("params:"):
                continue  # made of parameters that were replaced before
            elif what == "schedule":
                self.measured.schedules[tier] = planned_epochs(value, self.found)
                short = [
                    p.model_copy(update={"epochs": min(EPOCHS, p.epochs), "fewest_steps": 0})
                    for p in value.phases
                ]
                changed[name] = value.model_copy(update={"phases": short})
            elif what == "model" and hasattr(value, "image_size"):
                side = smaller_side(value.image_size) if self._smaller else value.image_size
                self.measured.sizes[tier] = side
                changed[name] = value.model_copy(update={"image_size": side})
        return changed

    @hook_impl
    def after_node_run(self, outputs: dict[str, Any]) -> None:
        """Note the seconds of epochs, on the clock of the probe."""
        taken = self._clock() - self._last
        share = taken / max(1e-9, time.perf_counter() - self._wall)
        for name, value in outputs.items():
            tier, _, what = name.rpartition(".")
            if what == "training_history":
                rows = value.groupby("phase")["seconds"]
                self.measured.ran[tier] = {str(name): int(n) for name, n in rows.count().items()}
                self.measured.epochs[tier] = {
                    str(name): float(last) * min(1.0, share) for name, last in rows.last().items()
                }

    @hook_impl
    def after_dataset_saved(self) -> None:
        self._next(self._node)

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._next(self._node)

    def _next(self, node: str) -> None:
        """Count the time since the last event for the node that runs, or starts now."""
        now = self._clock()
        self._node = node
        seconds = self.measured.seconds
        seconds[node] = seconds.get(node, 0.0) + now - self._last
        self._last = now


def measure(
    command: tuple[str, ...],
    project: Path,
    started: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Run the command four times with few photos.

    The first has what only a first run takes; two numbers of photos tell fixed time from time per
    photo, and smaller photos tell what of that grows with their area.

    Args:
        command: `run` and options of `kedro run`.
        project: Root of the project.
        started: What `clock` showed when the process was started.
        clock: Seconds.

    Raises:
        LaunchError: It is not `run`, or the few photos are not enough for it.
    """
    options = _options(command)
    with _aside(project, options.env) as conf:
        first = _probe(options, project, conf, ProbeHook(FEW, clock))
        until = clock()
        photos = first.found
        many = min(MANY, photos)
        few = _probe(options, project, conf, ProbeHook(many // 2, clock)).measured
        more = _probe(options, project, conf, ProbeHook(many, clock)).measured
        small = _probe(options, project, conf, ProbeHook(many, clock, smaller=True)).measured
    nodes = {name: _line(few, more, name) for name in more.seconds}
    tiers = {}
    for tier in more.epochs:
        node = next(name for name in nodes if name.startswith(f"training.{tier}.train_"))
        tiers[tier] = _tier_rate(few, more, small, tier, node)
        del nodes[node]
    sized = {}
    for tier in tiers:
        name = f"training.{tier}.predict_photos"
        if name in nodes:
            sized[name] = tier
            seconds = (more.seconds[name], small.seconds[name])
            nodes[name] = _sized(nodes[name], seconds, more, small, tier)
    steady = sum(_line(few, more, name).at(first.measured.photos) for name in more.seconds)
    return Throughput(
        machine=f"{platform.processor() or platform.machine()}, {platform.node()}",
        command=command,
        photos=photos,
        start=max(0.0, until - started - steady),
        nodes=nodes,
        tiers=tiers,
        sized=sized,
    )


def probe_in_process(command: tuple[str, ...], project: Path) -> Throughput:
    """`measure` in a process of its own, so that its start counts too.

    Raises:
        LaunchError: The command fails with few photos; shows the end of what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "throughput.json")
        arguments = [str(output), str(time.time()), "--", *command]
        done = subprocess.run(
            [sys.executable, "-m", "cannabis_ml.launchers.probe", *arguments],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LaunchError(
                f"The command cannot be measured with {FEW} to {MANY} photos:\n"
                f"{done.stdout[-2000:]}"
            )
        measured = Throughput.model_validate_json(output.read_bytes())
        # Libraries take seconds to leave a process, after all is written.
        leaving = max(0.0, time.time() - output.stat().st_mtime)
        return measured.model_copy(update={"start": measured.start + leaving})


@dataclass(frozen=True)
class _Options:
    env: str | None
    params: dict[str, Any]
    run: dict[str, Any]


def _options(command: tuple[str, ...]) -> _Options:
    from kedro.framework.cli.project import run

    if not command or command[0] != "run":
        raise LaunchError("Only `run` can be measured: launch … -- run --pipeline=train")
    given = run.make_context("run", list(command[1:])).params
    pipelines = given["pipelines"] or ([given["pipeline"]] if given["pipeline"] else None)
    names = ("tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs")
    chosen = {name: given[name] or None for name in (*names, "namespaces")}
    return _Options(given["env"], given["params"] or {}, {"pipeline_names": pipelines, **chosen})


def _probe(options: _Options, project: Path, conf: Path, hook: ProbeHook) -> ProbeHook:
    from kedro.framework.session import KedroSession

    with KedroSession.create(
        project_path=project,
        env=options.env,
        conf_source=str(conf),
        runtime_params=options.params,
        save_on_close=False,
    ) as session:
        session._hook_manager.register(hook)  # type: ignore[attr-defined]
        session.run(**options.run)
    return hook


@contextmanager
def _aside(project: Path, env: str | None) -> Iterator[Path]:
    """A copy of the configuration whose data lies in a temporary folder; photos stay in place."""
    from kedro.framework.project import settings

    arguments = settings.CONFIG_LOADER_ARGS
    loader = settings.CONFIG_LOADER_CLASS(str(project / "conf"), env=env, **arguments)
    root = loader["globals"]["data"]
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        conf, data = Path(folder, "conf"), Path(folder, "data")
        shutil.copytree(project / "conf", conf)
        raw = project / root / "01_raw"
        raw.mkdir(parents=True, exist_ok=True)
        data.mkdir()
        (data / "01_raw").symlink_to(raw.absolute(), target_is_directory=True)
        own = conf / (env or arguments["default_run_env"])
        own.mkdir(exist_ok=True)
        _change(own / "globals.yml", conf / "base/globals.yml", "data", str(data))
        mlflow = yaml.safe_load((conf / "base/mlflow.yml").read_text("utf-8"))
        mlflow["server"]["mlflow_tracking_uri"] = f"sqlite:///{data}/mlflow.db"
        kept = mlflow["tracking"]["experiment"]["create_experiment_kwargs"]
        kept["artifact_location"] = f"{data}/artifacts"
        for file in conf.glob("*/mlflow.yml"):
            file.write_text(yaml.safe_dump(mlflow), encoding="utf-8")
        yield conf


def _change(file: Path, otherwise: Path, key: str, value: str) -> None:
    read = yaml.safe_load((file if file.is_file() else otherwise).read_text("utf-8")) or {}
    file.write_text(yaml.safe_dump({**read, key: value}), encoding="utf-8")


def _some(photos: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows, evenly spread, so that every class keeps its share."""
    if len(photos) <= count:
        return photos
    rows = [round(i * (len(photos) - 1) / (count - 1)) for i in range(count)]
    return photos.iloc[rows].reset_index(drop=True)


def planned_epochs(schedule: Schedule, photos: int, batch_size: int = 32) -> dict[str, int]:
    """Epochs of each phase with so many photos of the source, `fewest_steps` considered.

    Args:
        schedule: As configured.
        photos: 0: not known; epochs are as configured.
        batch_size: Where the schedule has none.
    """
    if photos:
        shown = max(1, round(TRAINING_SHARE * photos))
        schedule = schedule.for_photos(shown, batch_size)
    return {phase.name: phase.epochs for phase in schedule.phases}


def smaller_side(side: int) -> int:
    """Side of the smaller photos, a multiple of 16, which networks like."""
    return max(32, round(side * SMALLER / 16) * 16)


def _tier_rate(few: Measured, more: Measured, small: Measured, tier: str, node: str) -> TierRate:
    """What training a tier takes, of the node that does it."""
    phases = {}
    for phase, seconds in more.epochs[tier].items():
        line = Line.through((few.photos, few.epochs[tier][phase]), (more.photos, seconds))
        phases[phase] = _sized(line, (seconds, small.epochs[tier][phase]), more, small, tier)
    rest = [
        m.seconds[node] - sum(m.ran[tier][phase] * last for phase, last in m.epochs[tier].items())
        for m in (few, more, small)
    ]
    besides = Line.through((few.photos, rest[0]), (more.photos, rest[1]))
    return TierRate(
        image_size=more.sizes[tier],
        phases=phases,
        epochs=more.schedules[tier],
        besides=_sized(besides, (rest[1], rest[2]), more, small, tier),
    )


def _sized(
    line: Line, seconds: tuple[float, float], more: Measured, small: Measured, tier: str
) -> Line:
    """The line, told from the seconds of the smaller photos what grows with the area."""
    area = (small.sizes[tier] / more.sizes[tier]) ** 2
    return line if area >= 1 else line.split(*seconds, more.photos, area)


def _line(few: Measured, many: Measured, node: str) -> Line:
    pair = [(m.photos, m.seconds.get(node, 0.0)) for m in (few, many)]
    return Line.through(pair[0], pair[1])


def main() -> None:
    """`OUTPUT STARTED -- run …`; see the module."""
    from kedro.framework.project import configure_project

    output, started, _, *command = sys.argv[1:]
    configure_project("cannabis_ml")
    waited = time.time() - float(started)
    measured = measure(tuple(command), Path.cwd(), time.perf_counter() - waited)
    with written_aside(Path(output)) as aside:
        aside.write_text(measured.model_dump_json(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
