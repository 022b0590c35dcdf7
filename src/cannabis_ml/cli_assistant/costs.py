"""What was spent and is in no run of MLflow yet: by killed runs, and by a service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.errors import ConfigError
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from cannabis_ml.assistant.ledger import Ledger, Spent

LOST_AFTER = 3600
"""Seconds after which a service's request that has no reply is taken for lost."""


@click.command(name="costs")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Of the answers, such as a service's `assistant.params.folder`; the project's.",
)
@click.pass_obj
def costs(project: Project, folder: Path | None) -> None:
    """Show what was spent, and log in MLflow what is not logged yet.

    That is what a service's explanations cost, and what killed runs had paid. Needs no key.
    """
    from cannabis_ml.assistant.ledger import FILE, Ledger
    from cannabis_ml.cli_assistant.asking import readable_errors

    with readable_errors():
        place = folder or project.params.folder
        if not (place / FILE).is_file():
            raise ConfigError(f"Nothing was ever asked from {place}: it has no {FILE}.")
        ledger = Ledger(place, "command")
        ledger.give_up_on(LOST_AFTER)
        for line in in_words(ledger.all_spent()):
            click.echo(line)
        logged = log_unlogged(project, ledger)
        ledger.close()
        click.echo(f"{counted(logged, 'run')} added to MLflow.")


def log_unlogged(project: Project, ledger: Ledger) -> int:
    """Log what other runs spent and did not log; how many runs of MLflow that made."""
    left = [spent for spent in ledger.unlogged() if spent.run != ledger.run]
    for spent in left:
        params = {
            "assistant.model": spent.model,
            "assistant.address": spent.address,
            "assistant.prompt": spent.task,
        }
        cost = {
            "assistant.questions": spent.requests,
            "assistant.input_tokens": spent.usage.input_tokens,
            "assistant.output_tokens": spent.usage.output_tokens,
            "assistant.usd": spent.usd,
            "assistant.may_be_billed_usd": spent.may_be_billed_usd,
        }
        how = "killed" if spent.kind == "command" else "service"
        project.log_run(f"{spent.task.rpartition('.')[0]} ({how})", params, cost)
        ledger.mark_logged([spent.run])
    return len(left)


def in_words(spent: Sequence[Spent]) -> list[str]:
    """A line per task, model and kind of process."""
    sums: dict[tuple[str, str, str], tuple[int, float]] = {}
    for one in spent:
        place = (one.task, one.model, one.kind)
        requests, usd = sums.get(place, (0, 0.0))
        sums[place] = (requests + one.requests, usd + one.usd)
    return [
        f"{task} by {model} ({kind}): {counted(requests, 'request')}, ${usd:.4f}"
        for (task, model, kind), (requests, usd) in sums.items()
    ]
