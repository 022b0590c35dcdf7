"""What people answered in Label Studio, from its JSON export; see `label_studio` for the format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from cannabis_ml.errors import FeedbackError, FeedbackRefusedError
from cannabis_ml.feedback.exchange import Imported
from cannabis_ml.feedback.label_studio import IMAGE, NONE_OF_THESE, PEOPLE, UNSURE
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import Submission, read_submission, reasons_of, same_label
from cannabis_ml.taxonomy import Head, Taxonomy

MAX_BYTES = 200_000_000
_PHOTO_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def import_tasks(store: FeedbackStore, file: Path, taxonomy: Taxonomy) -> Imported:
    """Take in the annotations of a JSON export of Label Studio; a bad one costs no other.

    Annotations marked as ground truth also become the known labels of their photos.

    Args:
        store: Must know the photos: by `data.photo_id`, or by their id or the SHA-256 of the
            original file in the image's address.
        file: As from `Export`, format JSON.
        taxonomy: Its heads are the `from_name`s; multilabel ones take several classes.

    Raises:
        FeedbackError: If it is not such a file.
    """
    taken = opinions = retries = 0
    refused: list[tuple[str, str]] = []
    gold: dict[tuple[str, str], Label] = {}
    for where, annotated in read_tasks(file, taxonomy):
        if isinstance(annotated, FeedbackRefusedError):
            refused.append((where, str(annotated)))
            continue
        try:
            receipt = store.add(annotated.submission)
        except FeedbackRefusedError as error:
            refused.append((where, str(error)))
            continue
        taken += not receipt.is_retry
        opinions += receipt.taken
        retries += receipt.is_retry
        if annotated.ground_truth:
            for opinion in annotated.submission.opinions:
                label = annotated.submission.label_of(opinion)
                if label is not None:
                    gold[receipt.photo_id, opinion.head] = label
    store.mark_gold(gold)
    return Imported(taken, opinions, retries, tuple(refused))


@dataclass(frozen=True)
class Annotated:
    """One person's annotation of one task.

    Attributes:
        submission: As the store takes it.
        ground_truth: Whether it was marked as such.
    """

    submission: Submission
    ground_truth: bool


def read_tasks(
    file: Path, taxonomy: Taxonomy
) -> Iterator[tuple[str, Annotated | FeedbackRefusedError]]:
    """The annotations of an export, each with where it stands; skipped ones are left out.

    Raises:
        FeedbackError: If it is not an export of Label Studio.
    """
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise FeedbackError(f"{file} has {size:,} bytes, more than {MAX_BYTES:,}: export less.")
        tasks = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FeedbackError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(tasks, list):
        raise FeedbackError(f"{file} is not an export of Label Studio: a list of tasks is.")
    for number, each in enumerate(tasks):
        where = f"task {number + 1}"
        try:
            one = _TASK.validate_python(each)
        except ValidationError as error:
            yield where, FeedbackRefusedError(*reasons_of(error))
            continue
        for annotation in one.annotations:
            if annotation.was_cancelled:
                continue
            place = f"{where} (id {one.id}), annotation {annotation.id}"
            try:
                submission = _submission(one, annotation, taxonomy)
            except FeedbackRefusedError as error:
                yield place, error
            else:
                yield place, Annotated(submission, annotation.ground_truth)


class _Value(BaseModel):
    choices: list[str] = Field(max_length=1000)


class _Result(BaseModel):
    from_name: str
    type: str
    value: _Value | dict[str, Any]


class _Prediction(BaseModel):
    model_version: str | None = None
    result: list[_Result] = []


class _User(BaseModel):
    id: int | None = None
    email: str | None = None


class _Annotation(BaseModel):
    id: int | str | None = None
    result: list[_Result] = []
    was_cancelled: bool = False
    ground_truth: bool = False
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    lead_time: float | None = None
    completed_by: int | _User | None = None


class _Task(BaseModel):
    id: int | str | None = None
    project: int | None = None
    data: dict[str, Any]
    annotations: list[_Annotation] = []
    predictions: list[_Prediction | int] = []


_TASK = TypeAdapter(_Task)


def _submission(task: _Task, annotation: _Annotation, taxonomy: Taxonomy) -> Submission:
    at = annotation.updated_at or annotation.created_at
    if at is None:
        raise FeedbackRefusedError("updated_at: is missing")
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
    answered = _answered(task, taxonomy)
    heads = answered["heads"] if answered else {}
    given = {
        # An annotation that is changed is another submission, and replaces the former.
        "key": f"label-studio-{task.project or 0}-{task.id}-{annotation.id}-{stamp}",
        "person": _person(annotation.completed_by),
        "at": at,
        "photo_id": _photo_id(task.data),
        "answered": answered,
        "seen_answer": answered is not None,
        "opinions": [
            _opinion(taxonomy[name], choices, heads.get(name))
            for name, choices in _chosen(annotation.result, taxonomy).items()
        ],
        "metadata": {"lead_time_s": annotation.lead_time} if annotation.lead_time else {},
    }
    if not given["opinions"]:
        raise FeedbackRefusedError("result: has no choice of a head of the taxonomy")
    return read_submission(given, taxonomy)


def _person(completed_by: int | _User | None) -> str:
    if isinstance(completed_by, int):
        return f"label-studio-{completed_by}"
    if completed_by is not None and (completed_by.email or "").endswith(PEOPLE):
        return str(completed_by.email).removesuffix(PEOPLE)
    if completed_by is not None and completed_by.id is not None:
        return f"label-studio-{completed_by.id}"
    raise FeedbackRefusedError("completed_by: is missing")


def _photo_id(data: Mapping[str, Any]) -> str:
    for value in (data.get("photo_id"), data.get(IMAGE)):
        matches = _PHOTO_ID.findall(value) if isinstance(value, str) else []
        if matches:
            return str(matches[-1])
    raise FeedbackRefusedError(f"data: neither photo_id nor {IMAGE} holds the id of a photo")


def _chosen(result: list[_Result], taxonomy: Taxonomy) -> dict[str, list[str]]:
    """Choices by head, of the heads of the taxonomy."""
    names = {head.name for head in taxonomy.heads}
    chosen: dict[str, list[str]] = {}
    for each in result:
        if each.type == "choices" and each.from_name in names and isinstance(each.value, _Value):
            chosen.setdefault(each.from_name, []).extend(each.value.choices)
    return chosen


def _answered(task: _Task, taxonomy: Taxonomy) -> dict[str, Any] | None:
    """The first prediction with a version: what the person saw."""
    for prediction in task.predictions:
        if isinstance(prediction, _Prediction) and prediction.model_version and prediction.result:
            shares = task.data.get("confidences")
            shares = shares if isinstance(shares, dict) else {}
            return {
                "bundle_id": prediction.model_version,
                "tier": task.data.get("tier") or "unknown",
                "heads": {
                    name: {
                        "label": _label(taxonomy[name], choices),
                        "confidence": shares.get(name),
                    }
                    for name, choices in _chosen(prediction.result, taxonomy).items()
                },
            }
    return None


def _opinion(head: Head, choices: list[str], answer: dict[str, Any] | None) -> dict[str, Any]:
    if UNSURE in choices:
        return {"head": head.name, "verdict": "unsure"}
    if NONE_OF_THESE in choices:
        return {"head": head.name, "verdict": "none_of_these"}
    label = _label(head, choices)
    if answer is not None and same_label(answer["label"], label):
        return {"head": head.name, "verdict": "confirmed"}
    return {"head": head.name, "verdict": "corrected", "label": label}


def _label(head: Head, choices: list[str]) -> Label:
    if head.kind == "multilabel":
        return choices
    if len(choices) != 1:
        raise FeedbackRefusedError(f"'{head.name}' has {len(choices)} choices, not one")
    return choices[0]
