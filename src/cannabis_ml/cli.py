"""`kedro run`, with errors that a person can act on instead of a traceback."""

from __future__ import annotations

import copy
import logging
import re
import signal
import sys
from typing import IO, Any

import click
import yaml
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import ParameterValidationError
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cannabis_ml._io.file_names import printable
from cannabis_ml._io.files import disk_full, no_room
from cannabis_ml.cli_assistant import assistant
from cannabis_ml.cli_champion import champion, promote, rollback
from cannabis_ml.cli_feedback import feedback
from cannabis_ml.cli_launch import launch
from cannabis_ml.cli_publish import publish
from cannabis_ml.config import params_as_typed
from cannabis_ml.errors import CannabisMLError

READABLE = (CannabisMLError, ParameterValidationError)
"""Errors that are shown as their message, without a traceback."""

VERBOSE = click.Option(
    ["--verbose"], is_flag=True, help="Show the traceback of errors that end in a message."
)


RUNNERS = ("sequential_runner", "parallel_runner", "thread_runner")
"""Modules of kedro.runner; each logs under its own name."""

NOT_DUE = 3
"""Exit code of `retrain-due` where there is no reason to train anew."""

END_SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals that end a run besides Ctrl-C: from `kill`, a scheduler, a closed terminal."""


class ReadableError(click.ClickException):
    """Ends the command with a message and exit code 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO | None = None) -> None:
        click.secho(f"\nError: {self.message}", fg="red", err=True)
        if self.hint:
            click.echo(self.hint, err=True)
        click.echo("(kedro run --verbose shows where it happened)", err=True)


@click.group(name="cannabis_ml")
def cli() -> None:
    """Commands of this project."""


def read_params(ctx: click.Context, option: click.Parameter, value: object) -> Any:
    """Parse `--params` as Kedro does, and keep the text of each value: paths are read from it.

    A value that is not YAML, such as `[old]/photos`, is text.
    """
    if not isinstance(value, str):  # from the file that --config names
        return value
    read: object = OmegaConf.create()
    typed: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in printable(value).split(","))):
        name, _, text = item.partition("=")
        try:
            params = OmegaConf.create(_kedros("params").callback(ctx, option, item))
        except (yaml.YAMLError, OmegaConfBaseException):
            params = OmegaConf.create()
            OmegaConf.update(params, name.strip(), text)
        read = OmegaConf.merge(read, params)
        typed[name.strip()] = text
    params_as_typed.set(typed)
    return OmegaConf.to_container(read)


def _kedros(name: str) -> Any:
    return next(option for option in kedro_run.params if option.name == name)


def _options() -> list[click.Parameter]:
    """Options of `kedro run`, with our `--params`, and `--verbose`."""
    params = copy.copy(_kedros("params"))
    params.callback = read_params
    return [params if option.name == "params" else option for option in kedro_run.params] + [
        VERBOSE
    ]


@cli.command(name="run", params=_options(), help=kedro_run.help)
def run(pipeline: str | None, pipelines: list[str], verbose: bool, **options: object) -> Any:
    """Run pipelines as Kedro does; see `kedro run --help`."""
    if pipeline and not pipelines:  # deprecated in Kedro; kept here
        pipelines, pipeline = [pipeline], None
    hint = _ResumeHint()
    if not verbose:
        _log_errors_once(hint)
    _end_on_signals()
    try:
        return kedro_run.callback(  # type: ignore[misc]
            pipeline=pipeline, pipelines=pipelines, **options
        )
    except (KeyboardInterrupt, SystemExit):
        _end_tracking("KILLED")
        raise
    except Exception as error:
        _end_tracking("FAILED")
        cause = readable_cause(error)
        if cause is None and hint.text:
            click.echo(hint.text, err=True)
        if cause is None or verbose:
            raise
        raise ReadableError(str(cause), hint.text) from error


@cli.command(name="prune")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    help="How many versions of every entry of the catalog stay in any case.",
)
@click.option("--dry-run", is_flag=True, help="Report what would be freed, and free nothing.")
@click.option("--env", "-e", default=None, help="The environment whose data is pruned.")
def prune(keep: int, dry_run: bool, env: str | None) -> None:
    """Free old versions of tables, photos, models and reports.

    The newest versions stay, and whatever they were made from; so do all of those runs whose models
    are in MLflow's registry.
    """
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    from cannabis_ml.datasets.freeing import unfinished_uploads
    from cannabis_ml.pruning import Versions, registered_runs
    from cannabis_ml.text import counted

    try:
        with KedroSession.create(env=env) as session:
            context = session.load_context()  # type: ignore[attr-defined]
            tracked = getattr(context, "mlflow", None) is not None
            versions = Versions(context.catalog, pipelines["__default__"], pipelines["add_class"])
            plan = versions.plan(keep, registered_runs() if tracked else ())
            uploads = unfinished_uploads(versions.lineage, context.config_loader["globals"]["data"])
            if not dry_run:
                versions.free(plan)
                for file in uploads:
                    file.remove()
    except CannabisMLError as error:
        raise click.ClickException(str(error)) from error
    for name in sorted({*plan.bytes, *plan.freed, *plan.rested_on}):
        freed, stay = len(plan.freed.get(name, [])), len(plan.rested_on.get(name, []))
        of_use = f", {stay} older in use" if stay else ""
        click.echo(f"  {name:<28}{freed:>4} freed{of_use:<18}{plan.bytes.get(name, 0):>16,} bytes")
    if uploads:
        size = sum(uploads.values())
        click.echo(f"  {counted(len(uploads), 'upload')} that never ended: {size:,} bytes")
    total = sum(plan.bytes.values()) + sum(uploads.values())
    count = sum(map(len, plan.freed.values()))
    verb = "Would free" if dry_run else "Freed"
    click.echo(f"{verb} {total:,} bytes: {count:,} versions of {len(plan.freed):,} entries.")


@cli.command(name="retrain-due")
@click.option("--env", "-e", default=None, help="The environment whose decision is asked.")
def retrain_due(env: str | None) -> None:
    """Whether to train anew, by the last run of the feedback pipeline.

    Prints the reasons. Exit codes: 0 train anew, 3 no need to, 1 no decision can be read, 2 the
    command was mistyped. So `kedro run --pipeline=feedback && python -m cannabis_ml retrain-due &&
    kedro run --pipeline=retrain` trains when there is a reason.
    """
    from kedro.framework.session import KedroSession

    try:
        with KedroSession.create(env=env) as session:
            context = session.load_context()  # type: ignore[attr-defined]
            decision = context.catalog.load("retrain_decision")
    except (CannabisMLError, DatasetError) as error:
        raise click.ClickException(
            f"There is no retrain decision ({error}).\nRun `kedro run --pipeline=feedback` first."
        ) from error
    click.echo("Train anew:" if decision.retrain else "No need to train anew:")
    for reason in decision.reasons:
        click.echo(f"  {'!' if reason.fires else '-'} {reason.text}")
    sys.exit(0 if decision.retrain else NOT_DUE)


for command in (promote, rollback, champion, feedback, launch, publish, assistant):
    cli.add_command(command)


def readable_cause(error: BaseException) -> BaseException | None:
    """Find the error that a person can act on among an exception and its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, READABLE):
            return seen
        # Raised by a data set itself; what Kedro wraps has a cause.
        if isinstance(seen, DatasetError) and seen.__cause__ is None:
            return seen
        seen = seen.__cause__ or seen.__context__
    full = disk_full(error)
    return None if full is None else no_room(full, _file_of(error))


def _file_of(error: BaseException) -> str | None:
    """Path of the file in Kedro's error of a data set; None if it names none."""
    match = re.search(r"\b(?:file)?path=(?:\w+\()?'([^']+)'", str(error))
    return match[1] if match else None


class _ResumeHint(logging.Filter):
    """Holds Kedro's message on how to resume back until the error has been shown."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop, or keep for later, the records on resuming; let all others pass."""
        message = record.getMessage()
        if message.startswith("No nodes ran"):
            return False
        if "--from-nodes" not in message:
            return True
        option = message.splitlines()[-1].strip()
        self.text = f"To resume from there, repeat the command with {option}"
        return False


def _end_on_signals() -> None:
    """End on these signals as on Ctrl-C; ignored ones, such as under `nohup`, stay ignored."""
    for name in END_SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _end_tracking(status: str) -> None:
    """Set the status of the MLflow run, which would otherwise be FINISHED, and of one in W&B."""
    mlflow = sys.modules.get("mlflow")
    # kedro-mlflow reopens the run at every node, and MLflow stacks it.
    while mlflow is not None and mlflow.active_run():
        mlflow.end_run(status)
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        from cannabis_ml.wandb_hook import FAILED, KILLED

        wandb.run.finish(exit_code=KILLED if status == "KILLED" else FAILED)


def _log_errors_once(hint: _ResumeHint) -> None:
    """Keep Kedro from logging an error that is shown at the end."""
    for name in ("kedro.pipeline.node", "kedro.validation.parameter_validator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in RUNNERS:
        logging.getLogger(f"kedro.runner.{name}").addFilter(hint)
