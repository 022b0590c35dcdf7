"""One person's opinion on one head of one photo, and the table of them.

The table is what the store gives and what vetting takes: one row per photo, person and head, the
person's latest opinion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["confirmed", "corrected", "unsure", "none_of_these", "proposed"]
"""What a person decides on one head of an answer:

- `confirmed`: the answer is right.
- `corrected`: another class is right.
- `unsure`: the person does not know.
- `none_of_these`: no class of the head fits.
- `proposed`: a class that the head does not have yet fits.
"""

Annotator = Literal["person", "model"]

Label = str | list[str] | None
"""A class; of a multilabel head the list of its classes that are there, which may be empty; None
where there is none."""

VERDICTS: tuple[Verdict, ...] = ("confirmed", "corrected", "unsure", "none_of_these", "proposed")

LABELLED: frozenset[Verdict] = frozenset({"confirmed", "corrected", "proposed"})
"""Verdicts that come with a label; the others have none."""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What one annotator thinks of one head of one photo.

    Attributes:
        opinion_id: Unique; follows from the person, the client's idempotency key and the head.
        photo_id: SHA-256 of the stored photo's bytes, 64 hex digits.
        person: Pseudonym of who it is.
        annotator: A person, or a language model that suggests labels: one more annotator, whose
            opinions are worth what people make of them, and never a label by themselves.
        head: Name of the head.
        verdict: See `Verdict`.
        label: Confirmed: the answered class or classes. Corrected: the right ones. Proposed: the
            name of the new class. Otherwise None.
        confidence: The annotator's own, in [0, 1]; NaN where not given.
        seen_answer: Whether the answer had been seen before the opinion was formed.
        at: When the opinion was given, UTC.
        bundle_id: Which bundle answered; empty where the photo had no answer.
        tier: Which tier answered; empty where the photo had no answer.
        answered: What the model decided, as `label`; None where there was no answer.
        answered_confidence: Its calibrated confidence in [0, 1]; NaN where not given.
        audit: Whether the photo was drawn uniformly to measure accuracy.
        gold: Whether the photo's label is known and was slipped in to measure people.
    """

    opinion_id: str
    photo_id: str
    person: str
    annotator: Annotator = "person"
    head: str
    verdict: Verdict
    label: Label = None
    confidence: float = math.nan
    seen_answer: bool = True
    at: datetime
    bundle_id: str = ""
    tier: str = ""
    answered: Label = None
    answered_confidence: float = math.nan
    audit: bool = False
    gold: bool = False

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict '{self.verdict}' is not one of {', '.join(VERDICTS)}")
        if (self.verdict in LABELLED) != (self.label is not None):
            rule = "needs a label" if self.verdict in LABELLED else "has no label"
            raise ValueError(f"an opinion that is {self.verdict} {rule}, not {self.label!r}")
        for name in ("confidence", "answered_confidence"):
            value = getattr(self, name)
            if not (math.isnan(value) or 0 <= value <= 1):
                raise ValueError(f"{name} is {value}, not in [0, 1] and not NaN")
        if self.at.utcoffset() != timedelta(0):
            raise ValueError(f"at is {self.at.isoformat()}, not in UTC")


COLUMNS = tuple(field.name for field in fields(Opinion))
"""Columns of the table of opinions, in order."""

_DTYPES = {
    **dict.fromkeys(COLUMNS, "str"),
    **dict.fromkeys(("label", "answered"), "object"),
    **dict.fromkeys(("confidence", "answered_confidence"), "float64"),
    **dict.fromkeys(("seen_answer", "audit", "gold"), "bool"),
    "at": "datetime64[us, UTC]",
}


def opinions_table(opinions: Iterable[Opinion]) -> pd.DataFrame:
    """Write opinions as a table.

    Args:
        opinions: In the order of the rows.

    Returns:
        A row per opinion with `COLUMNS`: text, but `label` and `answered` (object: str, list of
        str or None), both confidences (float64), `seen_answer`, `audit` and `gold` (bool) and `at`
        (datetime64[us, UTC]). The types are the same without rows.
    """
    import pandas as pd  # not needed where opinions are only taken in

    rows = [[getattr(opinion, name) for name in COLUMNS] for opinion in opinions]
    values = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)) if rows else {}
    table = {n: pd.Series(list(values.get(n, ())), dtype=_DTYPES[n]) for n in COLUMNS}
    return pd.DataFrame(table)
