"""`kedro run`, with errors that a person can act on instead of a traceback."""

from __future__ import annotations

import logging
import traceback
from typing import IO, Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.validation import ParameterValidationError

from cannabis_ml.errors import CannabisMLError

READABLE = (CannabisMLError, ParameterValidationError)
"""Errors whose message says all that a person needs."""


class ReadableError(click.ClickException):
    """Shows the message alone, and the traceback under `kedro --verbose`."""

    def show(self, file: IO | None = None) -> None:
        if KedroCliError.VERBOSE_ERROR:
            click.secho(traceback.format_exc(), nl=False, fg="yellow", err=True)
            return
        click.secho(f"\nError: {self.message}", fg="red", err=True)
        click.echo("(kedro --verbose run … shows where it happened)", err=True)


@click.group(name="cannabis_ml")
def cli() -> None:
    """Commands of this project."""


@cli.command(name="run", params=kedro_run.params, help=kedro_run.help)
def run(pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
    """Run pipelines as Kedro does; see `kedro run --help`."""
    if pipeline and not pipelines:  # Kedro calls --pipeline deprecated; here it stays
        pipelines, pipeline = [pipeline], None
    if not KedroCliError.VERBOSE_ERROR:
        _say_errors_once()
    try:
        return kedro_run.callback(  # type: ignore[misc]
            pipeline=pipeline, pipelines=pipelines, **options
        )
    except Exception as error:
        cause = readable_cause(error)
        if cause is None:
            raise
        raise ReadableError(f"{cause}") from error


def readable_cause(error: BaseException) -> BaseException | None:
    """Find the error that a person can act on among an exception and its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, READABLE):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _say_errors_once() -> None:
    """Keep Kedro from logging an error that is shown at the end anyway."""
    for name in ("kedro.pipeline.node", "kedro.validation.parameter_validator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
