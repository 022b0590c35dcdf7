"""Experts compared with the network for all, on the same photos."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from pydantic import Field

from cannabis_ml.evaluation.gain import METRICS
from cannabis_ml.evaluation.metrics import score
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.evaluation.tables import value_of
from cannabis_ml.taxonomy import Taxonomy


class ExpertTraining(Record):
    """How one expert was trained."""

    photos: int = Field(description="Training photos")
    classes: int = Field(description="Classes of the head that it knows")
    best_epoch: int | None
    validation_loss: float | None


class ExpertScore(Record):
    """One metric of the network for all and of the experts; None where it is not known."""

    photos: int
    groups: int
    single: float | None = Field(description="Of the network for all alone")
    experts: float | None = Field(description="Of the experts, weighed by its parent head")
    gain: float | None = Field(description="`experts` less `single`")


class ExpertsReport(Record):
    """Experts of one tier; empty where it has none."""

    head: str | None = Field(default=None, description="The head that they answer")
    split: str | None = Field(default=None, description="That scores are of")
    experts: dict[str, ExpertTraining] = Field(
        default={}, description="By class of the parent head"
    )
    left_out: dict[str, str] = Field(
        default={}, description="Why a class of the parent has none, by class"
    )
    heads: dict[str, dict[str, ExpertScore]] = Field(
        default={}, description="By head and metric, of all photos"
    )
    by_class: dict[str, dict[str, ExpertScore]] = Field(
        default={},
        description="Of the experts' head, by the true class of its parent and metric",
    )


def compare_with_single(
    single: pd.DataFrame, experts: pd.DataFrame, labels: pd.DataFrame, taxonomy: Taxonomy, head: str
) -> tuple[dict[str, dict[str, ExpertScore]], dict[str, dict[str, ExpertScore]]]:
    """Compare predictions without and with experts.

    Args:
        single: Predictions of the network for all.
        experts: Of the same photos in the same order, with experts.
        labels: As for `metrics.score`.
        taxonomy: Gives the heads.
        head: The head that the experts answer.

    Returns:
        `heads` and `by_class` of the report.
    """
    whole = _scores(single, experts, labels, taxonomy)
    parent = taxonomy[head].parent
    assert parent is not None
    truth = single[f"{parent}.label"].to_numpy(object)
    by_class = {}
    for name in taxonomy[parent].class_names:
        shown = truth == name
        if shown.any():
            by_class[name] = _scores(single[shown], experts[shown], labels, taxonomy)[head]
    return whole, by_class


def _scores(
    single: pd.DataFrame, experts: pd.DataFrame, labels: pd.DataFrame, taxonomy: Taxonomy
) -> dict[str, dict[str, ExpertScore]]:
    before, after = score(single, labels, taxonomy), score(experts, labels, taxonomy)
    return {
        name: {
            metric: _pair(
                before[name].n,
                before[name].groups,
                value_of(before[name], metric),
                value_of(after[name], metric),
            )
            for metric in METRICS
        }
        for name in before
    }


def _pair(photos: int, groups: int, single: float | None, experts: float | None) -> ExpertScore:
    gain = None if single is None or experts is None else experts - single
    return ExpertScore(photos=photos, groups=groups, single=single, experts=experts, gain=gain)


def gains_in_words(scores: Mapping[str, ExpertScore]) -> str:
    """`accuracy 91.2% with experts, 90.1% without (124 photos)`; empty where nothing is known."""
    accuracy = scores["accuracy"]
    if accuracy.experts is None or accuracy.single is None:
        return ""
    return (
        f"accuracy {accuracy.experts:.1%} with experts, {accuracy.single:.1%} without"
        f" ({accuracy.photos:,} photos)"
    )
