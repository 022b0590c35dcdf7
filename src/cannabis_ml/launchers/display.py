"""What `cannabis_ml launch` shows in the terminal."""

from __future__ import annotations

import sys

import click

from cannabis_ml.launchers.backend import JobState
from cannabis_ml.launchers.estimate import Estimate, duration
from cannabis_ml.launchers.job import PROGRESS, Job


def show_estimate(job: Job, cost: Estimate) -> None:
    """Tell time and price of a job, and where prices come from."""
    if cost.measured:
        click.echo(f"About {duration(cost.seconds)} on {cost.what}.")
    else:
        click.echo(
            f"How fast {job.backend} is was not measured (launch {job.backend} --probe): at most"
            f" {duration(cost.seconds)} on {cost.what}."
        )
    if cost.usd_per_hour:
        word = "About" if cost.measured else "At most"
        click.echo(
            f"{word} ${cost.usd:.2f}: machine ${cost.machine_usd:.2f} at"
            f" ${cost.usd_per_hour:.2f} an hour, storage ${cost.storage_usd:.2f}, transfer"
            f" ${cost.transfer_usd:.2f}.\nPrices: {cost.source}."
        )
    if job.limit_usd is not None and cost.usd_per_hour:
        click.echo(f"It stops itself before ${job.limit_usd:.2f}.")


class ProgressLine:
    """Shows lines; the state of a progress bar in one line that is written over."""

    def __init__(self) -> None:
        self._width = 0
        self._on_screen = sys.stdout.isatty()

    def show(self, line: str) -> None:
        """Print a line, or replace the state of the progress bar."""
        is_bar = line.startswith(PROGRESS)
        if is_bar and not self._on_screen:
            return
        self.end()
        if is_bar:
            text = line.removeprefix(PROGRESS)[:200]
            self._width = len(text)
            click.echo(text, nl=False)
        else:
            click.echo(line)

    def end(self) -> None:
        """Remove the progress bar."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False)
            self._width = 0


def in_a_line(state: JobState) -> str:
    """`running, attempt 2 (message)`."""
    more = f" ({state.message})" if state.message else ""
    attempt = f", attempt {state.attempt}" if state.attempt > 1 else ""
    return f"{state.phase}{attempt}{more}"
