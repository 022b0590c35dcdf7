"""Answers of the model beside vetted labels: what accuracy after release is read from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from cannabis_ml.feedback.opinions import Label

NONE = "-"
"""Stands for the empty set of attributes, as in a source's label column."""


def judged_answers(vetted: pd.DataFrame, opinions: pd.DataFrame) -> pd.DataFrame:
    """Set what the model answered beside the label that vetting accepted.

    Args:
        vetted: One row per photo and head: `photo_id`, `head`, `label`, `confidence`, `status`.
        opinions: As from `opinions_table`.

    Returns:
        One row per photo and head that has both, in order of time: `photo_id`, `head`, `label` and
        `answered` (text; attributes joined with `;`), `right` (bool), `at` (of the last opinion),
        `audit` (whether the photo was drawn uniformly), `tier`, `bundle_id`, and `group`: photos
        that one person sent on one day are right or wrong together.
    """
    import pandas as pd

    accepted = vetted[vetted["status"] == "accepted"]
    answered = opinions[(opinions["annotator"] == "person") & opinions["answered"].notna()]
    answered = answered.sort_values(["at", "opinion_id"], kind="stable")
    drawn = answered.groupby(["photo_id", "head"])["audit"].any().rename("audit").reset_index()
    last = answered.drop_duplicates(["photo_id", "head"], keep="last").drop(
        columns=["audit", "label", "confidence"]
    )
    columns = ["photo_id", "head", "label", "confidence"]
    joined = (
        accepted[columns].merge(last, on=["photo_id", "head"]).merge(drawn, on=["photo_id", "head"])
    )
    for name in ("label", "answered"):
        texts = [label_text(label) for label in joined[name]]
        joined[name] = pd.Series(texts, index=joined.index, dtype="str")
    joined["right"] = (joined["label"] == joined["answered"]).astype(bool)
    day = joined["at"].dt.strftime("%Y-%m-%d")
    joined["group"] = (joined["person"].astype("str") + " " + day).astype("str")
    kept = [*columns, "answered", "right", "at", "audit", "tier", "bundle_id", "group"]
    return joined.sort_values(["at", "photo_id", "head"], kind="stable")[kept].reset_index(
        drop=True
    )


def label_text(label: Label | np.ndarray) -> str:
    """A label as a source's label column has it: a class, or attributes joined with `;`."""
    if label is None or isinstance(label, str):
        return label or NONE
    return ";".join(sorted(label)) or NONE


def corrected_classes(answered: str, label: str) -> Iterator[str]:
    """The classes in which an answer was wrong.

    Of a multiclass or ordinal head the class that was answered; of a multilabel head every
    attribute that was answered and is not there, or is there and was not answered.
    """
    if ";" not in answered + label and NONE not in (answered, label):
        if answered != label:
            yield answered
        return
    yield from sorted(_items(answered) ^ _items(label))


def count_corrected(rows: Iterable[Mapping[Hashable, Any]]) -> dict[tuple[str, str], int]:
    """How often each class was corrected, by head and class, most often first.

    Args:
        rows: Of `judged_answers`, as dictionaries.
    """
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        for name in corrected_classes(row["answered"], row["label"]):
            key = (str(row["head"]), name)
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _items(text: str) -> set[str]:
    return set() if text == NONE else set(text.split(";"))
