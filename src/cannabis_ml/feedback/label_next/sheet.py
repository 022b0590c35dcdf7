"""The contact sheet: photos to label, probable label errors and advice, as one HTML page."""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.feedback.learning_curve import Advice
from cannabis_ml.feedback.page import ShownPhoto, render
from cannabis_ml.photos.data_uri import thumbnail_uri

SHOWN = 100
"""Photos of each list that the page shows; the tables have all."""


class PhotoAdvice(BaseModel):
    """What more photos would bring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    advice: list[Advice] = Field(description="Of all classes together first, then of single ones")


def render_sheet(to_label: pd.DataFrame, errors: pd.DataFrame, advice: PhotoAdvice) -> str:
    """Write the page.

    Args:
        to_label: As from `rank_photos`.
        errors: As from `list_label_errors`.
        advice: What more photos would bring.
    """
    answers = to_label["answered"].astype("str").fillna("no answer")
    ranked = [f"{n}. {name}" for n, name in zip(to_label["rank"], answers, strict=True)]
    doubted = [f"labelled {label}" for label in errors["label"]]
    return render(
        "contact_sheet.html.j2",
        to_label=_shown(to_label, ranked),
        errors=_shown(errors, doubted),
        advice=advice.advice,
        totals=(len(to_label), len(errors)),
    )


def _shown(table: pd.DataFrame, titles: list[str]) -> list[ShownPhoto]:
    first = table[:SHOWN]
    uris = map_in_order(thumbnail_uri, list(first["path"]), None)
    return [
        ShownPhoto(uri, title, str(reason))
        for uri, title, reason in zip(uris, titles, first["reason"], strict=False)
    ]
