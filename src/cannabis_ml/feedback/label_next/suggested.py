"""What language models suggest for photos of the store: pre-annotations for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cannabis_ml.feedback.label_studio import PreAnnotation, suggested_alone, suggestion
from cannabis_ml.feedback.opinions import Label
from cannabis_ml.feedback.snapshot import FeedbackSnapshot


@dataclass(frozen=True)
class Suggestions:
    """Suggestions that no person spoke on yet.

    Attributes:
        by_id: By id of the photo in the store.
        ids: Of each photo all ids by which it may be known: also hashes of files that it was sent
            as, by which photo sets know it.
        paths: Where the store's photos are.
    """

    by_id: Mapping[str, PreAnnotation]
    ids: Mapping[str, str]
    paths: Mapping[str, str]

    def of(self, photo_id: str) -> PreAnnotation | None:
        """What is suggested for a photo, by any of its ids."""
        return self.by_id.get(self.ids.get(photo_id, photo_id))


def find_suggestions(store: FeedbackSnapshot) -> Suggestions:
    """Collect what language models suggest for photos that no person spoke on."""
    mine = suggested_alone(store.opinions).groupby("photo_id")
    found = {str(photo): suggestion(rows) for photo, rows in mine}
    by_id = {photo: one for photo, one in found.items() if one is not None}
    hashes = zip(store.photos["photo_id"], store.photos["sent_sha256"], strict=True)
    ids = {sent: photo for photo, all_sent in hashes if photo in by_id for sent in all_sent}
    return Suggestions(by_id, ids, store.paths)


def in_words(one: PreAnnotation) -> str:
    """All that is suggested for a photo, with its confidence."""
    return "; ".join(
        f"{head}: {_text(label)}"
        + (f" ({one.confidences[head]:.0%})" if head in one.confidences else "")
        for head, label in one.labels.items()
    )


def _text(label: Label) -> str:
    return (", ".join(label) or "none") if isinstance(label, list) else str(label)
