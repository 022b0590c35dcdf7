"""`kedro run`, with errors that a person can act on instead of a traceback."""

from __future__ import annotations

import logging
import signal
import sys
from typing import IO, Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import ParameterValidationError

from cannabis_ml.errors import CannabisMLError

READABLE = (CannabisMLError, ParameterValidationError)
"""Errors whose message says all that a person needs."""

VERBOSE = click.Option(
    ["--verbose"], is_flag=True, help="Show the traceback of errors that end in a message."
)


class ReadableError(click.ClickException):
    """Ends the command with a message and exit code 1."""

    def show(self, file: IO | None = None) -> None:
        click.secho(f"\nError: {self.message}", fg="red", err=True)
        click.echo("(kedro run --verbose shows where it happened)", err=True)


@click.group(name="cannabis_ml")
def cli() -> None:
    """Commands of this project."""


@cli.command(name="run", params=[*kedro_run.params, VERBOSE], help=kedro_run.help)
def run(pipeline: str | None, pipelines: list[str], verbose: bool, **options: Any) -> Any:
    """Run pipelines as Kedro does; see `kedro run --help`."""
    if pipeline and not pipelines:  # Kedro calls --pipeline deprecated; here it stays
        pipelines, pipeline = [pipeline], None
    if not verbose:
        _say_errors_once()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return kedro_run.callback(  # type: ignore[misc]
            pipeline=pipeline, pipelines=pipelines, **options
        )
    except (KeyboardInterrupt, SystemExit):
        _end_tracking("KILLED")
        raise
    except Exception as error:
        cause = readable_cause(error)
        if cause is None or verbose:
            raise
        raise ReadableError(str(cause)) from error


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
    return None


def _end_tracking(status: str) -> None:
    """Tell MLflow how the run ended; left to itself it calls an interrupted run finished."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.active_run():
        mlflow.end_run(status)


def _say_errors_once() -> None:
    """Keep Kedro from logging an error that is shown at the end anyway."""
    for name in ("kedro.pipeline.node", "kedro.validation.parameter_validator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
