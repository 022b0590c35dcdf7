"""The feedback page: one HTML document that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd

from cannabis_ml._io.file_names import printable
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.feedback.retrain_decision import RetrainDecision
from cannabis_ml.feedback.summary import FeedbackSummary
from cannabis_ml.photos.data_uri import thumbnail_uri

SHOWN = 24
"""Photos last corrected."""

LARGEST = 60
"""Classes of a confusion matrix that the page draws; the JSON has all."""


@dataclass(frozen=True)
class ShownPhoto:
    """A photo on the page.

    Attributes:
        uri: A small JPEG as a data URI.
        title: The first line under it.
        note: The second.
    """

    uri: str
    title: str
    note: str


def corrected_photos(judged: pd.DataFrame, paths: Mapping[str, str]) -> list[ShownPhoto]:
    """The photos last corrected, with what was answered.

    Args:
        judged: As from `judged_answers`.
        paths: Where photos are, by `photo_id`; others are left out.
    """
    rows = judged[~judged["right"] & judged["photo_id"].isin(list(paths))].tail(SHOWN)
    uris = map_in_order(thumbnail_uri, [paths[name] for name in rows["photo_id"]], None)
    return [
        ShownPhoto(uri, str(row.label), f"answered {row.answered}")
        for uri, row in zip(uris, rows.itertuples(), strict=True)
    ][::-1]


def render_page(
    summary: FeedbackSummary, decision: RetrainDecision, photos: list[ShownPhoto]
) -> str:
    """Write the page.

    Args:
        summary: From `summarize`.
        decision: From `decide_retraining`.
        photos: From `corrected_photos`.
    """
    matrices = [one for one in summary.confusions if len(one.classes) <= LARGEST]
    return render(
        "page.html.j2", summary=summary, decision=decision, photos=photos, matrices=matrices
    )


def render(template: str, **content: Any) -> str:
    """Fill in one of this room's templates; names of strangers are shown, never obeyed."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = resources.files("cannabis_ml.feedback").joinpath("templates")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda n: f"{n:,}",
        "percent": lambda share: f"{share:.0%}",
        "visible": visible,
    }
    return environment.get_template(template).render(**content).lstrip()


def visible(text: object) -> str:
    """Control characters as symbols, and what UTF-8 cannot hold with backslashes."""
    return printable("".join(chr(0x2400 + ord(c)) if ord(c) < 0x20 else c for c in str(text)))
