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
from cannabis_ml.config import params_as_typed
from cannabis_ml.errors import CannabisMLError

READABLE = (CannabisMLError, ParameterValidationError)
"""Errors whose message says all that a person needs."""

VERBOSE = click.Option(
    ["--verbose"], is_flag=True, help="Show the traceback of errors that end in a message."
)


RUNNERS = ("sequential_runner", "parallel_runner", "thread_runner")
"""Modules of kedro.runner; each logs under its own name."""

END_SIGNALS = ("SIGTERM", "SIGHUP")
"""What ends a run from outside, beside Ctrl-C: `kill`, a scheduler, a terminal that is closed."""


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


def read_params(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Read `--params` as Kedro does, and remember what was typed: paths are taken from there.

    What YAML cannot read, such as `[old]/photos`, is text.
    """
    if not isinstance(value, str):  # from the file that --config names
        return value
    read: Any = OmegaConf.create()
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
    """Those of `kedro run`, with our `--params`, and `--verbose`."""
    params = copy.copy(_kedros("params"))
    params.callback = read_params
    return [params if option.name == "params" else option for option in kedro_run.params] + [
        VERBOSE
    ]


@cli.command(name="run", params=_options(), help=kedro_run.help)
def run(pipeline: str | None, pipelines: list[str], verbose: bool, **options: Any) -> Any:
    """Run pipelines as Kedro does; see `kedro run --help`."""
    if pipeline and not pipelines:  # Kedro calls --pipeline deprecated; here it stays
        pipelines, pipeline = [pipeline], None
    hint = _ResumeHint()
    if not verbose:
        _say_errors_once(hint)
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


def readable_cause(error: BaseException) -> BaseException | None:
    """Find the error that a person can act on among an exception and its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, READABLE):
            return seen
        # What a data set says itself; what Kedro wraps has a cause.
        if isinstance(seen, DatasetError) and seen.__cause__ is None:
            return seen
        seen = seen.__cause__ or seen.__context__
    full = disk_full(error)
    return None if full is None else no_room(full, _file_of(error))


def _file_of(error: BaseException) -> str | None:
    """The file that Kedro was at, which it names in the error of a data set."""
    found = re.search(r"\b(?:file)?path=(?:\w+\()?'([^']+)'", str(error))
    return found[1] if found else None


class _ResumeHint(logging.Filter):
    """Takes what Kedro says of nodes that have not run, to be said after the error."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold back one record of a runner, or let it pass."""
        said = record.getMessage()
        if said.startswith("No nodes ran"):
            return False
        if "--from-nodes" not in said:
            return True
        self.text = f"To go on from there, repeat the command with {said.splitlines()[-1].strip()}"
        return False


def _end_on_signals() -> None:
    """End as Ctrl-C does; a signal that is ignored, as by `nohup`, stays so."""
    for name in END_SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _end_tracking(status: str) -> None:
    """Tell MLflow how the run ended; left to itself it calls a run that did not end finished."""
    mlflow = sys.modules.get("mlflow")
    # kedro-mlflow opens the same run anew at every node, and MLflow stacks it.
    while mlflow is not None and mlflow.active_run():
        mlflow.end_run(status)


def _say_errors_once(hint: _ResumeHint) -> None:
    """Keep Kedro from logging an error that is shown at the end anyway."""
    for name in ("kedro.pipeline.node", "kedro.validation.parameter_validator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in RUNNERS:
        logging.getLogger(f"kedro.runner.{name}").addFilter(hint)
