"""`cannabis_ml launch`: run a command on another machine, and bring its results home."""

from __future__ import annotations

import re
import secrets as random_names
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cannabis_ml.errors import CannabisMLError
from cannabis_ml.launchers.backends import BACKENDS

if TYPE_CHECKING:
    from cannabis_ml.launchers.backend import Backend
    from cannabis_ml.launchers.estimate import Estimate
    from cannabis_ml.launchers.job import Job
    from cannabis_ml.launchers.prices import PriceTable
    from cannabis_ml.launchers.records import Record, Records
    from cannabis_ml.launchers.results import Installed
    from cannabis_ml.launchers.settings import LauncherSettings
    from cannabis_ml.launchers.throughput import Plan, Throughput

PROBE = ("launch", "probe")
"""Begins the command of a job that measures how fast its machine is."""

PROBE_MINUTES = 40.0
"""Longest that such a job may take without --minutes; most of it is to install packages."""

FAILED = 1
"""Exit code where the job did not succeed."""


@click.group(name="launch")
def launch() -> None:
    """Run a command on another machine: `launch modal -- run --pipeline=train`.

    JOB is the name of a job, or `last`.
    """


@launch.command(name="list")
def list_jobs() -> None:
    """List the jobs that were started from this folder, the newest last."""
    with _readable():
        for record in _records():
            job, progress = record.job, record.progress
            phase = progress.state.phase if progress.state else "not started"
            cost = _cost(record)
            click.echo(
                f"{record.name:<28}{progress.created:%Y-%m-%d %H:%M}  {job.backend:<12}{phase:<11}"
                f"{cost:<14}{' '.join(job.command)}"
            )


@launch.command(name="status")
@click.argument("job")
def status(job: str) -> None:
    """Ask how far a job is."""
    with _readable():
        from cannabis_ml.launchers.display import in_a_line
        from cannabis_ml.launchers.launching import look

        record = _records().find(job)
        state = look(record, _backend_of(record))
        click.echo(f"{record.name}: {in_a_line(state)}")


@launch.command(name="attach")
@click.argument("job")
def attach(job: str) -> None:
    """Show a job's output from where it broke off, and fetch its results at the end."""
    with _readable():
        from cannabis_ml.launchers.secrets import available_secrets

        record = _records().find(job)
        secrets = available_secrets(record.job.secrets, Path.cwd())
        sys.exit(_to_the_end(record, _backend_of(record), secrets))


@launch.command(name="cancel")
@click.argument("job")
def cancel(job: str) -> None:
    """End a job; what it has until then can be fetched."""
    with _readable():
        from cannabis_ml.launchers.launching import remote_of

        record = _records().find(job)
        _backend_of(record).cancel(remote_of(record))
        click.echo(f"{record.name} is told to end. Its results so far: launch fetch {record.name}")


@launch.command(name="fetch")
@click.argument("job")
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder with results.tar.gz and result.json, as another tool has brought them.",
)
def fetch(job: str, folder: Path | None) -> None:
    """Bring a job's results into data/ and its runs into MLflow."""
    with _readable():
        from cannabis_ml.launchers.packed import PackedBackend

        record = _records().find(job)
        _fetch(record, PackedBackend(folder) if folder else _backend_of(record))


@launch.command(name="pack")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@click.option("--name", required=True, help="Of the job: to begin it again resumes.")
@click.option("--env", "-e", default=None, help="Environment of the run, and of launcher.yml.")
@click.option("--limit", type=float, default=None, help="Most that it may cost, in US dollars.")
@click.option("--hourly", type=float, default=None, help="Most that an hour of the machine costs.")
@click.option("--minutes", type=float, default=None, help="Longest that it may take.")
def pack(file: Path, command: tuple[str, ...], **options: Any) -> None:
    """Write a job into a FILE for another tool, such as SkyPilot (deploy/sky.yaml)."""
    with _readable():
        _pack(file, command, **options)


@launch.command(name="probe", hidden=True)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def probe(command: tuple[str, ...]) -> None:
    """Measure this machine, in a job of `launch BACKEND --probe`; the results are fetched."""
    with _readable():
        from cannabis_ml.launchers.probe import probe_in_process
        from cannabis_ml.launchers.probing import write_throughput

        write_throughput(Path.cwd() / "data", probe_in_process(command, Path.cwd()))


@dataclass(frozen=True)
class Typed:
    """Options of `launch BACKEND`."""

    env: str | None
    name: str | None
    limit: float | None
    minutes: float | None
    gpu: str | None
    spot: bool
    only_estimate: bool
    probe: bool
    photos: int | None
    yes: bool
    detach: bool

    def changes(self) -> dict[str, object]:
        """What differs from launcher.yml."""
        typed = {"limit_usd": self.limit, "minutes": self.minutes, "gpu": self.gpu}
        changes: dict[str, object] = {k: v for k, v in typed.items() if v is not None}
        return changes | ({"spot": True} if self.spot else {})


def _backend_command(name: str) -> click.Command:
    @click.command(name=name, help=f"Run a command with {name}, such as -- run --pipeline=train")
    @click.option("--env", "-e", default=None, help="Environment of the run, and of launcher.yml.")
    @click.option("--name", default=None, help="Of the job; without it, one is made up.")
    @click.option("--limit", type=float, default=None, help="Most that it may cost, in US dollars.")
    @click.option("--minutes", type=float, default=None, help="Longest that it may take.")
    @click.option("--gpu", default=None, help="Kind of GPU, such as T4.")
    @click.option("--spot", is_flag=True, help="A cheaper machine that may be taken away.")
    @click.option("--estimate", "only_estimate", is_flag=True, help="Only what it would cost.")
    @click.option("--probe", is_flag=True, help="Measure there, in a short job, how fast it is.")
    @click.option("--photos", type=click.IntRange(1), default=None, help="Photos to estimate for.")
    @click.option("--yes", "-y", is_flag=True, help="Start without asking.")
    @click.option("--detach", is_flag=True, help="Start it, and do not wait.")
    @click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
    def run(command: tuple[str, ...], **options: Any) -> None:
        with _readable():
            sys.exit(_launch(name, command, Typed(**options)))

    return run


for _name in BACKENDS:
    launch.add_command(_backend_command(_name))


def _launch(name: str, command: tuple[str, ...], typed: Typed) -> int:
    from cannabis_ml.launchers.backend import open_backend
    from cannabis_ml.launchers.configuration import configuration
    from cannabis_ml.launchers.display import show_estimate
    from cannabis_ml.launchers.launching import start
    from cannabis_ml.launchers.package import commit_of, files_left_out
    from cannabis_ml.launchers.records import Progress
    from cannabis_ml.launchers.secrets import read_secrets

    project = Path.cwd()
    settings, table = configuration(typed.env)
    command = _in_environment(command, typed.env)
    if typed.probe:
        if name == "local":
            return _probe_here(settings.job(_made_up(name), name, command, typed.changes()))
        command = (*PROBE, "--", *command)
    changes = ({"minutes": PROBE_MINUTES} if typed.probe else {}) | typed.changes()
    job = settings.job(typed.name or _made_up(name), name, command, changes)
    backend = open_backend(name, job.options)
    cost = _estimate(job, backend, settings, table, typed)
    show_estimate(job, cost)
    cost.check(job)
    if typed.only_estimate:
        return 0
    job = job.model_copy(update={"usd_per_hour": cost.usd_per_hour or None})
    left_out = files_left_out(project)
    if left_out:
        click.echo(f"Not in git, so not sent: {', '.join(left_out[:5])}", err=True)
    backend.check(job)
    secrets = read_secrets(job.secrets, project)
    if not typed.yes:
        click.confirm("Start it?", abort=True)
    measured = None if typed.probe else cost
    record = _records().create(job, Progress(estimate=measured, commit=commit_of(project)))
    start(record, project, backend, secrets)
    click.echo(f"Started {record.name}. This terminal may be closed: launch attach {record.name}")
    if typed.detach:
        return 0
    return _to_the_end(record, backend, secrets)


def _pack(
    file: Path,
    command: tuple[str, ...],
    name: str,
    env: str | None,
    limit: float | None,
    hourly: float | None,
    minutes: float | None,
) -> None:
    from cannabis_ml.launchers.backend import LaunchError
    from cannabis_ml.launchers.configuration import configuration
    from cannabis_ml.launchers.package import commit_of
    from cannabis_ml.launchers.package import pack as pack_project
    from cannabis_ml.launchers.packed import PACKED
    from cannabis_ml.launchers.records import Progress

    project = Path.cwd()
    settings, _ = configuration(env)
    typed = {"limit_usd": limit, "usd_per_hour": hourly, "minutes": minutes}
    changes = {key: value for key, value in typed.items() if value is not None}
    job = settings.job(name, PACKED, _in_environment(command, env), changes)
    if job.limit_usd is not None and job.usd_per_hour is None:
        raise LaunchError("A limit of dollars needs the most that an hour costs: --hourly.")
    file.parent.mkdir(parents=True, exist_ok=True)
    pack_project(project, job, file)
    _records().create(job, Progress(remote=name, commit=commit_of(project)))
    click.echo(f"{file} has {name}. Its results: launch fetch {name} --from FOLDER")


def _estimate(
    job: Job, backend: Backend, settings: LauncherSettings, table: PriceTable, typed: Typed
) -> Estimate:
    from cannabis_ml.launchers.estimate import estimate
    from cannabis_ml.launchers.probing import known_throughput

    measured = None if typed.probe else known_throughput(_launches(), job)
    seconds = None
    if measured is not None:
        run = measured.seconds(_plan(measured, typed))
        seconds = run + (0 if job.backend == "local" else settings.setup_minutes * 60)
    return estimate(job, seconds, table, backend.price(job.machine), settings.sizes)


def _plan(measured: Throughput, typed: Typed) -> Plan:
    """The run that the configuration describes now: it may have changed since the probe."""
    from cannabis_ml.launchers.backend import LaunchError
    from cannabis_ml.launchers.configuration import config_loader
    from cannabis_ml.launchers.probe import planned_epochs
    from cannabis_ml.launchers.throughput import Plan
    from cannabis_ml.training.schedule import Schedule

    photos = typed.photos or measured.photos
    params = config_loader(typed.env)["parameters"]
    epochs, sizes = {}, {}
    for tier, rate in measured.tiers.items():
        schedule = Schedule.model_validate(params[tier]["schedule"])
        phases = planned_epochs(schedule, photos, params["training"]["batch_size"])
        if set(phases) != set(rate.phases):
            raise LaunchError(
                f"The phases of {tier} were {', '.join(rate.phases)} when it was measured, and are"
                f" {', '.join(phases)}: measure again with --probe."
            )
        epochs[tier] = phases
        sizes[tier] = params[tier]["model"]["image_size"]
    return Plan(photos=photos, epochs=epochs, image_size=sizes)


def _probe_here(job: Job) -> int:
    from cannabis_ml.launchers.estimate import duration
    from cannabis_ml.launchers.probe import probe_in_process
    from cannabis_ml.launchers.probing import keep_throughput

    measured = probe_in_process(job.command, Path.cwd())
    keep_throughput(_launches(), job, measured)
    click.echo(f"{duration(measured.seconds())} here with {measured.photos:,} photos.")
    return 0


def _to_the_end(record: Record, backend: Backend, secrets: Any = None) -> int:
    """Show the output, fetch the results; the exit code."""
    from cannabis_ml.launchers.display import ProgressLine, in_a_line
    from cannabis_ml.launchers.launching import follow

    bar = ProgressLine()
    try:
        state = follow(record, backend, bar.show, secrets)
    except KeyboardInterrupt:
        bar.end()
        click.echo(f"\nThe job goes on: launch attach {record.name}, launch cancel {record.name}")
        return 130
    bar.end()
    click.echo(f"{record.name}: {in_a_line(state)}")
    _fetch(record, backend)
    return 0 if state.phase == "succeeded" else FAILED


def _fetch(record: Record, backend: Backend) -> None:
    from cannabis_ml.launchers.configuration import tracking_store
    from cannabis_ml.launchers.launching import collect

    result, installed, runs = collect(record, backend, Path.cwd() / "data", tracking_store())
    stopped = {"time": "its time was over", "limit": "its limit was reached"}
    if result.stopped in stopped:
        click.echo(f"It stopped itself: {stopped[result.stopped]}.")
    click.echo(
        f"{len(installed.new):,} results are in data/, {len(installed.kept):,} were there already."
    )
    if installed.aside:
        click.echo(
            f"{len(installed.aside):,} differ from what is in data/, which stays; see"
            f" {record.folder / 'results'}."
        )
    _keep_probe(record, installed)
    for run in runs:
        click.echo(f"MLflow has the run {run}.")
    click.echo(_cost(record).strip() or "It cost nothing.")


def _keep_probe(record: Record, installed: Installed) -> None:
    """Keep what a job measured, for estimates."""
    from cannabis_ml.launchers.probing import keep_throughput, read_throughput

    job = record.job
    measured = read_throughput(Path.cwd() / "data", installed) if job.command[:2] == PROBE else None
    if measured is not None:
        keep_throughput(_launches(), job.model_copy(update={"command": job.command[3:]}), measured)
        click.echo(f"Measured on {measured.machine}: --estimate goes by that from now on.")


def _cost(record: Record) -> str:
    progress = record.progress
    if progress.result is not None and progress.result.cost_usd is not None:
        told = f"${progress.result.cost_usd:.2f}"
        estimate = progress.estimate
        return f"{told} (${estimate.usd:.2f})" if estimate and estimate.measured else told
    return ""


def _in_environment(command: tuple[str, ...], env: str | None) -> tuple[str, ...]:
    """The command with `--env`, unless it has one."""
    if env is None or command[0] != "run" or re.search(r"(^| )(-e|--env)\b", " ".join(command)):
        return command
    return ("run", "--env", env, *command[1:])


def _made_up(backend: str) -> str:
    return f"{backend}-{datetime.now(UTC):%m%d-%H%M}-{random_names.token_hex(2)}"


def _launches() -> Path:
    return Path.cwd() / "data/09_tracking/launches"


def _records() -> Records:
    from cannabis_ml.launchers.records import Records

    return Records(_launches())


def _backend_of(record: Record) -> Backend:
    from cannabis_ml.launchers.backend import open_backend
    from cannabis_ml.launchers.packed import PACKED, PackedBackend

    job = record.job
    return PackedBackend() if job.backend == PACKED else open_backend(job.backend, job.options)


@contextmanager
def _readable() -> Iterator[None]:
    """Errors that a person can act on end in their message."""
    try:
        yield
    except CannabisMLError as error:
        raise click.ClickException(str(error)) from error
