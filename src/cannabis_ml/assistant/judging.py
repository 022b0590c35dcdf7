"""Two models on photos that they answer differently: which one is right, asked in both orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from cannabis_ml.assistant.answers import Confidence, Form, ShortText
from cannabis_ml.assistant.asking import Item, Outcome
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.prompting import render_prompt
from cannabis_ml.assistant.suggesting import described
from cannabis_ml.evaluation.intervals import wilson
from cannabis_ml.taxonomy import Head

PROMPT = "judge_flips.v1"


class Judgement(Form):
    """Which of two answers fits."""

    choice: Literal["first", "second", "neither", "unsure"]
    confidence: Confidence = Field(description="Probability that it is right, 0 to 1")
    reason: ShortText = Field(description="What in the photo decides, a few words")


@dataclass(frozen=True)
class Flip:
    """A photo that two models answer differently.

    Attributes:
        photo: The photo.
        old: Class that the old model decided on.
        new: Class that the new model decided on.
    """

    photo: PhotoSource
    old: str
    new: str


@dataclass(frozen=True)
class FlipReport:
    """What the language model makes of all flips.

    A flip counts for a model where it is chosen in both orders, or in one of them and the other is
    "unsure"; it is inconsistent where the orders disagree.

    Attributes:
        flips: How many were judged in both orders.
        new_right: For the new model.
        old_right: For the old model.
        neither: Both wrong, in both orders.
        unsure: Not decided in either order.
        inconsistent: The orders contradict each other.
        new_share: Of flips that count for one of them, the new model's.
        new_low: Lower end of its 95% interval (Wilson).
        new_high: Upper end.
        first_share: How often the first answer was chosen, of all choices between the two; 0.5
            without position bias, as each answer stood first once.
        first_low: Lower end of its 95% interval.
        first_high: Upper end.
    """

    flips: int
    new_right: int
    old_right: int
    neither: int
    unsure: int
    inconsistent: int
    new_share: float
    new_low: float
    new_high: float
    first_share: float
    first_low: float
    first_high: float

    @property
    def has_position_bias(self) -> bool:
        """Whether 0.5 lies outside the interval of `first_share`."""
        return not self.first_low <= 0.5 <= self.first_high


def flip_questions(
    flips: Sequence[Flip], head: Head, most_tokens: int, seed: int
) -> tuple[list[Item], np.ndarray]:
    """Two questions per flip, in both orders; which order is asked first is random.

    Returns:
        The items, two of one flip beside each other, and bool (2 F,): whether the new model's
        answer stands first.
    """
    new_first = np.random.default_rng(seed).random(len(flips)) < 0.5
    orders = np.stack([new_first, ~new_first], axis=1).ravel()
    shown = described(head)
    items = []
    for place, is_new_first in enumerate(orders):
        flip = flips[place // 2]
        answers = (flip.new, flip.old) if is_new_first else (flip.old, flip.new)
        prompt = render_prompt(PROMPT, head=shown, first=answers[0], second=answers[1])
        items.append(Item(flip.photo.photo_id, prompt, Judgement, most_tokens, (flip.photo,)))
    return items, orders


def judge(outcomes: Sequence[Outcome], new_first: np.ndarray) -> FlipReport:
    """Put both orders of each flip together.

    Args:
        outcomes: Of the items of `flip_questions`.
        new_first: From there.
    """
    choices = [
        _choice(outcome, bool(new)) for outcome, new in zip(outcomes, new_first, strict=True)
    ]
    pairs = [pair for pair in zip(choices[::2], choices[1::2], strict=True) if None not in pair]
    verdicts = [_together({str(choice) for choice in pair}) for pair in pairs]
    counts = {name: verdicts.count(name) for name in ("new", "old", "neither", "unsure", "mixed")}
    decided = counts["new"] + counts["old"]
    first = list(_first(outcomes))
    return FlipReport(
        len(pairs),
        counts["new"],
        counts["old"],
        counts["neither"],
        counts["unsure"],
        counts["mixed"],
        *_share(counts["new"], decided),
        *_share(sum(first), len(first)),
    )


def _choice(outcome: Outcome, new_first: bool) -> str | None:
    answer: Any = outcome.answer
    if answer is None:
        return None
    if answer.choice in ("first", "second"):
        return "new" if (answer.choice == "first") == new_first else "old"
    return str(answer.choice)


def _together(choices: set[str]) -> str:
    decided = choices - {"unsure"}
    if len(decided) > 1:
        return "mixed"
    return decided.pop() if decided else "unsure"


def _first(outcomes: Iterable[Outcome]) -> Iterable[bool]:
    for outcome in outcomes:
        answer: Any = outcome.answer
        if answer is not None and answer.choice in ("first", "second"):
            yield answer.choice == "first"


def _share(count: int, total: int) -> tuple[float, float, float]:
    interval = wilson(count, total)
    return (float("nan"), 0.0, 1.0) if interval is None else (count / total, *interval)
