"""How reliable each person is, from agreement with others and from gold photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cannabis_ml.feedback.vetting.archetypes import typical_density
from cannabis_ml.feedback.vetting.consensus import Consensus
from cannabis_ml.feedback.vetting.params import PeopleParams
from cannabis_ml.feedback.vetting.questions import Questions
from cannabis_ml.taxonomy import MISSING
from cannabis_ml.text import counted

_GRID = np.linspace(0.0025, 0.9975, 200)


def judge_people(
    heads: Sequence[tuple[Questions, Consensus]], params: PeopleParams
) -> pd.DataFrame:
    """Estimate how often each person is right, over all heads.

    A person's votes are compared with what is known of the same tasks without them. The
    likelihood of an accuracy a is the product over votes of a s + (1 - a) (1 - s) / (K - 1), where
    s is the probability that the vote is right: votes on tasks that nobody else knows do not count.
    All votes count alike: if confirmations counted less, good people would look worse. The prior is
    that of a typical person.

    Args:
        heads: Tasks of each head and what was agreed on.
        params: Who is quarantined.

    Returns:
        One row per person, sorted: `person`; `opinions`; `compared`, of how many answers others
        knew the truth, in whole answers; `gold`, how many were on gold tasks; `accuracy` with the
        ends of its credible interval `low` and `high`; `weight`, in [0, 1]: how far above chance
        (0 if quarantined); `quarantined`; `reason`.
    """
    names = sorted({name for questions, _ in heads for name in questions.people})
    place = {name: i for i, name in enumerate(names)}
    logs, totals = table_of_evidence(len(names))
    for questions, consensus in heads:
        votes = questions.votes
        person = np.array([place[name] for name in questions.people], np.int64)[votes.person]
        right = consensus.others[np.arange(len(votes)), votes.label]
        informed = consensus.informed > 0
        logs += vote_evidence(person[informed], right[informed], votes.classes, len(names))
        share = 1 / questions.per_photo
        is_gold = questions.prior.known[votes.task] != MISSING
        values = np.broadcast_arrays(1.0, consensus.informed, is_gold, 1 / votes.classes)
        totals += [np.bincount(person, share * each, len(names)) for each in values]
    return people_table(names, logs, totals, params)


def table_of_evidence(people: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known of people before any vote.

    Returns:
        Log-density of each accuracy of the grid, (people, 200), and zeros (4, people) for sums of
        opinions, compared ones, gold ones, and chances to be right by guessing.
    """
    return np.tile(np.log(typical_density(_GRID)), (people, 1)), np.zeros((4, people))


def vote_evidence(person: np.ndarray, right: np.ndarray, classes: int, people: int) -> np.ndarray:
    """Log-likelihood of each accuracy of the grid, (people, 200).

    The probability that a vote is right is taken in steps of 1/200: there are many votes.
    """
    steps = np.linspace(0, 1, 201)
    cell = person * len(steps) + np.rint(right * 200).astype(np.int64)
    counts = np.bincount(cell, minlength=people * len(steps)).reshape(people, -1)
    wrong = (1 - steps) / (classes - 1)
    return counts @ np.log(steps[:, None] * _GRID + wrong[:, None] * (1 - _GRID))


def people_table(
    names: list[str], logs: np.ndarray, totals: np.ndarray, params: PeopleParams
) -> pd.DataFrame:
    """The table of `judge_people`, from what was added up as `table_of_evidence` begins it."""
    posterior = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-np.inf))
    posterior /= posterior.sum(axis=1, keepdims=True)
    rising = posterior.cumsum(axis=1)
    tail = (1 - params.interval) / 2
    low = _GRID[(rising < tail).sum(axis=1)]
    high = _GRID[np.minimum((rising < 1 - tail).sum(axis=1), len(_GRID) - 1)]
    opinions, compared, gold, chances = totals
    chance = chances / np.maximum(opinions, 1e-9)
    accuracy = posterior @ _GRID
    table = pd.DataFrame(
        {
            "person": pd.Series(names, dtype="str"),
            "opinions": opinions.round().astype(np.int64),
            "compared": compared,
            "gold": gold.round().astype(np.int64),
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "weight": np.maximum(0, (accuracy - chance) / (1 - chance)),
        }
    )
    return _with_quarantine(table, params)


def _with_quarantine(table: pd.DataFrame, params: PeopleParams) -> pd.DataFrame:
    shares = [
        f"right in {accuracy:.0%} of answers ({low:.0%} to {high:.0%}), "
        f"{counted(round(compared), 'answer')} compared"
        for accuracy, low, high, compared in table[
            ["accuracy", "low", "high", "compared"]
        ].to_numpy(np.float64)
    ]
    listed = table["person"].isin(params.quarantined)
    poor = (table["high"] < params.quarantine_below) & (table["compared"] >= params.quarantine_from)
    poor &= ~table["person"].isin(params.released)
    reasons = np.select(
        [listed, poor],
        [
            [f"quarantined by configuration; {text}" for text in shares],
            [f"quarantined: {text}, below {params.quarantine_below:.0%}" for text in shares],
        ],
        shares,
    )
    quarantined = (listed | poor).to_numpy(bool)
    return table.assign(
        weight=np.where(quarantined, 0.0, table["weight"]),
        quarantined=quarantined,
        reason=pd.Series(reasons, dtype="str"),
    )
