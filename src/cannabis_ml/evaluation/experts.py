"""Experts compared with the network for all, on the same photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from cannabis_ml.evaluation.gain import METRICS
from cannabis_ml.evaluation.scores import HeadScores, Record
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
    trained_on: float | None = Field(
        default=None, description="Of the network for all, trained on at the experts' cost"
    )


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


class Compared(NamedTuple):
    """Predictions of the same photos in the same order.

    Attributes:
        single: Of the network for all.
        experts: Of the same with experts.
        trained_on: Of the network for all that was trained on; None without one.
    """

    single: pd.DataFrame
    experts: pd.DataFrame
    trained_on: pd.DataFrame | None = None

    def where(self, chosen: np.ndarray) -> Compared:
        """Those of some photos, bool (N,)."""
        longer = None if self.trained_on is None else self.trained_on[chosen]
        return Compared(self.single[chosen], self.experts[chosen], longer)


def compare_with_single(
    predictions: Compared, labels: pd.DataFrame, taxonomy: Taxonomy, head: str
) -> tuple[dict[str, dict[str, ExpertScore]], dict[str, dict[str, ExpertScore]]]:
    """Compare predictions without and with experts.

    Args:
        predictions: Of all that are compared.
        labels: As for `metrics.score`.
        taxonomy: Gives the heads.
        head: The head that the experts answer.

    Returns:
        `heads` and `by_class` of the report.
    """
    whole = _scores(predictions, labels, taxonomy)
    parent = taxonomy[head].parent
    assert parent is not None
    truth = predictions.single[f"{parent}.label"].to_numpy(object)
    by_class = {}
    for name in taxonomy[parent].class_names:
        shown = truth == name
        if shown.any():
            by_class[name] = _scores(predictions.where(shown), labels, taxonomy)[head]
    return whole, by_class


def _scores(
    predictions: Compared, labels: pd.DataFrame, taxonomy: Taxonomy
) -> dict[str, dict[str, ExpertScore]]:
    from cannabis_ml.evaluation.metrics import score

    single = score(predictions.single, labels, taxonomy)
    experts = score(predictions.experts, labels, taxonomy)
    longer = predictions.trained_on
    trained_on = None if longer is None else score(longer, labels, taxonomy)
    return {
        name: {
            metric: _compared(
                single[name],
                value_of(single[name], metric),
                value_of(experts[name], metric),
                None if trained_on is None else value_of(trained_on[name], metric),
            )
            for metric in METRICS
        }
        for name in single
    }


def _compared(
    of: HeadScores, single: float | None, experts: float | None, trained_on: float | None
) -> ExpertScore:
    gain = None if single is None or experts is None else experts - single
    return ExpertScore(
        photos=of.n,
        groups=of.groups,
        single=single,
        experts=experts,
        gain=gain,
        trained_on=trained_on,
    )


def gains_in_words(scores: Mapping[str, ExpertScore]) -> str:
    """`accuracy 91.2% with experts, 90.1% without (124 photos)`; empty where nothing is known."""
    accuracy = scores["accuracy"]
    if accuracy.experts is None or accuracy.single is None:
        return ""
    longer = accuracy.trained_on
    at_equal_cost = "" if longer is None else f", {longer:.1%} trained on at equal cost"
    return (
        f"accuracy {accuracy.experts:.1%} with experts, {accuracy.single:.1%} without"
        f"{at_equal_cost} ({accuracy.photos:,} photos)"
    )
