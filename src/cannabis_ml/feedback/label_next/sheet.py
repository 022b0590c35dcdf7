"""The contact sheet: photos to label, probable label errors and advice, as one HTML page."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.feedback.label_next.suggested import Suggestions, in_words
from cannabis_ml.feedback.learning_curve import Advice
from cannabis_ml.feedback.page import ShownPhoto, render
from cannabis_ml.photos.data_uri import thumbnail_uri

SHOWN = 100
"""Photos of each list that the page shows; the tables have all."""


class PhotoAdvice(BaseModel):
    """What more photos would bring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    advice: list[Advice] = Field(description="Of all classes together first, then of single ones")


def render_sheet(
    to_label: pd.DataFrame,
    errors: pd.DataFrame,
    advice: PhotoAdvice,
    suggestions: Suggestions | None = None,
) -> str:
    """Write the page.

    Args:
        to_label: As from `rank_photos`.
        errors: As from `list_label_errors`.
        advice: What more photos would bring.
        suggestions: Of language models: beside photos to label, and in a list of their own.
    """
    suggestions = suggestions or Suggestions({}, {}, {})
    answers = to_label["answered"].astype("str").fillna("no answer")
    ranked = [f"{n}. {name}" for n, name in zip(to_label["rank"], answers, strict=True)]
    noted = [_noted(row, suggestions) for row in to_label[:SHOWN].to_dict("records")]
    first = _to_show(suggestions, to_label)
    doubted = [f"labelled {label}" for label in errors["label"]]
    return render(
        "contact_sheet.html.j2",
        to_label=_shown(to_label[:SHOWN].assign(reason=noted), ranked),
        suggested=_suggested(suggestions, first),
        suggestions=len(first),
        errors=_shown(errors, doubted),
        advice=advice.advice,
        totals=(len(to_label), len(errors)),
    )


def _noted(row: Mapping[Hashable, object], suggestions: Suggestions) -> str:
    """Why a photo is on the list, and what a language model suggests unless it is an audit."""
    one = None if row.get("audit") else suggestions.of(str(row.get("photo_id", "")))
    suggested = "" if one is None else f"; a language model suggests {in_words(one)}"
    return f"{row['reason']}{suggested}"


def _to_show(suggestions: Suggestions, to_label: pd.DataFrame) -> list[str]:
    """Photos with suggestions, those that the language model is least sure of first.

    Without those that are to be judged before an answer is seen.
    """
    audits = to_label.loc[to_label["audit"].astype(bool), "photo_id"] if "audit" in to_label else ()
    hidden = {suggestions.ids.get(str(photo), str(photo)) for photo in audits}

    def sureness(photo_id: str) -> float:
        return min(suggestions.by_id[photo_id].confidences.values(), default=0.0)

    return sorted(set(suggestions.by_id) - hidden, key=lambda photo: (sureness(photo), photo))


def _suggested(suggestions: Suggestions, photos: list[str]) -> list[ShownPhoto]:
    """The first of these photos with what is suggested for them."""
    first = photos[:SHOWN]
    uris = map_in_order(thumbnail_uri, [suggestions.paths.get(photo, "") for photo in first], None)
    return [
        ShownPhoto(uri, in_words(suggestions.by_id[photo]), suggestions.by_id[photo].bundle_id)
        for uri, photo in zip(uris, first, strict=True)
    ]


def _shown(table: pd.DataFrame, titles: list[str]) -> list[ShownPhoto]:
    first = table[:SHOWN]
    uris = map_in_order(thumbnail_uri, list(first["path"]), None)
    return [
        ShownPhoto(uri, title, str(reason))
        for uri, title, reason in zip(uris, titles, first["reason"], strict=False)
    ]
