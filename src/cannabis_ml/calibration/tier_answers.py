"""Answers of tiers for labelled photos with their routing scores, and the score that routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cannabis_ml.calibration.promise_search import TierAnswers
from cannabis_ml.errors import CalibrationError
from cannabis_ml.evaluation.groups import group_samples
from cannabis_ml.evaluation.ranking import augrc
from cannabis_ml.inference.confidence import SCORES, ScoreName, confidence_scores
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.outputs import EPISTEMIC
from cannabis_ml.inference.routing import TierCost
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


@dataclass(frozen=True, eq=False)
class RoutedHead:
    """How one tier answers the head that routes, for N photos with a label of it.

    Attributes:
        scores: Every confidence score, by name (N,), higher is surer.
        right: Whether its answers are right, bool (N,).
        answers: Answered classes, (N,); empty where the answer of the parent allows none.
        unknown: Unknown scores, (N,); None where the tier has none.
        unknown_above: Threshold of those; None where none was chosen.
    """

    scores: Mapping[str, np.ndarray]
    right: np.ndarray
    answers: np.ndarray
    unknown: np.ndarray | None = None
    unknown_above: float | None = None

    def by(self, tier: str, score: ScoreName, cost: TierCost | None = None) -> TierAnswers:
        """As `promise_routing` takes it.

        Args:
            tier: Name of the tier.
            score: Which of `scores`.
            cost: Of asking the tier about one photo; None: it costs nothing.

        Raises:
            CalibrationError: If the tier's model file does not give that score.
        """
        if score not in self.scores:
            raise CalibrationError(
                f"{tier} does not give the routing score '{score}'; it gives"
                f" {', '.join(self.scores)}. Set calibration.routing.score."
            )
        return TierAnswers(
            tier,
            self.scores[score],
            self.right,
            cost or TierCost(),
            self.unknown,
            self.unknown_above,
            self.answers,
        )


@dataclass(frozen=True)
class ScoreChoice:
    """Which score routes, and why.

    Attributes:
        score: The one to take.
        because: Why, in a sentence.
        augrc: By score the mean over tiers, lower is better.
    """

    score: ScoreName
    because: str
    augrc: dict[str, float] = field(default_factory=dict)


def routing_head(
    taxonomy: Taxonomy, name: str | None = None, parameter: str = "calibration.routing.head"
) -> Head:
    """The head whose answer decides.

    Args:
        taxonomy: Gives the heads.
        name: Of the head; None takes the first that is not multilabel.
        parameter: Where the name is configured.

    Raises:
        CalibrationError: If there is none, or it is multilabel.
    """
    fit = [head for head in taxonomy.heads if head.kind != "multilabel"]
    if name is None and fit:
        return fit[0]
    for head in fit:
        if head.name == name:
            return head
    if name is None:
        raise CalibrationError("No head is multiclass or ordinal, so none can decide.")
    choices = " or ".join(f"'{head.name}'" for head in fit) or "null"
    raise CalibrationError(
        f"'{name}' is not a multiclass or ordinal head, so it cannot decide: set"
        f" {parameter} to {choices}."
    )


def routed_head(
    head: Head,
    outputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    decision: Decision,
    unknown: UnknownScore | None = None,
) -> RoutedHead:
    """How a tier answers one head.

    Args:
        head: As from `routing_head`.
        outputs: Of the tier's model file for N photos, raw; with `{head}.epistemic` there is a
            score by the members' agreement.
        labels: Class indices of the head, int64 (N,), none of them `MISSING`.
        decision: Of the tier, with its calibrators.
        unknown: Of the tier, with its threshold; None where it has none.

    Raises:
        ValueError: If a label is missing.
    """
    labels = np.asarray(labels)
    if (labels == MISSING).any():
        raise ValueError(
            f"{(labels == MISSING).sum()} of {len(labels)} photos have no label of '{head.name}'."
        )
    decided = decision.decide(outputs)[head.name]
    names = np.array([*head.class_names, ""], object)  # MISSING is -1, the last
    scores = confidence_scores(
        head, decision.calibrated(outputs)[head.name], outputs.get(head.name + EPISTEMIC)
    )
    threshold = None if unknown is None or np.isinf(unknown.threshold) else unknown.threshold
    return RoutedHead(
        scores,
        decided == labels,
        names[decided],
        None if unknown is None else unknown.score(outputs),
        threshold,
    )


def choose_score(
    tiers: Sequence[RoutedHead], groups: np.ndarray, repeats: int = 200, seed: int = 0
) -> ScoreChoice:
    """The score that ranks wrong answers lowest: by AUGRC, mean over tiers.

    The simplest wins that is within one standard error, of the difference, of the best.

    Args:
        tiers: Of the same photos, which nothing is promised on afterwards.
        groups: Of each photo a number or name, (N,).
        repeats: Bootstrap samples of groups behind the standard errors.
        seed: Of these samples.
    """
    names = [name for name in SCORES if all(name in tier.scores for tier in tiers)]

    def areas(rows: np.ndarray) -> np.ndarray:
        return np.array(
            [
                np.mean([augrc(tier.scores[name][rows], tier.right[rows]) for tier in tiers])
                for name in names
            ]
        )

    means = areas(np.arange(len(groups)))
    drawn = np.array([areas(rows) for rows in group_samples(groups, repeats, seed)])
    best = int(means.argmin())
    errors = (drawn - drawn[:, [best]]).std(axis=0)
    chosen = next(i for i in range(len(names)) if means[i] - means[best] <= errors[i])
    why = f"{names[best]} has the lowest AUGRC, {means[best]:.4f}"
    if chosen != best:
        why += f"; {names[chosen]} ({means[chosen]:.4f}) is simpler and within one standard error"
    return ScoreChoice(names[chosen], f"{why}.", dict(zip(names, map(float, means), strict=True)))
