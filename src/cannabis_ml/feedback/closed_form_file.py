"""Closed-form heads in safetensors files, and the erasure of photos from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import CheckpointError
from cannabis_ml.feedback.closed_form import (
    ClosedFormHead,
    EmbeddedPhotos,
    RandomProjection,
    RidgeSums,
)

CARD = "cannabis_ml.closed_form"
"""Key of the description in the header's metadata."""

SUFFIX = ".safetensors"

Heads = Mapping[str, ClosedFormHead]
"""By name of the head."""


def write_heads(path: Path, heads: Heads) -> None:
    """Write closed-form heads with the photos they are made from: the whole of it, or nothing."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    card: list[dict[str, Any]] = []
    for number, (name, head) in enumerate(heads.items()):
        tensors[f"{number}.embeddings"] = np.ascontiguousarray(head.photos.embeddings)
        tensors[f"{number}.gram"] = np.ascontiguousarray(head.sums.gram)
        for place, total in enumerate(head.sums.sums.values()):
            tensors[f"{number}.sum.{place}"] = np.ascontiguousarray(total)
        projection = head.projection
        card.append(
            {
                "head": name,
                "photo_ids": list(head.photos.photo_ids),
                "labels": list(head.photos.labels),
                "counts": dict(head.sums.counts),
                "projection": None
                if projection is None
                else [projection.features, projection.width, projection.seed],
            }
        )
    with written_aside(path) as aside:
        save_file(tensors, aside, metadata={CARD: json.dumps(card)})


def read_heads(path: Path) -> dict[str, ClosedFormHead]:
    """Read closed-form heads.

    Raises:
        FileNotFoundError: If there is no file.
        CheckpointError: If it does not hold closed-form heads.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})[CARD])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {entry["head"]: _head(number, entry, tensors) for number, entry in enumerate(card)}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not hold closed-form heads ({error}). Add the class again:"
            " kedro run --pipeline=add_class."
        ) from error


def erase_photos(folder: Path, is_erased: Callable[[str], bool]) -> int:
    """Take photos out of every closed-form head below a folder: sums, embeddings and ids.

    Args:
        folder: Searched at any depth; other safetensors files are left alone.
        is_erased: Whether the photo of an id is to go, such as `Tombstones.covers_photo`.

    Returns:
        How many files held any of them, and were written anew.
    """
    changed = 0
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        if not path.is_file() or not _holds_heads(path):
            continue
        before = read_heads(path)
        after = {
            name: head.without([one for one in head.photos.photo_ids if is_erased(one)])
            for name, head in before.items()
        }
        if any(after[name] is not before[name] for name in before):
            write_heads(path, after)
            changed += 1
    return changed


def _holds_heads(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return CARD in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _head(
    number: int, entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> ClosedFormHead:
    photos = EmbeddedPhotos(
        tuple(entry["photo_ids"]), tensors[f"{number}.embeddings"], tuple(entry["labels"])
    )
    sums = {name: tensors[f"{number}.sum.{place}"] for place, name in enumerate(entry["counts"])}
    given = entry["projection"]
    return ClosedFormHead(
        photos,
        RidgeSums(tensors[f"{number}.gram"], sums, entry["counts"]),
        None if given is None else RandomProjection(*given),
    )
