"""Commands on labels: review those that people gave, and measure those that are suggested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cannabis_ml.cli_assistant.asking import YES, Task, finish, readable_errors
from cannabis_ml.cli_assistant.photos import MOST, photos_to_review, source_in
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.errors import ConfigError
from cannabis_ml.splits import Split
from cannabis_ml.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from cannabis_ml.assistant.evaluating import Answers, AssistantEvaluation
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.taxonomy import Head, Taxonomy

BUNDLE = "kedro run"


@click.command(name="review-labels")
@click.option(
    "--on",
    "which",
    type=click.Choice(["sample", "errors", "worst"]),
    default="errors",
    show_default=True,
    help="A random sample, what confident learning suspects, or the classes recognized worst.",
)
@click.option("--head", "name", help="Whose labels; the first that is not multilabel.")
@click.option("--most", type=click.IntRange(min=1), default=MOST, show_default=True)
@YES
@click.pass_obj
def review_labels(project: Project, which: str, name: str | None, most: int, yes: bool) -> None:
    """Ask whether labels of training photos look right; doubted ones are put up for review."""
    with readable_errors():
        from cannabis_ml.assistant.reviewing import doubts, review_questions, reviewed
        from cannabis_ml.assistant.suggesting import to_store

        task = Task(project, "review_labels", yes)
        runner, params = task.open(), project.params
        head = head_of(project.taxonomy(), name)
        photo_set = project.load("photo_set", "kedro run --pipeline=data")
        photos = photos_to_review(project, photo_set, head, which, most)
        result = task.ask(runner, review_questions(photos, head, params.review.most_tokens))
        table = reviewed(photos, result.outcomes)
        file = project.write_report("review_labels.csv", table.to_csv(index=False))
        wrong = doubts(photos, result.outcomes, head)
        with project.store() as store:
            to_store(store, wrong, params.model.name)
        counts = table["verdict"].value_counts()
        click.echo(
            f"{counts.get('right', 0):,} labels look right, {counts.get('wrong', 0):,} wrong,"
            f" {counts.get('unsure', 0):,} not sure: {file}.\n"
            f"{counted(len(wrong), 'photo')} put up for review."
        )
        finish(result)


def head_of(taxonomy: Taxonomy, name: str | None) -> Head:
    """A multiclass or ordinal head; the first where none is named.

    Raises:
        ConfigError: If there is none like that.
    """
    heads = [head for head in taxonomy.heads if head.kind != "multilabel"]
    for head in heads:
        if name in (None, head.name):
            return head
    known = ", ".join(head.name for head in heads)
    raise ConfigError(f"'{name}' is not a multiclass or ordinal head; these are {known}.")


@click.command(name="eval")
@click.option("--most", type=click.IntRange(min=1), default=MOST, show_default=True)
@click.option(
    "--split",
    type=click.Choice([split.value for split in Split]),
    default=Split.TEST.value,
    show_default=True,
    help="Of the photo set.",
)
@YES
@click.pass_obj
def evaluate(project: Project, most: int, split: str, yes: bool) -> None:
    """Measure suggested labels on labelled photos, beside the bundle's tiers on the same photos."""
    with readable_errors():
        import numpy as np

        from cannabis_ml.assistant.answers import heads_to_ask
        from cannabis_ml.assistant.evaluating import AssistantEvaluation, answers_of, score_heads
        from cannabis_ml.assistant.suggesting import PROMPT, label_questions, read_all

        task = Task(project, "assistant_eval", yes)
        runner, params = task.open(), project.params
        bundle = project.load("bundle", BUNDLE)
        photo_set = project.load("photo_set", "kedro run --pipeline=data")
        rows = photo_set.rows_of(Split(split))
        rows = np.sort(np.random.default_rng(params.review.seed).permutation(rows)[:most])
        table = photo_set.labels().iloc[rows].reset_index(drop=True)
        paths = table["path"] if "path" in table else [""] * len(rows)
        sources = [
            source_in(photo_set, int(row), path) for row, path in zip(rows, paths, strict=True)
        ]
        if not sources:
            raise ConfigError(f"The photo set has no photo of the split '{split}'.")
        items = label_questions(sources, bundle.taxonomy, params.suggest)
        heads = heads_to_ask(bundle.taxonomy, params.suggest.heads)
        result = task.ask(runner, items)
        by_place = {
            id(one.outcome): one
            for one in read_all(result.outcomes, bundle.taxonomy, params.suggest)
        }
        suggested = [by_place.get(id(outcome)) for outcome in result.outcomes]
        annotators: dict[str, Answers] = {"assistant": answers_of(suggested, heads)}
        for tier in bundle.tiers:
            annotators[tier] = tier_answers(bundle, tier, [photo_set.pixels(int(r)) for r in rows])
        labels = {head.name: labels_of(table, head) for head in heads}
        groups = table["group"].astype(str).tolist() if "group" in table else list(range(len(rows)))
        answered = [outcome.item for outcome in result.outcomes if outcome.status != "not_asked"]
        usd = sum(map(runner.paid, answered))
        found = AssistantEvaluation(
            model=params.model.name,
            prompt=PROMPT,
            photos=len(answered),
            usd_per_photo=usd / max(1, len(answered)),
            heads=score_heads(heads, labels, groups, annotators),
        )
        file = project.write_report("assistant_eval.json", found.model_dump_json(indent=1))
        task.log_scores(dict(scores_by_name(found)))
        for line in scores_in_words(found):
            click.echo(line)
        click.echo(f"All of it: {file}.")
        finish(result)


def tier_answers(bundle: Bundle, tier: str, photos: Sequence[np.ndarray]) -> Answers:
    """What a tier answers for photos, with the confidence of one class."""
    import numpy as np

    predictor = bundle.predictor(tier)
    found: dict[str, list[tuple[object, float]]] = {head.name: [] for head in bundle.taxonomy.heads}
    for photo in photos:
        for name, one in predictor.predict(photo).items():
            probs = np.asarray(one.probs, np.float64)
            if isinstance(one.decided, list):
                sure = float(np.prod(np.maximum(probs, 1 - probs)))
            elif one.decided is None:
                sure = 0.0
            else:
                sure = float(probs[one.head.class_names.index(one.decided)])
            found[name].append((one.decided, sure))
    return found


def labels_of(table: object, head: Head) -> list[object]:
    """Labels of a head by photo: a class, the classes that are there, or None where unknown."""
    import pandas as pd

    assert isinstance(table, pd.DataFrame)
    if not set(head.columns) <= set(table.columns):
        return [None] * len(table)
    if head.kind != "multilabel":
        return [label if isinstance(label, str) else None for label in table[head.name]]
    values = table[head.columns]
    return [
        None
        if row.isna().any()
        else [n for n, v in zip(head.class_names, row, strict=True) if v == 1]
        for _, row in values.iterrows()
    ]


def scores_by_name(found: AssistantEvaluation) -> Iterator[tuple[str, float]]:
    """All scores as metrics for MLflow."""
    yield "assistant_eval.usd_per_photo", found.usd_per_photo
    for head, scores in found.heads.items():
        for name, score in scores.items():
            place = f"assistant_eval.{head}.{name}"
            given = score.model_dump(exclude={"agreement"})
            yield from ((f"{place}.{k}", float(v)) for k, v in given.items() if v is not None)
            yield from ((f"{place}.agreement.{k}", v) for k, v in score.agreement.items())


def scores_in_words(found: AssistantEvaluation) -> list[str]:
    """A line per head and annotator."""
    lines = [f"{found.photos:,} photos, ${found.usd_per_photo:.5f} each ({found.model})"]
    for head, scores in found.heads.items():
        lines.append(f"{head}:")
        for name, score in scores.items():
            if score.accuracy is None:
                lines.append(f"  {name:<12} not sure of any of {score.not_sure:,} photos")
                continue
            like = ", ".join(f"{other} {share:.0%}" for other, share in score.agreement.items())
            lines.append(
                f"  {name:<12} {score.accuracy:.1%} right ({score.low:.1%} to {score.high:.1%}) of"
                f" {score.photos:,}, {score.not_sure:,} not sure; says {score.mean_confidence:.0%},"
                f" calibration error {score.calibration_error:.3f}; like {like}"
            )
    return lines
