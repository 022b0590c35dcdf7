"""One run of a command: the estimate, its confirmation, the answers, and what they cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cannabis_ml.cli_assistant.costs import log_unlogged
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.errors import CannabisMLError, ConfigError
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from cannabis_ml.assistant.asking import Item, RunResult
    from cannabis_ml.assistant.ledger import Doubt
    from cannabis_ml.assistant.runner import Estimate, Runner

YES = click.option("--yes", is_flag=True, help="Do not ask whether the estimate is all right.")

SOME_LEFT = 1
"""Exit status of a run that did not answer everything."""


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Errors that a person can act on end the command with their message."""
    try:
        yield
    except CannabisMLError as error:
        raise click.ClickException(str(error)) from error


@dataclass
class Task:
    """A command that asks.

    Attributes:
        project: Gives parameters, and takes the record of the run.
        name: Of the task.
        yes: Whether the estimate is confirmed already.
    """

    project: Project
    name: str
    yes: bool

    def open(self) -> Runner:
        """Who asks.

        Raises:
            ConfigError: Without a key, in one sentence what to set.
        """
        from cannabis_ml.assistant.opening import open_runner

        return open_runner(self.project.params)

    def ask(self, runner: Runner, items: Sequence[Item]) -> RunResult:
        """Show the estimate, have it confirmed, ask, and log the run in MLflow.

        Raises:
            click.Abort: If it is not confirmed.
        """
        estimate = runner.estimate(items)
        for line in doubts_in_words(estimate.doubts, items):
            click.echo(line, err=True)
        click.echo(in_words(estimate, runner))
        if estimate.questions and not self.yes:
            click.confirm("Send them?", abort=True)
        try:
            with self._alone(runner):
                result = runner.run(items)
        except BaseException:  # such as Ctrl-C: what was spent is logged all the same
            if runner.asked_now or runner.budget.spent:
                self._log(runner, items, {})
            raise
        self._log(runner, items, _counts(result))
        log_unlogged(self.project, runner.ledger)
        _show(result)
        return result

    @contextlib.contextmanager
    def _alone(self, runner: Runner) -> Iterator[None]:
        """Hold the folder of answers: two runs at a time could pay for the same question.

        Raises:
            ConfigError: If another run holds it.
        """
        from filelock import FileLock, Timeout

        folder = runner.cache.folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "run.lock", timeout=0):
                yield
        except Timeout as error:
            raise ConfigError(
                f"Another run of the assistant is under way in {folder}: wait for its end, or give"
                " this one another assistant.folder."
            ) from error

    def log_scores(self, scores: dict[str, float]) -> None:
        """Log what was measured, as a run of its own in MLflow."""
        self.project.log_run(f"{self.name} scores", {}, scores)

    def _log(self, runner: Runner, items: Sequence[Item], counts: dict[str, float]) -> None:
        """Log model, prompt, tokens and cost in MLflow."""
        params = {
            "assistant.model": runner.provider.model,
            "assistant.address": runner.provider.address,
            "assistant.prompt": items[0].prompt.name if items else "",
            "assistant.price": runner.price.source,
        }
        cost = {
            "assistant.questions": len(items),
            "assistant.input_tokens": runner.usage.input_tokens,
            "assistant.output_tokens": runner.usage.output_tokens,
            "assistant.usd": runner.budget.spent,
            # With what earlier runs paid, also such as were killed before they could log it.
            "assistant.usd_of_all_replies": sum(map(runner.paid, items)),
        }
        self.project.log_run(self.name, params, cost | counts)
        runner.ledger.mark_logged([runner.ledger.run])


def _counts(result: RunResult) -> dict[str, float]:
    return {
        "assistant.answered": len(result.of("answered")),
        "assistant.cached": result.cached,
        "assistant.failed": len(result.of("failed")),
        "assistant.not_asked": len(result.of("not_asked")),
    }


def doubts_in_words(doubts: Sequence[Doubt], items: Sequence[Item]) -> list[str]:
    """What a killed run had under way, photo by photo, and what that may have cost."""
    if not doubts:
        return []
    paths = {photo.photo_id: photo.path for item in items for photo in item.photos}
    usd = sum(doubt.most_usd for doubt in doubts)
    return [
        f"An earlier run was killed with {counted(len(doubts), 'question')} under way: up to"
        f" ${usd:.4f} may be billed for nothing, which counts against the cap.",
        *(f"  under way: {paths.get(one.subject) or one.subject}" for one in doubts),
    ]


def in_words(estimate: Estimate, runner: Runner) -> str:
    """What a run would ask, cost and send."""
    side = runner.params.photo.longest_side
    kept = f" ({estimate.cached:,} are answered already)" if estimate.cached else ""
    if not estimate.questions:
        return f"Nothing to ask{kept}."
    how = "in a batch" if estimate.batch else "one by one"
    return (
        f"{counted(estimate.questions, 'question')}{kept} to {runner.provider.model} at"
        f" {estimate.address}, {how}.\n"
        f"About ${estimate.usd:.4f}, at most ${estimate.most_usd:.4f}"
        f" (up to {estimate.tokens:,} tokens a question; prices: {estimate.price});"
        f" the cap is ${runner.budget.most_usd:.2f}.\n"
        f"Photos leave this machine scaled to {side} pixels, without metadata and names;"
        f" {runner.cache.folder / 'sent.jsonl'} lists them."
    )


def finish(result: RunResult) -> None:
    """End with status 1 where something is left to be asked."""
    if len(result.of("answered")) < len(result.outcomes):
        click.get_current_context().exit(SOME_LEFT)


def _show(result: RunResult) -> None:
    left = result.of("failed")
    click.echo(
        f"{len(result.of('answered')):,} answered ({result.cached:,} paid for before),"
        f" {len(left):,} failed, {len(result.of('not_asked')):,} not asked:"
        f" {result.usage.input_tokens:,} tokens in, {result.usage.output_tokens:,} out,"
        f" ${result.usd:.4f}."
    )
    for outcome in left:
        where = ", ".join(photo.path for photo in outcome.item.photos)
        click.echo(f"  failed: {where or outcome.item.subject}: {outcome.reason}", err=True)
    if result.stopped:
        click.echo(f"Stopped: {result.stopped}.\nRun the same command to go on.", err=True)
