"""Whether to train anew, and every reason that was looked at, with its figures.

Rates (accuracy, error of a class) fire only where the sample is large enough to show it: an
interval has to lie beyond the limit, not the estimate alone. They are read from photos that were
drawn uniformly for audit, where there are enough. Otherwise from all vetted feedback: people
correct more readily than they confirm, so accuracy is then compared with that of the first photos
after the training, which were chosen in the same way, and not with the test split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.evaluation.intervals import by_groups, difference, effective_photos, exact
from cannabis_ml.feedback.drift_reasons import drift_reasons
from cannabis_ml.feedback.judged import count_corrected
from cannabis_ml.feedback.release_accuracy import AuditEstimate
from cannabis_ml.feedback.release_drift import DriftFound
from cannabis_ml.feedback.retrain_reason import (
    REASONS,
    Reason,
    RetrainDecision,
    RetrainParams,
)
from cannabis_ml.feedback.training_record import (
    Baseline,
    TrainingRecord,
    answered_since,
    labels_of_photos,
)
from cannabis_ml.text import at_a_glance, counted

__all__ = ["REASONS", "Evidence", "Reason", "RetrainDecision", "RetrainParams", "decide_retraining"]


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on.

    Attributes:
        judged: As from `judged_answers`.
        photos: As from `feedback_photos`.
        proposals: Classes that people propose, as vetting counts them: `head`, `name`, `photos`
            and `people`.
        record: Of the last training; None where none is recorded.
        drift: As from `release_drift`.
        audits: Accuracy by head on recent audited answers, weighted by how they were drawn and
            corrected for what auditors miss; of one end with the confidence of the parameters.
    """

    judged: pd.DataFrame
    photos: pd.DataFrame
    proposals: pd.DataFrame
    record: TrainingRecord | None = None
    audits: Mapping[str, AuditEstimate] = field(default_factory=dict)
    drift: Sequence[DriftFound] = ()


def decide_retraining(evidence: Evidence, params: RetrainParams, now: datetime) -> RetrainDecision:
    """Look at every reason to train anew.

    Without any photo with a new label nothing would be learnt, so the decision is then no, however
    old the last training is.

    Args:
        evidence: What people found since the last training.
        params: The limits.
        now: UTC.
    """
    record = evidence.record
    new = _new_photos(evidence)
    since = answered_since(evidence.judged, record)
    reasons = [
        *_accuracy(since, evidence, params, now),
        *_class_errors(since, params),
        *_corrections(evidence.judged, new, params),
        *_new_classes(evidence, params),
        _count_of_new(new, params),
        *drift_reasons(evidence.drift, len(new), params),
        _age(record, len(new), params, now),
    ]
    reasons.sort(key=lambda reason: (not reason.fires, REASONS.index(reason.name)))
    return RetrainDecision(
        retrain=bool(new) and any(reason.fires for reason in reasons),
        decided_at=now,
        last_training=record.at if record else None,
        new_photos=len(new),
        reasons=reasons,
    )


# ------------------------------------------------------------------ what is new


def _new_photos(evidence: Evidence) -> set[str]:
    """Photos with a label that the last training was not given."""
    record = evidence.record
    labelled = labels_of_photos(evidence.photos)
    return {name for name, labels in labelled if record is None or not record.knows(name, labels)}


def _rated(rows: pd.DataFrame, params: RetrainParams) -> tuple[pd.DataFrame, bool]:
    """The rows that rates are read from, and whether they were drawn uniformly."""
    audit = rows[rows["audit"]]
    return (audit, True) if len(audit) >= params.min_photos else (rows, False)


# ------------------------------------------------------------------ rates


def _accuracy(
    since: pd.DataFrame, evidence: Evidence, params: RetrainParams, now: datetime
) -> Iterator[Reason]:
    record = evidence.record
    is_recent = since["at"] >= pd.Timestamp(now - timedelta(days=params.recent_days))
    for head, rows in since.groupby("head"):
        if record is not None and _is_multilabel(record, str(head)):
            continue
        recent, drawn = _rated(rows[is_recent.loc[rows.index]], params)
        if drawn:
            expected = _expected(recent["tier"], str(head), record)
            compared = Compared(
                expected, "the test split", params.min_photos, _audited(evidence, str(head), params)
            )
        else:
            first = rows.iloc[: max(params.min_photos, len(rows) // 3)]
            recent = recent.drop(first.index, errors="ignore")
            compared = Compared(
                _share(first, params.two_sided(len(rows))),
                f"the first {counted(len(first), 'photo')} after the training",
                2 * params.min_photos,
            )
        yield _accuracy_reason(str(head), recent, compared, len(rows), params)


class Compared(NamedTuple):
    """What accuracy is compared with.

    Attributes:
        baseline: Share right and its interval; None where it is not known.
        name: In words.
        needed: Judged photos that the comparison takes.
        audited: Share right and its interval by audit, in place of that of the judged photos.
    """

    baseline: tuple[float, tuple[float, float]] | None
    name: str
    needed: int
    audited: tuple[float, tuple[float, float]] | None = None


def _audited(
    evidence: Evidence, head: str, params: RetrainParams
) -> tuple[float, tuple[float, float]] | None:
    audit = evidence.audits.get(head)
    if audit is None or audit.photos < params.min_photos:
        return None
    if audit.accuracy is None or audit.low is None or audit.high is None:
        return None
    # What is not judged yet may all be right: people judge soonest what is wrong.
    return audit.accuracy, (audit.low, max(audit.high, audit.high_at_best or 0.0))


def _accuracy_reason(
    head: str, recent: pd.DataFrame, compared: Compared, judged: int, params: RetrainParams
) -> Reason:
    limit = -params.accuracy_drop
    drawn = bool(recent["audit"].all())
    baseline = compared.baseline
    share = compared.audited or _share(recent, params.two_sided(judged))
    if judged < compared.needed or len(recent) < params.min_photos:
        why = (
            f"{counted(judged, 'photo')} judged since the last training, {len(recent):,} of them to"
            f" compare; it takes {compared.needed}, or {params.min_photos} drawn for audit"
        )
    elif baseline is None:
        why = "no test accuracy is recorded for the tiers that answered"
    else:
        why = ""
    if why or baseline is None or share is None:
        return Reason(
            name="accuracy",
            fires=False,
            text=f"Accuracy of '{head}' was not compared: {why}.",
            head=head,
            limit=limit,
            photos=len(recent),
        )
    low, high = difference(*share, *baseline)
    fires = high < limit
    return Reason(
        name="accuracy",
        fires=fires,
        text=f"'{head}' was right on {share[0]:.1%} of {len(recent):,} recent photos"
        f" {'drawn for audit' if drawn else 'that people judged'}, against {baseline[0]:.1%} on"
        f" {compared.name}: a difference of {100 * (share[0] - baseline[0]):+.1f} points"
        f" ({100 * low:+.1f} to {100 * high:+.1f}),"
        f" {'beyond' if fires else 'not surely beyond'} the limit of {100 * limit:+.0f}.",
        head=head,
        value=share[0] - baseline[0],
        low=low,
        high=high,
        limit=limit,
        photos=len(recent),
    )


def _expected(
    tiers: pd.Series, head: str, record: TrainingRecord | None
) -> tuple[float, tuple[float, float]] | None:
    """Test accuracy of the tiers that answered, in the mix in which they did."""
    known: dict[str, dict[str, Baseline]] = record.baselines if record else {}
    shares = tiers.value_counts(normalize=True)
    parts = [(share, known.get(str(tier), {}).get(head)) for tier, share in shares.items()]
    if not parts or any(part is None for _, part in parts):
        return None
    known_parts = [(float(share), part) for share, part in parts if part is not None]
    mean = sum(share * part.accuracy for share, part in known_parts)
    away = np.sqrt(sum((share * (part.accuracy - part.low)) ** 2 for share, part in known_parts))
    # Only the lower end is used, where the baseline is overrated.
    return mean, (mean - float(away), min(1.0, mean + float(away)))


def _class_errors(since: pd.DataFrame, params: RetrainParams) -> Iterator[Reason]:
    rows, drawn = _rated(since, params)
    exclusive = rows[~rows["label"].str.contains(";") & (rows["label"] != "-")]
    of_classes = list(exclusive.groupby(["head", "label"]))
    for (head, name), photos in of_classes:
        # Of so many classes one is beyond its limit by chance sooner (Bonferroni).
        wrong = ~photos["right"].to_numpy()
        confidence = params.two_sided(len(rows), len(of_classes))
        effective = effective_photos(wrong, photos["group"].to_numpy(), confidence)
        error = float(wrong.mean())
        ends = exact(error * effective, effective, confidence)
        if ends is None:
            continue
        fires = ends[0] > params.class_error
        if error <= params.class_error and not fires:
            continue  # nothing to report
        yield Reason(
            name="class_error",
            fires=fires,
            text=f"'{name}' of '{head}' was missed on {error:.0%} of"
            f" {counted(len(photos), 'photo')}"
            f" {'drawn for audit' if drawn else 'that people judged'} ({ends[0]:.0%} to"
            f" {ends[1]:.0%}), {'beyond' if fires else 'not surely beyond'} the limit of"
            f" {params.class_error:.0%}.",
            head=str(head),
            class_name=str(name),
            value=error,
            low=ends[0],
            high=ends[1],
            limit=params.class_error,
            photos=len(photos),
        )


def _share(rows: pd.DataFrame, confidence: float) -> tuple[float, tuple[float, float]] | None:
    ends = by_groups(rows["right"].to_numpy(), rows["group"].to_numpy(), confidence)
    return None if ends is None else (float(rows["right"].mean()), ends)


def _is_multilabel(record: TrainingRecord, head: str) -> bool:
    return any(one.name == head and one.kind == "multilabel" for one in record.taxonomy.heads)


# ------------------------------------------------------------------ counts


def _corrections(judged: pd.DataFrame, new: set[str], params: RetrainParams) -> Iterator[Reason]:
    rows = judged[judged["photo_id"].isin(list(new)) & ~judged["right"]]
    for (head, name), count in count_corrected(rows.to_dict("records")).items():
        fires = count > params.corrections_of_class
        if not fires and 2 * count <= params.corrections_of_class:
            continue
        yield Reason(
            name="corrections",
            fires=fires,
            text=f"'{name}' of '{head}' was corrected {count:,} times since the last training; the"
            f" limit is {params.corrections_of_class:,}.",
            head=head,
            class_name=name,
            value=count,
            limit=params.corrections_of_class,
            photos=count,
        )


def _new_classes(evidence: Evidence, params: RetrainParams) -> Iterator[Reason]:
    """Classes that people propose, and those that were added to the taxonomy since."""
    record = evidence.record
    for row in evidence.proposals.to_dict("records"):
        head, name = str(row["head"]), str(row["name"])
        photos, people = int(row["photos"]), int(row["people"])
        if record is not None and at_a_glance(name) in _known_looks(record, head):
            continue
        fires = photos >= params.photos_of_new_class and people >= params.people_for_new_class
        text = (
            f"{counted(people, 'person', 'people')} proposed '{name}' as a new class of '{head}'"
            f" for {counted(photos, 'photo')}; it takes {params.photos_of_new_class:,} photos and"
            f" {counted(params.people_for_new_class, 'person', 'people')}."
        )
        yield _new_class(_ClassPhotos(head, name, photos), fires, text, params)
    for added in _added_classes(evidence):
        text = (
            f"'{added.name}' of '{added.head}' was added to the taxonomy since the last training"
            f" and has {counted(added.photos, 'photo')}; it takes {params.photos_of_new_class:,}."
        )
        yield _new_class(added, added.photos >= params.photos_of_new_class, text, params)


class _ClassPhotos(NamedTuple):
    """A class that is new, and how many photos it has."""

    head: str
    name: str
    photos: int


def _new_class(new: _ClassPhotos, fires: bool, text: str, params: RetrainParams) -> Reason:
    return Reason(
        name="new_class",
        fires=fires,
        text=text,
        head=new.head,
        class_name=new.name,
        value=new.photos,
        limit=params.photos_of_new_class,
        photos=new.photos,
    )


def _added_classes(evidence: Evidence) -> Iterator[_ClassPhotos]:
    """Head, class and photos of accepted labels that the last training did not know."""
    if evidence.record is None:
        return
    for head in evidence.record.taxonomy.heads:
        if head.kind == "multilabel" or head.name not in evidence.photos:
            continue
        counts = evidence.photos[head.name].value_counts()
        for name, photos in counts.items():
            if name not in head.class_names:
                yield _ClassPhotos(head.name, str(name), int(photos))


def _known_looks(record: TrainingRecord, head: str) -> set[str]:
    heads: Iterable[Sequence[str]] = (
        one.class_names for one in record.taxonomy.heads if one.name == head
    )
    return {at_a_glance(name) for names in heads for name in names}


def _count_of_new(new: set[str], params: RetrainParams) -> Reason:
    return Reason(
        name="new_photos",
        fires=len(new) > params.new_photos,
        text=f"{counted(len(new), 'photo')} with labels that the last training did not have; the"
        f" limit is {params.new_photos:,}.",
        value=len(new),
        limit=params.new_photos,
        photos=len(new),
    )


def _age(record: TrainingRecord | None, new: int, params: RetrainParams, now: datetime) -> Reason:
    if record is None:
        return Reason(
            name="age",
            fires=False,
            text="No training is recorded yet: its age is not known.",
            limit=params.days,
        )
    days = (now - record.at) / timedelta(days=1)
    old = days >= params.days
    nothing = old and not new
    return Reason(
        name="age",
        fires=old and not nothing,
        text=f"The last training is {days:.0f} days old; the limit is {params.days}."
        + (" Nothing new to learn from has come since." if nothing else ""),
        value=days,
        limit=params.days,
        photos=new,
    )
