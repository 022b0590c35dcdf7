"""The commands of `cannabis_ml assistant`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cannabis_ml.cli_assistant.answers import check_predictions, explain, judge_flips
from cannabis_ml.cli_assistant.asking import YES, Task, finish, readable_errors
from cannabis_ml.cli_assistant.costs import costs
from cannabis_ml.cli_assistant.labels import evaluate, review_labels
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.text import counted


@click.group(name="assistant")
@click.option("--env", "-e", default=None, help="The environment whose configuration counts.")
@click.pass_context
def assistant(ctx: click.Context, env: str | None) -> None:
    """Let a language model suggest labels, review, check and explain; it never classifies."""
    for name in ("httpx", "httpx2"):  # they log every request
        logging.getLogger(name).setLevel(logging.WARNING)
    ctx.obj = Project(env)


MOST = click.option("--most", type=click.IntRange(min=1), help="Photos, at most.")
PHOTOS = click.argument("photos", type=click.Path(path_type=Path, exists=True))


@assistant.command(name="suggest-labels")
@PHOTOS
@MOST
@YES
@click.pass_obj
def suggest_labels(project: Project, photos: Path, most: int | None, yes: bool) -> None:
    """Suggest labels for photos of a folder, and put them up for review.

    Suggestions are opinions in the store of feedback, of an annotator of kind `model`: no photo set
    takes one that no person confirmed. Exit status 1: some photos are left; run it again.
    """
    with readable_errors():
        from cannabis_ml.assistant.outgoing import photos_in
        from cannabis_ml.assistant.suggesting import label_questions, read_all, to_store

        task = Task(project, "suggest_labels", yes)
        runner, params, taxonomy = task.open(), project.params, project.taxonomy()
        items = label_questions(photos_in(photos)[:most], taxonomy, params.suggest)
        result = task.ask(runner, items)
        suggestions = read_all(result.outcomes, taxonomy, params.suggest)
        with project.store() as store:
            refused = to_store(store, suggestions, params.model.name)
        for line in refused:
            click.echo(f"  not taken: {line}", err=True)
        click.echo(
            f"{counted(len(suggestions) - len(refused), 'suggestion')} wait for review: on the"
            " page's Review, or `cannabis_ml feedback export tasks.json --label-studio`."
        )
        finish(result)


for command in (review_labels, judge_flips, check_predictions, explain, evaluate, costs):
    assistant.add_command(command)
