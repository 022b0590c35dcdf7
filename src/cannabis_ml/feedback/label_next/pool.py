"""Photos with and without labels as a model sees them: the table that everything is ranked by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cannabis_ml.errors import FeedbackError
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.photo_sets.near_duplicates import cluster
from cannabis_ml.photos.decode import UnreadableError
from cannabis_ml.photos.phash import fingerprint
from cannabis_ml.taxonomy import Head, Taxonomy

BATCH = 32
"""Photos in memory at a time."""

POOL_COLUMNS = ("photo_id", "path", "group", "label", "answered", "confidence", "embedding")


@dataclass(frozen=True)
class Candidate:
    """A photo that may be looked at.

    Attributes:
        photo_id: Its id.
        path: Where a person finds it.
        group: Photos that show the same; None where nothing is known.
        label: Class of the head; None where there is none.
        pixels: Gives uint8 RGB (H, W, 3).
    """

    photo_id: str
    path: str
    group: str | None
    label: str | None
    pixels: Callable[[], np.ndarray]


def head_to_label(taxonomy: Taxonomy, name: str | None) -> Head:
    """The head that labels are asked for.

    Args:
        taxonomy: Of the bundle.
        name: None takes the first that is not multilabel.

    Raises:
        FeedbackError: If there is none like that.
    """
    heads = [head for head in taxonomy.heads if head.kind != "multilabel"]
    first = next((head for head in heads if name in (None, head.name)), None)
    if first is None:
        raise FeedbackError(
            f"label_next.head is {name!r}, but the bundle's multiclass and ordinal heads are"
            f" {', '.join(repr(head.name) for head in heads) or 'none'}."
        )
    return first


def look(
    candidates: Sequence[Candidate], head: Head, predictors: Mapping[str, Predictor]
) -> pd.DataFrame:
    """Show photos to a model, those without a label to every tier.

    Args:
        candidates: Photos; such as cannot be opened are left out.
        head: The head that is labelled.
        predictors: By tier, the one whose embeddings count last.

    Returns:
        One row per photo: `POOL_COLUMNS` (`answered` and calibrated `confidence` of the last tier,
        `embedding` a list of float32), and `answered.TIER` of each tier, missing where the photo
        has a label. Photos without a known group get one by their near-duplicates.
    """
    rows = [row for batch in _batches(candidates) for row in _seen(batch, head, predictors)]
    tiers = [f"answered.{tier}" for tier in predictors]
    table = pd.DataFrame(rows, columns=[*POOL_COLUMNS, "phash", "thumbnail", *tiers])
    table["group"] = _groups(table)
    texts = dict.fromkeys(("photo_id", "path", "label", "answered", *tiers), "str")
    return table.drop(columns=["phash", "thumbnail"]).astype(texts)


def _batches(candidates: Sequence[Candidate]) -> Iterator[list[tuple[Candidate, np.ndarray]]]:
    """Photos that can be opened, those with a label apart from those without."""
    for is_labelled in (True, False):
        batch = []
        for candidate in candidates:
            if (candidate.label is not None) != is_labelled:
                continue
            try:
                batch.append((candidate, candidate.pixels()))
            except (UnreadableError, OSError, ValueError):
                continue
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _seen(
    batch: Sequence[tuple[Candidate, np.ndarray]], head: Head, predictors: Mapping[str, Predictor]
) -> Iterator[dict[str, object]]:
    pixels = [photo for _, photo in batch]
    *others, last = predictors
    outputs = predictors[last].outputs(pixels)
    answers = [predictors[last].answer(outputs, row)[head.name] for row in range(len(batch))]
    decided = {last: [answer.decided for answer in answers]}
    if batch[0][0].label is None:
        for tier in others:
            of_tier = predictors[tier].outputs(pixels)
            decided[tier] = [
                predictors[tier].answer(of_tier, row)[head.name].decided
                for row in range(len(batch))
            ]
    for row, (candidate, photo) in enumerate(batch):
        print_of = fingerprint(photo)
        chosen = decided[last][row]
        place = head.class_names.index(chosen) if isinstance(chosen, str) else None
        yield {
            "photo_id": candidate.photo_id,
            "path": candidate.path,
            "group": candidate.group,
            "label": candidate.label,
            "answered": chosen,
            "confidence": float(answers[row].probs[place]) if place is not None else 0.0,
            "embedding": outputs[EMBEDDING][row].astype(np.float32),
            "phash": print_of.phash,
            "thumbnail": print_of.thumbnail,
            **{f"answered.{tier}": names[row] for tier, names in decided.items()},
        }


def _groups(table: pd.DataFrame) -> pd.Series:
    """The group of each photo: its own, or that of its near-duplicates."""
    if table.empty:
        return table["group"].astype("str")
    hashes = np.array([value or 0 for value in table["phash"]], np.uint64)
    thumbnails = np.stack([np.frombuffer(data, np.uint8) for data in table["thumbnail"]])
    number = cluster(hashes, thumbnails, valid=table["phash"].notna().to_numpy())
    known = table["group"].groupby(number).transform("first")
    alone = pd.Series([f"near-duplicates {n}" for n in number], index=table.index)
    return table["group"].fillna(known).fillna(alone).astype("str")
