"""Routing: which tier's answer is good enough, by thresholds on two scores.

The routing score ranks answers from likely wrong to likely right, the unknown score detects
photos unlike anything in training. Tiers are asked in turn until one answer is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.confidence import ScoreName
from cannabis_ml.taxonomy import Taxonomy

NONE = -1
"""Stands for no tier: no answer was accepted."""

FIXED = (0.75, 0.8)
"""Thresholds on the probability of the first two tiers where nothing was measured."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class TierCost:
    """What it costs to ask a tier about one photo, in any unit of each kind.

    Attributes:
        milliseconds: Of waiting.
        money: In any currency.
        energy: In joules, or any other unit.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    milliseconds: Amount = 0.0
    money: Amount = 0.0
    energy: Amount = 0.0

    def __add__(self, other: TierCost) -> TierCost:
        return TierCost(
            self.milliseconds + other.milliseconds,
            self.money + other.money,
            self.energy + other.energy,
        )

    def times(self, factor: float) -> TierCost:
        return TierCost(self.milliseconds * factor, self.money * factor, self.energy * factor)

    def weighed(self, weights: TierCost) -> float:
        """One number: how much each kind counts is `weights`."""
        return (
            self.milliseconds * weights.milliseconds
            + self.money * weights.money
            + self.energy * weights.energy
        )

    def __str__(self) -> str:
        parts = {"ms": self.milliseconds, "money": self.money, "energy": self.energy}
        return ", ".join(f"{value:.3g} {name}" for name, value in parts.items() if value) or "0"


class Promised(_Strict):
    """What is promised of accepted answers, and what that rests on."""

    error_rate: float = Field(gt=0, lt=1, description="Largest share of accepted answers wrong")
    confidence: float = Field(gt=0, lt=1, description="How often such a promise is kept")
    groups: int = Field(ge=0, description="Groups of photos that it was tested on")
    accepted: int = Field(ge=0, description="Of these accepted")
    errors: int = Field(ge=0, description="Of these wrong")

    def __str__(self) -> str:
        return (
            f"at most {self.error_rate:.0%} of accepted answers are wrong, with"
            f" {self.confidence:.0%} confidence ({self.errors} of {self.accepted} were, among"
            f" {self.groups} groups of photos)"
        )


class TierThresholds(_Strict):
    """When the answer of one tier is accepted."""

    tier: str
    accept_from: float | None = Field(
        allow_inf_nan=False, description="Least routing score; None accepts nothing"
    )
    accept_all: bool = Field(default=False, description="Accept every answer, whatever its scores")
    by_class: dict[str, float | None] = Field(
        default_factory=dict, description="By answered class, instead of `accept_from`"
    )
    unknown_above: float | None = Field(
        default=None, allow_inf_nan=False, description="Unknown scores above this are not accepted"
    )
    cost: TierCost | None = Field(
        default=None, description="Of asking it about one photo, as it was when the rule was made"
    )

    def accepts(
        self, score: float, unknown: float | None = None, answer: str | None = None
    ) -> bool:
        """Whether an answer is good enough.

        Args:
            score: Routing score, higher is surer.
            unknown: Unknown score; None where the tier has none.
            answer: Class that is answered by the head that routes.
        """
        if self.accept_all:
            return True
        least = self._least(answer)
        if least is None or not score >= least:
            return False
        return unknown is None or self.unknown_above is None or unknown <= self.unknown_above

    def reason(self, score: float, unknown: float | None = None, answer: str | None = None) -> str:
        """Why an answer is accepted, or is not, in words.

        Args:
            score: As for `accepts`.
            unknown: As for `accepts`.
            answer: As for `accepts`.
        """
        if self.accept_all:
            return "every answer of this tier is accepted"
        least, of = self._least(answer), f" for {answer}" if answer in self.by_class else ""
        if least is None:
            return f"no answer of this tier is accepted{of}"
        if score < least:
            return "score {} is below {}".format(*_rounded_apart(score, least)) + of
        if unknown is not None and self.unknown_above is not None and unknown > self.unknown_above:
            values = _rounded_apart(unknown, self.unknown_above)
            return "unlike the training photos: {} is above {}".format(*values)
        return "score {} is at least {}".format(*_rounded_apart(score, least)) + of

    def _least(self, answer: str | None) -> float | None:
        return self.accept_from if answer is None else self.by_class.get(answer, self.accept_from)

    def accepted(
        self, scores: np.ndarray, unknown: np.ndarray | None, answers: np.ndarray
    ) -> np.ndarray:
        """As `accepts`, for many photos: bool (N,)."""
        if self.accept_all:
            return np.ones(len(scores), bool)
        least = np.full(len(scores), _floor(self.accept_from))
        for name, own in self.by_class.items():
            least[np.asarray(answers) == name] = _floor(own)
        takes = (scores >= least) & np.isfinite(least)
        if unknown is not None and self.unknown_above is not None:
            takes &= np.asarray(unknown) <= self.unknown_above
        return takes


class RoutingRule(_Strict):
    """Thresholds of every tier, in the order in which they are asked; travels in the bundle."""

    head: str = Field(description="Head whose answer decides")
    score: ScoreName = Field(default="max_probability", description="Routing score")
    tiers: list[TierThresholds] = Field(min_length=1)
    promised: Promised | None = Field(default=None, description="None for fixed thresholds")
    promised_by_class: dict[str, Promised] = Field(default_factory=dict)

    def in_words(self) -> list[str]:
        """For people: what is promised of accepted answers, then a line per tier."""
        promise = "fixed thresholds, nothing is promised"
        if self.promised is not None:
            promise = str(self.promised)
        elif not any(tier.accept_all or tier.accept_from is not None for tier in self.tiers):
            promise = "no answer is accepted, as no error rate could be promised"
        lines = [f"by {self.head}, {self.score.replace('_', ' ')}: {promise}"]
        for tier in self.tiers:
            parts = [f"accepts {_from(tier.accept_from)}"]
            if tier.accept_all:
                parts = ["accepts every answer"]
            else:
                for name, own in tier.by_class.items():
                    rests = self.promised_by_class.get(name)
                    why = f" ({rests.errors} of {rests.accepted} wrong)" if rests else ""
                    parts.append(f"{name} {_from(own)}{why}")
                if tier.unknown_above is not None:
                    parts.append(f"none that is unknown, above {tier.unknown_above:.4g}")
            if tier.cost is not None:
                parts.append(f"costs {tier.cost}")
            lines.append(f"{tier.tier} {'; '.join(parts)}")
        return lines

    @classmethod
    def fixed(
        cls, head: str, tiers: Sequence[str], thresholds: Sequence[float] = FIXED
    ) -> RoutingRule:
        """Thresholds on calibrated probability that nothing was measured for.

        Args:
            head: Head whose answer decides.
            tiers: Names, in the order in which they are asked; the last accepts all.
            thresholds: Of the tiers before the last.
        """
        rows = [
            TierThresholds(tier=tier, accept_from=least)
            for tier, least in zip(tiers[:-1], thresholds, strict=True)
        ]
        rows.append(TierThresholds(tier=tiers[-1], accept_from=None, accept_all=True))
        return cls(head=head, tiers=rows)

    def faults(self, taxonomy: Taxonomy, tiers: Sequence[str]) -> Iterator[str]:
        """Where the rule does not fit a bundle.

        Args:
            taxonomy: Of the bundle.
            tiers: Names of its tiers; the rule may leave some out.
        """
        names = [tier.tier for tier in self.tiers]
        yield from (f"routing asks '{n}', which is not a tier" for n in names if n not in tiers)
        if len(set(names)) < len(names):
            yield f"routing asks a tier twice: {', '.join(names)}"
        heads = {head.name: head for head in taxonomy.heads if head.kind != "multilabel"}
        if self.head not in heads:
            yield f"routing is by '{self.head}', which is not a multiclass or ordinal head"
            return
        known = set(heads[self.head].class_names)
        classes = {name for tier in self.tiers for name in tier.by_class}
        classes |= set(self.promised_by_class)
        for name in sorted(classes - known):
            yield f"routing names '{name}', which is not a class of '{self.head}'"

    def route(
        self,
        scores: Sequence[np.ndarray],
        unknown: Sequence[np.ndarray | None],
        answers: Sequence[np.ndarray],
    ) -> np.ndarray:
        """The first tier whose answer is accepted.

        Args:
            scores: Per tier (N,) routing scores.
            unknown: Per tier (N,) unknown scores, or None.
            answers: Per tier (N,) answered classes, as text.

        Returns:
            Index into `tiers`, int64 (N,); `NONE` where no answer is accepted.
        """
        first = np.full(len(scores[0]), NONE, np.int64)
        for index, tier in reversed(list(enumerate(self.tiers))):
            takes = tier.accepted(np.asarray(scores[index]), unknown[index], answers[index])
            first[takes] = index
        return first


def _from(least: float | None) -> str:
    return "no answer" if least is None else f"from {least:.3g}"


def _floor(least: float | None) -> float:
    return np.inf if least is None else least


def _rounded_apart(*values: float) -> list[str]:
    """Rounded to three digits, or to as many as keep them distinct."""
    for digits in range(3, 17):
        rounded = [f"{value:.{digits}g}" for value in values]
        if len(set(rounded)) == len(set(values)):
            return rounded
    return [repr(float(value)) for value in values]
