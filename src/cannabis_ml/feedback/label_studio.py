"""Label Studio: its labelling interface, and tasks with pre-annotations.

The format is that of https://labelstud.io/guide/task_format: a task has `data`, `predictions` and
`annotations`; each of these holds `result`, a list with an entry per head, `from_name` the head,
`type` "choices", and `value.choices` the classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from cannabis_ml._io.files import written_aside
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

    from cannabis_ml.feedback.store import FeedbackStore

IMAGE = "image"
UNSURE, NONE_OF_THESE = "(not sure)", "(none of these)"
"""Choices that every head has besides its classes."""

SUGGESTED_BY = "language model"
"""The tier of a pre-annotation that is no bundle's."""

PEOPLE = "@people.invalid"
"""What makes an address of a pseudonym: Label Studio knows people by addresses. No such address can
exist (RFC 2606)."""


def interface(taxonomy: Taxonomy) -> str:
    """The labelling interface, to be pasted into a project's settings."""
    lines = ["<View>", f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>']
    for head in taxonomy.heads:
        choice = "multiple" if head.kind == "multilabel" else "single"
        name = quoteattr(head.name)
        lines.append(f"  <Header value={name}/>")
        lines.append(f'  <Choices name={name} toName="{IMAGE}" choice="{choice}">')
        lines += [
            f"    <Choice value={quoteattr(value)}/>"
            for value in (*head.class_names, UNSURE, NONE_OF_THESE)
        ]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


@dataclass(frozen=True)
class PreAnnotation:
    """What a model answered for one photo.

    Attributes:
        bundle_id: Shown as the model's version.
        tier: Which tier answered.
        labels: By head; heads without an answer are left out.
        confidences: Calibrated, by head, in [0, 1]; the lowest is the task's score.
    """

    bundle_id: str
    tier: str
    labels: Mapping[str, Label]
    confidences: Mapping[str, float]


def task(
    photo_id: str,
    image: str,
    answer: PreAnnotation | None = None,
    details: Mapping[str, str | float] | None = None,
    suggested: PreAnnotation | None = None,
) -> dict[str, Any]:
    """One photo to be labelled, as Label Studio imports it.

    Args:
        photo_id: Id in the store; it comes back with the annotation.
        image: Address of the photo as Label Studio's server or the browser can open it.
        answer: Shown to the person beforehand.
        details: Further columns, such as a reason why this photo is worth labelling.
        suggested: By a language model: another pre-annotation, after the answer.
    """
    data: dict[str, Any] = {IMAGE: image, "photo_id": photo_id, **(details or {})}
    shown = [each for each in (answer, suggested) if each is not None]
    if not shown:
        return {"data": data}
    data |= {"tier": shown[0].tier, "confidences": dict(shown[0].confidences)}
    return {"data": data, "predictions": [_prediction(each) for each in shown]}


def _prediction(answer: PreAnnotation) -> dict[str, Any]:
    result = [_choices(head, label) for head, label in answer.labels.items() if label is not None]
    prediction: dict[str, Any] = {"model_version": answer.bundle_id, "result": result}
    if answer.confidences:
        prediction["score"] = min(answer.confidences.values())
    return prediction


def image_address(path: str, prefix: str | None) -> str:
    """Address of a photo as Label Studio opens it; the path as it is without a prefix."""
    return path if prefix is None else f"{prefix}/{path.lstrip('/')}"


def tasks_of(store: FeedbackStore, image_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """All photos of a store that were kept, with the latest answers and all people's opinions.

    What a language model suggests is another pre-annotation, after the answer of a bundle.

    Args:
        store: Is read.
        image_of: Gives the address of a photo from the one that the store knows.
    """
    photos, answers = store.photos(), store.answers()
    answered = {photo_id: _latest(rows) for photo_id, rows in answers.groupby("photo_id")}
    opinions = store.opinions()
    is_person = opinions["annotator"] == "person"
    given = {photo_id: list(_annotations(own)) for photo_id, own in _by_photo(opinions[is_person])}
    suggested = {photo_id: suggestion(own) for photo_id, own in _by_photo(opinions[~is_person])}
    tasks = []
    for row in photos[photos["kept"]].itertuples():
        photo_id = str(row.photo_id)
        place = image_of(str(row.address))
        one = task(photo_id, place, answered.get(photo_id), suggested=suggested.get(photo_id))
        if photo_id in given:
            one["annotations"] = given[photo_id]
        tasks.append(one)
    return tasks


def write_tasks(tasks: list[dict[str, Any]], file: Path) -> None:
    """Write tasks for `Import` in Label Studio."""
    with written_aside(file) as aside:
        aside.write_text(json.dumps(tasks, ensure_ascii=False, indent=1, allow_nan=False), "utf-8")


def _choices(head: str, label: str | list[str]) -> dict[str, Any]:
    choices = label if isinstance(label, list) else [label]
    return {"from_name": head, "to_name": IMAGE, "type": "choices", "value": {"choices": choices}}


def _latest(rows: pd.DataFrame) -> PreAnnotation:
    """The last answer of one photo, from a table of answers."""
    rows = rows[rows["at"] == rows["at"].max()]
    rows = rows[rows["bundle_id"] == rows["bundle_id"].iloc[-1]]
    known = rows.dropna(subset="answered_confidence")
    return PreAnnotation(
        bundle_id=rows["bundle_id"].iloc[-1],
        tier=rows["tier"].iloc[-1],
        labels=dict(zip(rows["head"], rows["answered"], strict=True)),
        confidences=dict(zip(known["head"], known["answered_confidence"], strict=True)),
    )


def suggested_alone(opinions: pd.DataFrame) -> pd.DataFrame:
    """Opinions of language models on photos that no person spoke on."""
    seen = set(opinions.loc[opinions["annotator"] == "person", "photo_id"])
    return opinions[(opinions["annotator"] == "model") & ~opinions["photo_id"].isin(seen)]


def suggestion(rows: pd.DataFrame) -> PreAnnotation | None:
    """What a language model suggests for one photo: the latest, from a table of its opinions.

    Returns:
        None where it is not sure of any head.
    """
    rows = rows[rows["person"] == rows.sort_values("at", kind="stable")["person"].iloc[-1]]
    rows = rows[rows["verdict"].isin(["confirmed", "corrected"])]
    if rows.empty:
        return None
    sure = rows.dropna(subset="confidence")
    return PreAnnotation(
        bundle_id=rows["person"].iloc[-1],
        tier=SUGGESTED_BY,
        labels=dict(zip(rows["head"], rows["label"], strict=True)),
        confidences=dict(zip(sure["head"], sure["confidence"], strict=True)),
    )


def _by_photo(opinions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for photo_id, rows in opinions.groupby("photo_id"):
        yield str(photo_id), rows


def _annotations(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """People's opinions on one photo, from a table of opinions."""
    words = {"unsure": UNSURE, "none_of_these": NONE_OF_THESE}
    for person, own in rows.groupby("person"):
        result = [
            _choices(head, words.get(verdict, label))
            for head, verdict, label in zip(own["head"], own["verdict"], own["label"], strict=True)
            if verdict != "proposed"
        ]
        at = own["at"].max().isoformat()
        if result:
            who = {"email": f"{person}{PEOPLE}"}
            yield {"result": result, "completed_by": who, "created_at": at, "updated_at": at}
