"""Which of one person's opinions on one head of one photo count, in whatever order they arrive.

They are ordered by when they were given, then by arrival. Neighbors that are the same are one
opinion: the others of such a run are kept, because an opinion that arrives late may come to stand
between them and divide the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cannabis_ml.feedback.tables import LATEST


@dataclass(frozen=True)
class GivenOpinion:
    """One opinion of a person on one head of one photo.

    Attributes:
        row: Id of its row; None where it is about to be written.
        submission: Id of its submission, above 0.
        content: What it is the same as another by: verdict, label and bundle.
        replaced: As in the row: `LATEST`; the submission's id where a later one has replaced it;
            minus that where it repeats a neighbor.
    """

    row: int | None
    submission: int
    content: tuple[str, str, str | None]
    replaced: int = LATEST


def in_order(
    before: Sequence[GivenOpinion], own: GivenOpinion, place: int
) -> list[tuple[GivenOpinion, int]]:
    """Put an opinion among a person's others, and find out which of them count now.

    Args:
        before: The others, by when they were given, then by arrival.
        own: The new one.
        place: Its place among them: how many were given no later.

    Returns:
        All of them in order, each with what its `replaced` has to be.
    """
    return _counted([*before[:place], own, *before[place:]], own)


def without(rest: Sequence[GivenOpinion]) -> list[tuple[GivenOpinion, int]]:
    """What counts of a person's opinions after one of them was taken back.

    Args:
        rest: Those that are left, by when they were given, then by arrival; at least one.

    Returns:
        As `in_order`.
    """
    return _counted(rest, None)


def _counted(
    given: Sequence[GivenOpinion], own: GivenOpinion | None
) -> list[tuple[GivenOpinion, int]]:
    ordered: list[tuple[GivenOpinion, int]] = []
    for _, run in groupby(given, key=lambda one: one.content):
        members = list(run)
        counted = [one for one in members if one is not own and one.replaced >= LATEST]
        counted = counted or members[:1]
        ordered += [(one, one.submission if one in counted else -one.submission) for one in members]
    latest = max(i for i, (_, replaced) in enumerate(ordered) if replaced > 0)
    ordered[latest] = (ordered[latest][0], LATEST)
    return ordered
