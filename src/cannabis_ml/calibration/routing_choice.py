"""The routing over all tiers: score, thresholds, what is promised of them, and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.calibration.promise import (
    FEWEST,
    MILLISECONDS,
    RoutingFigures,
    RoutingPromise,
    TierAnswers,
    judge_routing,
    promise_routing,
)
from cannabis_ml.calibration.tier_answers import RoutedHead, ScoreChoice, choose_score
from cannabis_ml.errors import CalibrationError
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.inference.confidence import ScoreName
from cannabis_ml.inference.routing import FIXED, RoutingRule, TierCost
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Head


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PromiseParams(_Params):
    """What is promised of accepted answers."""

    error_rate: float = Field(
        default=0.05, gt=0, lt=1, description="Largest share of accepted answers wrong"
    )
    confidence: float = Field(
        default=0.95, gt=0, lt=1, description="How often such a promise is to be kept"
    )
    by_class: bool = Field(
        default=False,
        description="Also promise it among the answers of each class, by thresholds of its own",
    )
    fewest: int = Field(
        default=FEWEST, ge=1, description="Groups answered with a class for such a promise"
    )
    last_accepts_all: bool = Field(
        default=False, description="Every answer of the last tier is accepted, and promised of"
    )
    otherwise: Literal["fixed", "nothing"] = Field(
        default="fixed",
        description="Where it cannot be promised: the fixed thresholds, without any promise, or no"
        " answer is accepted",
    )


class CostParams(_Params):
    """What it costs to ask a tier about one photo."""

    milliseconds: float | None = Field(
        default=None, ge=0, description="null: as measured here, from JPEG to answer on one thread"
    )
    money: float = Field(default=0.0, ge=0, description="In any currency")
    energy: float = Field(default=0.0, ge=0, description="In joules, or any other unit")


class RoutingParams(_Params):
    """Which tier's answer is accepted."""

    head: str | None = Field(
        default=None, description="Head whose answer decides; null: the first not multilabel"
    )
    score: ScoreName | None = Field(
        default=None, description="Routing score; null: chosen on validation photos by AUGRC"
    )
    promise: PromiseParams | None = Field(
        default=PromiseParams(), description="null: fixed thresholds"
    )
    thresholds: list[float] = Field(
        default=list(FIXED),
        description="Fixed thresholds on calibrated probability, of every tier but the last",
    )
    costs: dict[str, CostParams] = Field(
        default={}, description="By tier; of tiers that are not listed they are not read"
    )
    weights: TierCost = Field(default=MILLISECONDS, description="How much each kind of cost counts")
    unanswered: float | None = Field(
        default=None,
        ge=0,
        description="Cost of a photo without an accepted answer, by the same weights, besides that"
        " of asking every tier; null: as much again",
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class TierEvidence:
    """How one tier answers labelled photos of each split that routing needs.

    Attributes:
        heads: By split.
        groups: By split, a number or name per photo; the same for every tier.
        milliseconds: Measured for one photo.
    """

    heads: Mapping[Split, RoutedHead]
    groups: Mapping[Split, np.ndarray]
    milliseconds: float


class RoutingReport(Record):
    """Which routing the bundle has, what it rests on, and what it does."""

    head: str
    score: ScoreName
    score_because: str
    score_augrc: dict[str, float] = Field(description="By score, on validation photos")
    thresholds: Literal["promised", "fixed", "none"]
    sentence: str = Field(description="What is promised, or why it cannot be and what would do")
    kept: bool = Field(description="Whether anything is promised")
    needed_groups: int | None = Field(
        description="About how many groups of photos the promise takes, where it cannot be kept"
    )
    bound: float | None = Field(description="Upper bound of the error rate of accepted answers")
    p_value: float | None
    not_by_class: dict[str, int] = Field(description="Classes without a promise of their own")
    costs: dict[str, TierCost] = Field(description="Of asking each tier about one photo")
    calibration: RoutingFigures = Field(description="On the photos that it was chosen on")
    test: RoutingFigures | None = Field(description="On photos that nothing was chosen on")


def choose_routing(
    head: Head, tiers: Mapping[str, TierEvidence], params: RoutingParams
) -> tuple[RoutingRule, RoutingReport]:
    """Choose score and thresholds, with what they promise.

    The score is chosen, and the sequence of routings found, on validation photos; promises are
    tested on calibration photos. Calibrators and the thresholds of unknown scores were fitted to
    these too; a few numbers of many photos, they hardly change which answers are accepted.

    Args:
        head: Whose answer decides.
        tiers: By name, in the order in which they are asked.
        params: How to choose.

    Raises:
        CalibrationError: If no calibration photo has a label of the head, thresholds are too few,
            or a tier does not give the configured score.
    """
    first = next(iter(tiers.values()))
    if not len(first.groups[Split.CALIBRATION]):
        raise CalibrationError(
            f"No photo of the calibration split has a label of '{head.name}', so no routing can be"
            " chosen by it. Set calibration.routing.head to another head."
        )
    costs = _costs(tiers, params)
    choice = _score(tiers, params)

    def answers(split: Split, score: ScoreName) -> list[TierAnswers]:
        return [tier.heads[split].by(n, score, costs[n]) for n, tier in tiers.items()]

    promise = None
    if params.promise is not None:
        promise = _promise(head, answers, first, choice.score, params)
    thresholds: Literal["promised", "fixed", "none"]
    if promise is not None and promise.kept:
        rule, sentence, thresholds = promise.rule, promise.sentence, "promised"
    elif promise is not None and params.promise and params.promise.otherwise == "nothing":
        rule, thresholds = promise.rule, "none"
        sentence = f"{promise.sentence} No answer is accepted."
    else:
        rule, thresholds = _fixed(head, tiers, costs, params), "fixed"
        sentence = "Thresholds are fixed: nothing is promised of accepted answers."
        if promise is not None:
            sentence = f"{promise.sentence} {sentence}"
    figures = {
        split: judge_routing(rule, answers(split, rule.score), first.groups[split])
        for split in (Split.CALIBRATION, Split.TEST)
        if len(first.groups[split])
    }
    return rule, RoutingReport(
        head=head.name,
        score=rule.score,
        score_because=choice.because
        if rule.score == choice.score
        else "Fixed thresholds are on calibrated probability.",
        score_augrc=choice.augrc,
        thresholds=thresholds,
        sentence=sentence,
        kept=thresholds == "promised",
        needed_groups=promise and promise.needed_groups,
        bound=promise and promise.bound,
        p_value=promise and promise.p_value,
        not_by_class=promise.not_by_class if promise else {},
        costs=costs,
        calibration=figures[Split.CALIBRATION],
        test=figures.get(Split.TEST),
    )


def _score(tiers: Mapping[str, TierEvidence], params: RoutingParams) -> ScoreChoice:
    """The configured score, or the best on validation photos."""
    first = next(iter(tiers.values()))
    groups = first.groups[Split.VALIDATION]
    if params.score is not None:
        return ScoreChoice(params.score, "It is configured: calibration.routing.score.")
    if not len(groups):
        return ScoreChoice("max_probability", "There were no validation photos to choose by.")
    heads = [tier.heads[Split.VALIDATION] for tier in tiers.values()]
    return choose_score(heads, groups, seed=params.seed)


def _costs(tiers: Mapping[str, TierEvidence], params: RoutingParams) -> dict[str, TierCost]:
    costs = {}
    for name, tier in tiers.items():
        given = params.costs.get(name, CostParams())
        measured = tier.milliseconds if given.milliseconds is None else given.milliseconds
        costs[name] = TierCost(measured, given.money, given.energy)
    return costs


def _promise(
    head: Head,
    answers: Callable[[Split, ScoreName], list[TierAnswers]],
    first: TierEvidence,
    score: ScoreName,
    params: RoutingParams,
) -> RoutingPromise:
    promise = params.promise
    assert promise is not None
    validation = first.groups[Split.VALIDATION]
    design = (answers(Split.VALIDATION, score), validation) if len(validation) else None
    return promise_routing(
        head.name,
        answers(Split.CALIBRATION, score),
        first.groups[Split.CALIBRATION],
        error_rate=promise.error_rate,
        confidence=promise.confidence,
        score=score,
        design=design,
        weights=params.weights,
        unanswered=params.unanswered,
        last_accepts_all=promise.last_accepts_all,
        by_class=promise.by_class,
        fewest=promise.fewest,
        seed=params.seed,
    )


def _fixed(
    head: Head,
    tiers: Mapping[str, TierEvidence],
    costs: Mapping[str, TierCost],
    params: RoutingParams,
) -> RoutingRule:
    """Fixed thresholds, and those of the unknown scores."""
    needed = len(tiers) - 1
    if len(params.thresholds) < needed:
        raise CalibrationError(
            f"calibration.routing.thresholds has {len(params.thresholds)} values; {len(tiers)}"
            f" tiers take {needed}."
        )
    rule = RoutingRule.fixed(head.name, list(tiers), params.thresholds[:needed])
    rows = [
        row.model_copy(
            update={
                "unknown_above": tiers[row.tier].heads[Split.CALIBRATION].unknown_above,
                "cost": costs[row.tier],
            }
        )
        for row in rule.tiers
    ]
    return rule.model_copy(update={"tiers": rows})
