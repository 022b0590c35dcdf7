"""Suggested labels for photos without any: asked, and put before people in the feedback store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cannabis_ml.assistant.answers import (
    NOT_SURE,
    PhotoNotes,
    Suggested,
    heads_to_ask,
    read_suggestions,
    suggestion_form,
)
from cannabis_ml.assistant.asking import Item, Outcome
from cannabis_ml.assistant.outgoing import PhotoSource
from cannabis_ml.assistant.params import SuggestParams
from cannabis_ml.assistant.prompting import render_prompt
from cannabis_ml.errors import ConfigError, FeedbackRefusedError
from cannabis_ml.feedback.assistants import assistant_id
from cannabis_ml.feedback.label_studio import suggested_alone, suggestion
from cannabis_ml.feedback.review_queue import MOST_ENTRIES, QueueEntry, QueueList
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import Answered, AnsweredHead, HeadOpinion, Submission
from cannabis_ml.taxonomy import Head, Taxonomy

logger = logging.getLogger(__name__)

PROMPT = "suggest_labels.v1"
TIER = "suggest_labels"

LOOK, SUGGESTED = "a language model asks for a look", "suggested by a language model"
"""Reasons why a photo is put up for review."""


@dataclass(frozen=True)
class Suggestion:
    """What a model suggests for one photo.

    Attributes:
        outcome: Of the question; its one photo is what the suggestion is about.
        heads: By head, those that were asked for.
        symptoms: Visible, in a few words each.
        needs_review: Whether the model wants a person to look first, or contradicts itself.
    """

    outcome: Outcome
    heads: Mapping[str, Suggested]
    symptoms: tuple[str, ...]
    needs_review: bool

    @property
    def photo(self) -> PhotoSource:
        return self.outcome.item.photos[0]


def label_questions(
    photos: Iterable[PhotoSource], taxonomy: Taxonomy, params: SuggestParams
) -> list[Item]:
    """A question per photo on all heads at once.

    Raises:
        ConfigError: If a head is not in the taxonomy.
    """
    heads = _heads(taxonomy, params)
    prompt = render_prompt(PROMPT, heads=[described(head) for head in heads], not_sure=NOT_SURE)
    form = suggestion_form(heads)
    return [Item(photo.photo_id, prompt, form, params.most_tokens, (photo,)) for photo in photos]


def described(head: Head) -> dict[str, object]:
    """A head as a prompt shows it: its classes, each with what the eye sees."""
    kinds = {
        "multiclass": "exactly one",
        "ordinal": "exactly one, ordered from best to worst",
        "multilabel": "any number",
    }
    return {
        "head": head.name,
        "question": head.about,
        "choose": kinds[head.kind],
        "classes": [{"class": one.name, "looks_like": one.about} for one in head.classes],
    }


def read_all(
    outcomes: Iterable[Outcome], taxonomy: Taxonomy, params: SuggestParams
) -> list[Suggestion]:
    """Suggestions of all questions that were answered."""
    heads = _heads(taxonomy, params)
    return [_read(outcome, heads, taxonomy) for outcome in outcomes if outcome.status == "answered"]


def _read(outcome: Outcome, heads: Sequence[Head], taxonomy: Taxonomy) -> Suggestion:
    answer = outcome.answer
    assert isinstance(answer, PhotoNotes)
    found, contradicts = read_suggestions(answer, heads, taxonomy)
    needs_review = answer.needs_review or contradicts
    return Suggestion(outcome, found, tuple(answer.symptoms), needs_review)


def to_store(store: FeedbackStore, suggestions: Sequence[Suggestion], model: str) -> list[str]:
    """Keep suggestions as opinions of an annotator of kind `model`, and put them up for review.

    Nothing of it is a label: vetting accepts none that no person spoke on. Twice is once.

    Args:
        store: Takes the photos in too, without metadata.
        suggestions: From `read_all`.
        model: Name of the language model.

    Returns:
        Why some were not taken: path and reason.

    Raises:
        FeedbackError: If the store cannot be written.
    """
    person, refused = assistant_id(model), []
    for start in range(0, len(suggestions), 100):
        some = suggestions[start : start + 100]
        sent = [(_submission(one, person), one.photo.read()) for one in some]
        for one, receipt in zip(some, store.add_all(sent), strict=True):
            if isinstance(receipt, FeedbackRefusedError):
                refused.append(f"{one.photo.path}: {receipt}")
    put_up(store, suggestions, person)
    return refused


def put_up(store: FeedbackStore, suggestions: Sequence[Suggestion], person: str) -> None:
    """Put up for review what language models suggest, now and before, and no person spoke on.

    Those that need a look come first, then those that the model is least sure of.
    """
    order = sorted(suggestions, key=lambda one: (not one.needs_review, _sureness(one)))
    entries = [_entry(one, person) for one in order]
    sent = {one.photo.photo_id for one in suggestions}
    entries += [entry for entry in _earlier(store) if not sent & set(entry.pop("sent"))]
    ranked = [
        QueueEntry.model_validate(entry | {"source": "assistant", "rank": rank})
        for rank, entry in enumerate(entries[:MOST_ENTRIES], 1)
    ]
    store.fill_queue(QueueList(sources=("assistant",), entries=tuple(ranked)))


def _earlier(store: FeedbackStore) -> list[dict[str, Any]]:
    """Photos of the store on which language models spoke, and no person did."""
    photos = store.photos()
    sent = dict(zip(photos["photo_id"], photos["sent_sha256"], strict=True))
    entries: list[dict[str, Any]] = []
    for photo_id, rows in suggested_alone(store.opinions()).groupby("photo_id"):
        found = suggestion(rows)
        heads: dict[str, AnsweredHead] = {}
        if found is not None:
            heads = {
                head: AnsweredHead(label=label, confidence=found.confidences.get(head))
                for head, label in found.labels.items()
            }
        entries.append(
            {
                "photo_id": photo_id,
                "kind": "suggested",
                "reason": SUGGESTED,
                "suggestion": _answered(str(rows["person"].iloc[-1]), heads),
                "sent": [photo_id, *sent.get(photo_id, ())],
            }
        )
    return entries


def _answered(person: str, heads: dict[str, AnsweredHead]) -> Answered | None:
    return Answered(bundle_id=person, tier=TIER, heads=heads) if heads else None


def _submission(one: Suggestion, person: str) -> Submission:
    reply = one.outcome.reply
    assert reply is not None
    prompt = one.outcome.item.prompt.name
    notes: dict[str, str | bool] = {"prompt": prompt, "needs_review": one.needs_review}
    if one.symptoms:
        notes["symptoms"] = "; ".join(one.symptoms)[:1000]
    return Submission.model_validate(
        {
            "key": f"{prompt}:{one.photo.photo_id[:32]}:{reply.at:%Y%m%dT%H%M%S.%f}",
            "person": person,
            "annotator": "model",
            "at": reply.at,
            "consent": True,  # the owner of the photos runs this
            "seen_answer": False,
            "opinions": tuple(_opinion(head, own) for head, own in one.heads.items()),
            "metadata": notes,
        }
    )


def _opinion(head: str, own: Suggested) -> HeadOpinion:
    if own.label is None:
        return HeadOpinion(head=head, verdict="unsure", confidence=own.confidence)
    return HeadOpinion(head=head, verdict="corrected", label=own.label, confidence=own.confidence)


def _sureness(one: Suggestion) -> float:
    return min((own.confidence for own in one.heads.values() if own.label is not None), default=0.0)


def _entry(one: Suggestion, person: str) -> dict[str, Any]:
    heads = {
        head: AnsweredHead(label=own.label, confidence=own.confidence)
        for head, own in one.heads.items()
        if own.label is not None
    }
    reason = LOOK if one.needs_review else SUGGESTED
    if one.symptoms:
        reason += f"; it sees: {'; '.join(one.symptoms)}"
    return {
        "photo_id": one.photo.photo_id,
        "path": one.photo.path,
        "kind": "needs_review" if one.needs_review else "suggested",
        "reason": reason[:500],
        "suggestion": _answered(person, heads),
    }


def _heads(taxonomy: Taxonomy, params: SuggestParams) -> list[Head]:
    try:
        return heads_to_ask(taxonomy, params.heads)
    except KeyError as error:
        known = ", ".join(head.name for head in taxonomy.heads)
        raise ConfigError(
            f"assistant.suggest.heads names {error}, which is not a head; heads are {known}."
        ) from None
