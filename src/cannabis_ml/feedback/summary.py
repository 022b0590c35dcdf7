"""Counts of feedback: totals, the most corrected classes, the model against people."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from math import isnan
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.feedback.audit_draw import AuditPlanned
from cannabis_ml.feedback.judged import NONE, count_corrected
from cannabis_ml.feedback.opinions import VERDICTS
from cannabis_ml.feedback.release import Release
from cannabis_ml.feedback.release_drift import DriftFound
from cannabis_ml.feedback.snapshot import FeedbackSnapshot

MOST = 5
"""Classes listed as most corrected."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Corrected(_Record):
    """One class that was corrected."""

    head: str
    class_name: str = Field(description="As it was answered; of attributes, that was wrong")
    count: int


class Confusion(_Record):
    """Answers of the model against what people found, of one multiclass or ordinal head."""

    head: str
    classes: list[str]
    counts: list[list[int]] = Field(description="(K, K), label of people by answer of the model")
    right: float = Field(description="Share of these photos whose answer was right, not weighted")


class Annotator(_Record):
    """One person."""

    person: str
    opinions: int
    accuracy: float
    low: float
    high: float
    quarantined: bool


class ReleaseAccuracy(_Record):
    """Accuracy of one head on recent answers: as audited, and as confidence promises."""

    head: str
    accuracy: float | None = Field(description="Horvitz-Thompson; None: nothing was audited")
    low: float | None
    high: float | None
    photos: int = Field(description="Audited answers")
    unjudged: int = Field(description="Answers that were drawn and wait for a judgment")
    expected: float | None = Field(description="Mean calibrated confidence; None: none was sent")
    expected_low: float | None
    expected_high: float | None
    answers: int = Field(description="Recent answers with a confidence")
    contradicted: bool = Field(description="Whether audit and confidence cannot both be true")
    reason: str = Field(description="The audit in words")


class Proposal(_Record):
    """One class that people propose."""

    head: str
    name: str
    photos: int
    people: int


class FeedbackSummary(_Record):
    """Totals of all feedback that counts."""

    photos: int = Field(description="That anybody has an opinion on")
    photos_kept: int = Field(description="Of the store, whose bytes are there to learn from")
    people: int
    opinions: int = Field(description="One per person, photo and head: the latest")
    by_verdict: dict[str, int]
    by_status: dict[str, int] = Field(description="Labels, one per photo and head, by status")
    confirmed: int = Field(description="Accepted labels that are as the model answered")
    corrected: int = Field(description="Accepted labels that are not")
    most_corrected: list[Corrected]
    confusions: list[Confusion]
    audits: list[ReleaseAccuracy] = Field(description="Of heads with recent answers")
    audit_plan: AuditPlanned = Field(description="What is put up for audit this week")
    to_judge: int = Field(description="Photos that wait for somebody to judge them")
    drift: list[DriftFound] = Field(description="Against photos that stand for training")
    annotators: list[Annotator] = Field(description="Those with most opinions first")
    proposals: list[Proposal]


def summarize(
    snapshot: FeedbackSnapshot,
    vetted: Mapping[str, pd.DataFrame],
    judged: pd.DataFrame,
    release: Release,
    audit: tuple[AuditPlanned, int],
) -> FeedbackSummary:
    """Count feedback.

    Args:
        snapshot: All opinions.
        vetted: `photos`, `people` and `proposals`, as from vetting.
        judged: As from `judged_answers`.
        release: As from `watch_release`.
        audit: This week's plan, and how many photos wait to be judged.
    """
    opinions = snapshot.opinions[snapshot.opinions["annotator"] == "person"]
    verdicts = opinions["verdict"].value_counts()
    corrected = count_corrected(judged[~judged["right"]].to_dict("records"))
    people = vetted["people"].sort_values(["opinions", "person"], ascending=[False, True])
    return FeedbackSummary(
        photos=int(opinions["photo_id"].nunique()),
        photos_kept=len(snapshot.paths),
        people=int(opinions["person"].nunique()),
        opinions=len(opinions),
        by_verdict={name: int(verdicts.get(name, 0)) for name in VERDICTS},
        by_status={
            str(name): int(n) for name, n in vetted["photos"]["status"].value_counts().items()
        },
        confirmed=int(judged["right"].sum()),
        corrected=int((~judged["right"]).sum()),
        most_corrected=[
            Corrected(head=head, class_name=name, count=count)
            for (head, name), count in list(corrected.items())[:MOST]
        ],
        confusions=[_confusion(head, rows) for head, rows in _exclusive(judged)],
        audits=[_accuracy(row) for row in release.table.to_dict("records")],
        audit_plan=audit[0],
        to_judge=audit[1],
        drift=release.drift,
        annotators=[
            Annotator(
                person=str(row["person"]),
                opinions=round(row["opinions"]),
                accuracy=float(row["accuracy"]),
                low=float(row["low"]),
                high=float(row["high"]),
                quarantined=bool(row["quarantined"]),
            )
            for row in people.to_dict("records")
        ],
        proposals=[
            Proposal.model_validate({name: row[name] for name in Proposal.model_fields})
            for row in vetted["proposals"].to_dict("records")
        ],
    )


def _accuracy(row: Mapping[Hashable, Any]) -> ReleaseAccuracy:
    """From a row of `release_table`, in which NaN stands for what is not known."""
    known = {name: row[name] for name in ReleaseAccuracy.model_fields}
    missing = {name for name, value in known.items() if isinstance(value, float) and isnan(value)}
    return ReleaseAccuracy.model_validate(known | dict.fromkeys(missing))


def _exclusive(judged: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Heads of which every label and answer is one class."""
    for head, rows in judged.groupby("head"):
        both = pd.concat([rows["label"], rows["answered"]])
        if not (both.str.contains(";") | (both == NONE)).any():
            yield str(head), rows


def _confusion(head: str, rows: pd.DataFrame) -> Confusion:
    classes = sorted({*rows["label"], *rows["answered"]})
    table = pd.crosstab(rows["label"], rows["answered"])
    table = table.reindex(index=classes, columns=classes, fill_value=0)
    return Confusion(
        head=head,
        classes=classes,
        counts=table.to_numpy().astype(int).tolist(),
        right=float(rows["right"].mean()),
    )
