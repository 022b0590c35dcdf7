"""From a crowd's probabilities to labels that are accepted or not, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.feedback.vetting.consensus import Consensus
from cannabis_ml.feedback.vetting.crowd import Sums
from cannabis_ml.feedback.vetting.params import VettingParams
from cannabis_ml.feedback.vetting.questions import Questions
from cannabis_ml.feedback.vetting.rules import NONE_OF_THESE
from cannabis_ml.taxonomy import MISSING
from cannabis_ml.text import counted

METHODS = {
    "majority": "equal people",
    "one_coin": "people weighted by how often they are right",
    "dawid_skene": "Dawid-Skene",
}


@dataclass(frozen=True)
class Decided:
    """What is decided on the tasks of one head, before caps.

    Attributes:
        tasks: One row per task that has votes and no known label, in order: `photo_id`, `task`
            (its number), `label`, `confidence`, `opinions`, `status`, `reason`, `first_vote`.
        alone: One row per vote without which an accepted label would not stand: `row` of `tasks`,
            `person`, `opinion` (row of judged opinions).
    """

    tasks: pd.DataFrame
    alone: pd.DataFrame


def decide(
    questions: Questions,
    consensus: Consensus,
    judged: pd.DataFrame,
    people: pd.DataFrame,
    params: VettingParams,
) -> Decided:
    """Decide on every task of a head.

    Where one person alone spoke of whom little is known, the rule of their opinion decides;
    else the crowd's probabilities.

    Args:
        questions: Tasks of the head, with at least one vote.
        consensus: What was agreed on.
        judged: From `judge_opinions`.
        people: From `judge_people`.
        params: Thresholds.
    """
    votes = questions.votes
    counts = np.bincount(votes.task, minlength=votes.tasks)
    label, confidence = _by_consensus(questions, consensus)
    is_ruled = _are_ruled(questions, counts, people, params)
    lone = is_ruled[votes.task]
    label[votes.task[lone]] = votes.label[lone]
    confidence[votes.task[lone]] = judged["worth"].to_numpy(np.float64)[questions.opinion[lone]]
    names = np.array(questions.class_names, dtype=object)
    is_none = names[label] == NONE_OF_THESE
    accepted = (confidence >= params.accept_from) & ~is_none
    open_tasks = np.flatnonzero((counts > 0) & (questions.prior.known == MISSING))
    reasons = _Reasons(questions, consensus, judged, params)
    tasks = pd.DataFrame(
        {
            "photo_id": questions.photos[open_tasks // questions.per_photo],
            "task": open_tasks,
            "label": pd.Series(np.where(is_none, None, names[label])[open_tasks], dtype="object"),
            "confidence": confidence[open_tasks],
            "opinions": counts[open_tasks],
            "status": np.where(accepted, "accepted", "undecided")[open_tasks],
            "reason": reasons.of(open_tasks, label, confidence, is_ruled),
        }
    )
    row = np.full(votes.tasks, -1)
    row[open_tasks] = np.arange(len(open_tasks))
    without = consensus.others[np.arange(len(votes)), label[votes.task]]
    rests = accepted[votes.task] & (votes.label == label[votes.task]) & (row[votes.task] >= 0)
    rests &= (without < params.accept_from) | lone
    alone = pd.DataFrame(
        {
            "row": row[votes.task][rests],
            "person": questions.people[votes.person[rests]],
            "opinion": questions.opinion[rests],
        }
    )
    return Decided(tasks, alone)


def _are_ruled(
    questions: Questions, counts: np.ndarray, people: pd.DataFrame, params: VettingParams
) -> np.ndarray:
    """Tasks on which one person alone spoke of whom little is known, bool (T,)."""
    votes = questions.votes
    compared = people.set_index("person")["compared"].reindex(questions.people).to_numpy()
    unknown = compared[votes.person] < params.consensus.known_from
    ruled = np.zeros(votes.tasks, bool)
    ruled[votes.task[unknown & (counts[votes.task] == 1)]] = True
    return ruled


def _by_consensus(questions: Questions, consensus: Consensus) -> tuple[np.ndarray, np.ndarray]:
    """Label and its probability: of an ordinal head the median grade, else the likeliest."""
    probs = consensus.probs
    label = probs.argmax(axis=1)
    grades = len(questions.head.class_names)
    if questions.head.kind == "ordinal":
        scale = probs[:, :grades]
        median = questions.head.answer(scale / scale.sum(axis=1, keepdims=True))
        label = np.where(label < grades, median, label)
    return label, probs[np.arange(len(probs)), label]


class _Case(NamedTuple):
    """Facts in the reason of a decision."""

    counts: tuple[int, ...]
    label: int
    confidence: float
    enough: bool
    model: int
    model_confidence: float
    rule: str | None


class _Reasons:
    """Reasons of decisions in words; tasks that look the same share theirs."""

    def __init__(
        self,
        questions: Questions,
        consensus: Consensus,
        judged: pd.DataFrame,
        params: VettingParams,
    ) -> None:
        self._questions, self._params = questions, params
        self._names = questions.class_names
        votes = questions.votes
        chosen = np.zeros((len(votes), votes.classes))
        chosen[np.arange(len(votes)), votes.label] = 1
        self._counts = Sums(votes.task, votes.tasks).of(chosen).astype(np.int64)
        self._rule_reasons = judged["reason"].to_numpy(object)[questions.opinion]
        counts = self._counts.sum(axis=1)
        self._first = counts.cumsum() - counts
        self._method = METHODS[params.consensus.method]
        if questions.head.kind == "ordinal" and params.consensus.ordinal:
            self._method += " on the scale of grades"
        self._model = (
            questions.prior.model if params.consensus.model else questions.prior.model * np.nan
        )
        self._texts: dict[_Case, str] = {}

    def of(
        self, tasks: np.ndarray, label: np.ndarray, confidence: np.ndarray, is_ruled: np.ndarray
    ) -> pd.Series:
        best = np.where(np.isnan(self._model), -1, self._model).argmax(axis=1)
        has_model = np.isfinite(self._model).all(axis=1)
        sure = np.where(has_model, self._model[np.arange(len(best)), best], 0).round(2)
        rows = zip(
            map(tuple, self._counts[tasks].tolist()),
            label[tasks].tolist(),
            confidence[tasks].round(2).tolist(),
            (confidence[tasks] >= self._params.accept_from).tolist(),
            best[tasks].tolist(),
            sure[tasks].tolist(),
            np.where(
                is_ruled[tasks],
                self._rule_reasons[np.minimum(self._first[tasks], len(self._rule_reasons) - 1)],
                None,
            ),
            strict=True,
        )
        texts = []
        for row in rows:
            case = _Case(*row)
            if case not in self._texts:
                self._texts[case] = self._in_words(case)
            texts.append(self._texts[case])
        return pd.Series(texts, dtype="str")

    def _in_words(self, case: _Case) -> str:
        verdict = f"{case.confidence:.2f}"
        if not case.enough:
            verdict += f", below {self._params.accept_from:.2f}"
        if case.rule is not None:
            return f"one person of whom little is known: {case.rule}: {verdict}"
        voices = [
            f"{counted(n, 'person', 'people')} for '{self._names[k]}'"
            for k, n in sorted(enumerate(case.counts), key=lambda pair: (-pair[1], pair[0]))
            if n
        ]
        if case.model_confidence:
            voices.append(
                f"the model for '{self._names[case.model]}' ({case.model_confidence:.2f})"
            )
        return f"{', '.join(voices)}: '{self._names[case.label]}' by {self._method}: {verdict}"


def hold_back(
    decided: Decided, judged: pd.DataFrame, people: pd.DataFrame, params: VettingParams
) -> pd.DataFrame:
    """Leave undecided what rests on one person, or one burst of theirs, beyond the cap.

    The surest labels are kept; ties go by photo.

    Args:
        decided: Tasks of one head.
        judged: From `judge_opinions`.
        people: From `judge_people`; who has proven themselves has no cap.
        params: The caps.

    Returns:
        `decided.tasks`, some with another status and reason.
    """
    tasks, caps = decided.tasks.copy(), params.caps
    proven = set(people.loc[people["low"] >= caps.proven_from, "person"])
    alone = decided.alone[~decided.alone["person"].isin(proven)]
    burst = bursts(judged, caps.burst_gap_minutes)[alone["opinion"]]
    for what, share, names in (
        ("one burst of one person", caps.burst, pd.Series(burst, index=alone.index)),
        ("one person", caps.person, alone["person"]),
    ):
        accepted = tasks["status"] == "accepted"
        most = max(caps.fewest, int(share * accepted.sum()))
        still = alone[accepted.to_numpy()[alone["row"]]].assign(name=names)
        still = still.assign(
            confidence=tasks["confidence"].to_numpy()[still["row"]],
            photo_id=tasks["photo_id"].to_numpy()[still["row"]],
        )
        still = still.sort_values(
            ["name", "confidence", "photo_id", "row"], ascending=[True, False, True, True]
        )
        excess = still[still.groupby("name").cumcount() >= most]
        rows = excess["row"].unique()
        tasks.loc[rows, "status"] = "undecided"
        tasks.loc[rows, "reason"] = [
            f"{tasks['reason'][row]}; held back: {counted(most, 'label')} of this head rest on"
            f" {what} already, until somebody else agrees"
            for row in rows
        ]
    return tasks


def bursts(judged: pd.DataFrame, gap_minutes: float) -> np.ndarray:
    """Number of the burst that each opinion belongs to, int64, by row.

    A burst is a run of one person's opinions without a pause longer than `gap_minutes`.
    """
    order = judged.reset_index(drop=True).sort_values(["person", "at", "opinion_id"], kind="stable")
    pause = order.groupby("person")["at"].diff() > pd.Timedelta(minutes=gap_minutes)
    starts = pause | ~order["person"].duplicated()
    result = np.empty(len(judged), np.int64)
    result[order.index] = starts.cumsum().to_numpy()
    return result


def quarantined_photos(judged: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    """Photos and heads on which quarantined people chose something, with how many and whose."""
    kept = judged[judged["status"] == "quarantined"]
    grouped = kept.groupby(["photo_id", "head"], sort=True)["person"]
    table = grouped.agg(["nunique", "min"]).reset_index()
    return pd.DataFrame(
        {
            "photo_id": table["photo_id"],
            "head": table["head"],
            "opinions": table["nunique"],
            "reason": [
                f"only quarantined people spoke: {name} is {reasons[name]}" for name in table["min"]
            ],
        }
    )
