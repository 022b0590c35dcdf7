"""Commands on what bundles answer: check it, judge what changed, explain it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cannabis_ml.cli_assistant.asking import YES, Task, finish, readable_errors
from cannabis_ml.cli_assistant.labels import head_of
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cannabis_ml.assistant.judging import Flip, FlipReport
    from cannabis_ml.assistant.outgoing import PhotoSource
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.taxonomy import Head

EXISTING = click.Path(path_type=Path, exists=True)
TIER = click.option("--tier", help="Which tier answers; the largest.")


@click.command(name="check-predictions")
@click.argument("bundle", type=EXISTING)
@click.argument("photos", type=EXISTING)
@TIER
@click.option("--most", type=click.IntRange(min=1), help="Photos, at most.")
@YES
@click.pass_obj
def check_predictions(
    project: Project, bundle: Path, photos: Path, tier: str | None, most: int | None, yes: bool
) -> None:
    """Ask whether a bundle's answers fit the photos; doubted ones are flagged for people.

    No answer is changed by it.
    """
    with readable_errors():
        from cannabis_ml.assistant.checking import (
            AnsweredPhoto,
            answers_in_short,
            check_questions,
            checked,
            flags,
        )
        from cannabis_ml.assistant.outgoing import photos_in
        from cannabis_ml.assistant.suggesting import to_store
        from cannabis_ml.inference.bundle import Bundle

        task = Task(project, "check_predictions", yes)
        runner, params = task.open(), project.params
        opened = Bundle.open(bundle)
        predictor = opened.predictor(tier or opened.tiers[-1])
        given = [
            AnsweredPhoto(photo, answers_in_short(predictor.predict(pixels)))
            for photo, pixels in readable(photos_in(photos)[:most])
        ]
        items = check_questions(given, opened.taxonomy, params.review.most_tokens)
        result = task.ask(runner, items)
        table = checked(given, result.outcomes)
        file = project.write_report("check_predictions.csv", table.to_csv(index=False))
        flagged = flags(result.outcomes, opened.taxonomy)
        with project.store() as store:
            to_store(store, flagged, params.model.name)
        counts = table["verdict"].value_counts()
        click.echo(
            f"{counts.get('agree', 0):,} agree, {counts.get('disagree', 0):,} disagree,"
            f" {counts.get('uncertain', 0):,} uncertain: {file}.\n"
            f"{counted(len(flagged), 'photo')} put up for review."
        )
        finish(result)


@click.command(name="judge-flips")
@click.argument("old", type=EXISTING)
@click.argument("new", type=EXISTING)
@click.argument("photos", type=EXISTING)
@TIER
@click.option("--head", "name", help="Whose answers; the first that is not multilabel.")
@click.option("--most", type=click.IntRange(min=1), help="Photos, at most.")
@YES
@click.pass_obj
def judge_flips(
    project: Project,
    old: Path,
    new: Path,
    photos: Path,
    tier: str | None,
    name: str | None,
    most: int | None,
    yes: bool,
) -> None:
    """Ask, of photos that two bundles answer differently, which one is right, in both orders."""
    with readable_errors():
        from dataclasses import asdict

        from pydantic_core import to_json

        from cannabis_ml.assistant.judging import flip_questions, judge
        from cannabis_ml.assistant.outgoing import photos_in
        from cannabis_ml.inference.bundle import Bundle

        task = Task(project, "judge_flips", yes)
        runner, review = task.open(), project.params.review
        bundles = (Bundle.open(old), Bundle.open(new))
        head = head_of(bundles[1].taxonomy, name)
        flips = flips_of(bundles, photos_in(photos)[:most], head, tier)
        if not flips:
            click.echo(f"Both bundles answer '{head.name}' alike on all photos.")
            return
        items, new_first = flip_questions(flips, head, review.most_tokens, review.seed)
        result = task.ask(runner, items)
        report = judge(result.outcomes, new_first)
        file = project.write_report("judge_flips.json", to_json(asdict(report), indent=1).decode())
        click.echo(flips_in_words(report))
        click.echo(f"All of it: {file}.")
        finish(result)


def flips_of(
    bundles: tuple[Bundle, Bundle], photos: Sequence[PhotoSource], head: Head, tier: str | None
) -> list[Flip]:
    """Photos on which two bundles decide on different classes of a head."""
    from cannabis_ml.assistant.judging import Flip

    predictors = [bundle.predictor(tier or bundle.tiers[-1]) for bundle in bundles]
    found = []
    for photo, pixels in readable(photos):
        old, new = (predictor.predict(pixels)[head.name].decided for predictor in predictors)
        if isinstance(old, str) and isinstance(new, str) and old != new:
            found.append(Flip(photo, old, new))
    return found


def readable(photos: Sequence[PhotoSource]) -> Iterator[tuple[PhotoSource, bytes]]:
    """Photos that can be decoded, with their bytes; others are named."""
    from cannabis_ml.photos.decode import UnreadableError, decode

    for photo in photos:
        try:
            data = photo.read()
            decode(data)
        except (UnreadableError, OSError) as error:
            click.echo(f"  left out: {photo.path}: {error}", err=True)
            continue
        yield photo, data


def flips_in_words(report: FlipReport) -> str:
    """What is shown of it."""
    bias = "a position bias" if report.has_position_bias else "no position bias to be seen"
    return (
        f"Of {counted(report.flips, 'flip')} the new model is right on {report.new_right:,}, the"
        f" old one on {report.old_right:,}, neither on {report.neither:,}; {report.unsure:,} not"
        f" decided, {report.inconsistent:,} judged differently in the other order.\n"
        f"The new model's share: {report.new_share:.0%} ({report.new_low:.0%} to"
        f" {report.new_high:.0%}). The first answer was chosen in {report.first_share:.0%}"
        f" ({report.first_low:.0%} to {report.first_high:.0%}): {bias}."
    )


@click.command(name="explain")
@click.argument("bundle", type=EXISTING)
@click.argument("photo", type=EXISTING)
@TIER
@click.option("--language", help="Of the explanation, such as es; assistant.explain.language.")
@YES
@click.pass_obj
def explain(
    project: Project, bundle: Path, photo: Path, tier: str | None, language: str | None, yes: bool
) -> None:
    """Explain the answer for a photo in two or three plain sentences, for the grower.

    Advice comes from the rules of treatments.yml; the language model only puts them into words.
    """
    with readable_errors():
        from cannabis_ml.assistant.explaining import explanation_question, read_explanation
        from cannabis_ml.assistant.outgoing import source_of
        from cannabis_ml.assistant.params import ExplainParams
        from cannabis_ml.assistant.treatments import read_treatments
        from cannabis_ml.inference.bundle import Bundle

        task = Task(project, "explain", yes)
        runner, params = task.open(), project.params
        opened = Bundle.open(bundle)
        chosen = params.explain
        if language is not None:
            chosen = ExplainParams(language=language, most_tokens=chosen.most_tokens)
        source = source_of(photo)
        report = opened.report(source.read(), tier=tier or opened.tiers[-1], heat_map="occlusion")
        rules = read_treatments(project.treatments(), opened.taxonomy)
        asked = explanation_question(source, report, report.heat_map, rules, chosen)
        result = task.ask(runner, [asked.item])
        for outcome in result.of("answered"):
            explained = read_explanation(asked, outcome, params.model.name)
            click.echo(f"\n{explained.text}")
            for one in explained.treatments:
                click.echo(f"\n{one.wording}\n  ({one.source}, {one.date})")
        finish(result)
