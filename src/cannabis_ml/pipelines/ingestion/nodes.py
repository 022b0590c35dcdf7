"""Index the photos, set aside what is no use, divide the rest, store it."""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from cannabis_ml.datasets.photo_set import PhotoStream
from cannabis_ml.errors import SourceError, TaxonomyError
from cannabis_ml.parallel import map_in_order
from cannabis_ml.photos.decode import UnreadableError, decode, examine, read_header
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.resize import shrink
from cannabis_ml.pipelines.ingestion.labels import unify_labels
from cannabis_ml.pipelines.ingestion.params import (
    SPLITS,
    IndexParams,
    SplitParams,
    StoreParams,
)
from cannabis_ml.taxonomy import Taxonomy, TaxonomySpec

log = logging.getLogger(__name__)

RESERVED = (
    *("path", "group", "given_split", "split", "photo_id", "image"),
    *("bytes", "format", "width", "height", "defect", "detail"),
)
"""Columns of our tables that no head may be called after."""

DUPLICATE = "exact_duplicate"

# Which of several copies is kept, and which split a group with several given ones takes: what a
# report rests on must never be learnt from.
_SPLIT_RANK = {"test": 0, "validation": 1, "calibration": 2, "train": 3}
_NO_SPLIT_RANK = len(_SPLIT_RANK)

ANY_SIZE = 2**62
"""Pixels: photos that are stored passed the limits when they were indexed."""

_CHECK_SIDE = 64
"""Decoding at a fraction of the size proves a JPEG whole at a fraction of the cost."""


def resolve_taxonomy(source_photos: pd.DataFrame, taxonomy: TaxonomySpec) -> Taxonomy:
    """Fill in the classes that are left to the labels, and refuse labels that fit no class.

    Args:
        source_photos: One row per photo with labels as the source has them.
        taxonomy: As written in parameters_taxonomy.yml.

    Returns:
        The taxonomy that the whole run uses.

    Raises:
        TaxonomyError: If classes cannot be derived, a label is not in the taxonomy, no head has
            a single label, or a head bears the name of a column of ours.
    """
    taken = [head.name for head in taxonomy.heads if head.name in RESERVED]
    if taken:
        raise TaxonomyError(
            f"No head can be called {', '.join(map(repr, taken))}: the tables use that name.\n"
            "Rename it in parameters_taxonomy.yml and in the source."
        )
    resolved = taxonomy.resolve(source_photos)
    labels = unify_labels(source_photos, resolved)
    for head in resolved.heads:
        if not labels[head.columns].notna().any(axis=None):
            log.warning("No photo has a label for the head '%s'", head.name)
    if not labels.notna().any(axis=None):
        found = [str(c) for c in source_photos.columns if c not in RESERVED]
        raise TaxonomyError(
            f"None of the {len(source_photos):,} photos has a label for any head of the taxonomy "
            f"({', '.join(head.name for head in resolved.heads)}).\n"
            f"The source labels {', '.join(map(repr, found)) or 'nothing'}: name its columns after"
            " the heads, or choose the taxonomy that belongs to it (kedro run --env folder)."
        )
    return resolved


def index_photos(
    source_photos: pd.DataFrame, taxonomy: Taxonomy, limits: IndexParams
) -> pd.DataFrame:
    """Read every file once: hash it, see whether it decodes, note what it is.

    Args:
        source_photos: One row per photo: `path`, `group`, `given_split` and labels.
        taxonomy: Names and types of the label columns.
        limits: What a file may be; threads.

    Returns:
        The same rows with `photo_id`, `bytes`, `format`, `width` and `height` (upright), and for
        what cannot be used `defect` (a short name) and `detail` (a sentence).
    """
    examined = map_in_order(
        partial(_examine_file, limits=limits), source_photos["path"], limits.workers
    )
    found = pd.DataFrame(
        tqdm(examined, total=len(source_photos), desc="Indexing photos", unit=" photos"),
        columns=list(_INDEX_TYPES),
        index=source_photos.index,
    ).astype(_INDEX_TYPES)
    known = source_photos[["path", "group", "given_split"]].astype("str")
    return pd.concat([known, unify_labels(source_photos, taxonomy), found], axis=1)


def set_aside_defects(
    photo_index: pd.DataFrame, taxonomy: Taxonomy
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Part the photos worth training on from the rest, and account for every one.

    Of exact copies one is kept: one given as test before validation, calibration, train and
    those of no given split; among equals the first by path.

    Args:
        photo_index: One row per file, with `defect` where it cannot be used.
        taxonomy: The label columns to count.

    Returns:
        The sound photos, and the report: how many were found, kept and set aside, how many by
        defect and by class, and each set aside with its reason.

    Raises:
        SourceError: If nothing is left.
    """
    index = photo_index.copy()
    _mark_duplicates(index, taxonomy)
    is_sound = index["defect"].isna()
    sound = index[is_sound].drop(columns=["defect", "detail"]).reset_index(drop=True)
    aside = index.loc[~is_sound, ["path", "defect", "detail"]].sort_values(["defect", "path"])
    report: dict[str, Any] = {
        "found": len(index),
        "kept": len(sound),
        "set_aside": len(aside),
        "defects": _counts(aside["defect"]),
        "classes": {head.name: _class_counts(sound, head.columns) for head in taxonomy.heads},
        "given_splits": _counts(sound["given_split"].dropna()),
        "formats": _counts(sound["format"]),
        "photos_set_aside": aside.astype(object).where(aside.notna(), None).to_dict("records"),
    }
    told = ", ".join(f"{n:,} {name}" for name, n in report["defects"].items())
    log.info(
        "%s photos found, %s kept, %s set aside%s",
        *(f"{report[key]:,}" for key in ("found", "kept", "set_aside")),
        f" ({told})" if told else "",
    )
    if sound.empty:
        first = report["photos_set_aside"][0] if len(aside) else {}
        raise SourceError(
            f"None of the {len(index):,} photos can be used: {told}.\n"
            f"The first is {first.get('path')}: {first.get('detail')}"
        )
    return sound, report


def split_photos(
    sound_photos: pd.DataFrame, taxonomy: Taxonomy, split: SplitParams
) -> pd.DataFrame:
    """Assign every group of photos to one split.

    A group (same plant, same burst) stays together, so that no split has seen another's subject;
    a photo without a group is one of its own. The hash of the group and the seed decides, so
    adding photos moves none that were there.

    Splits that the source gives are respected: validation, calibration and test stay what they
    are, and train is divided among train and those of the others that the source does not give.
    A group that the source has in several splits goes to the one that is least learnt from.

    Args:
        sound_photos: One row per photo, with `photo_id`, `group` and `given_split`.
        taxonomy: The heads to learn.
        split: Fractions and seed.

    Returns:
        `sound_photos` with `split`, and `group` filled.

    Raises:
        SourceError: If train, validation or test would be empty, or train would show fewer than
            two classes of a head.
    """
    photos = sound_photos.drop(columns="given_split")
    photos["group"] = sound_photos["group"].fillna(sound_photos["photo_id"])
    given = _given_split_of_group(photos["group"], sound_photos["given_split"])
    shares_of = {
        "train": _shares(split, [s for s in SPLITS if s == "train" or s not in set(given)]),
        None: _shares(split, SPLITS),
    }
    photos["split"] = [
        chosen if chosen in SPLITS[1:] else _by_hash(group, split.seed, shares_of[chosen])
        for group, chosen in zip(photos["group"], given, strict=True)
    ]
    photos["split"] = photos["split"].astype("str")
    counts = photos["split"].value_counts()
    log.info("Split: %s", ", ".join(f"{name} {counts.get(name, 0):,}" for name in SPLITS))
    _check_splits(photos, taxonomy)
    return photos


def store_photos(photos: pd.DataFrame, taxonomy: Taxonomy, store: StoreParams) -> PhotoStream:
    """Bring photos to the size that training wants, one by one while they are written.

    Args:
        photos: One row per photo, with its split.
        taxonomy: The label columns to store.
        store: Size, quality and threads.

    Returns:
        A stream that reads, shrinks and encodes when the photo set is saved.
    """
    rows = photos[["photo_id", "path", "group", "split", *taxonomy.columns]]
    return PhotoStream(rows, partial(_stored_bytes, store=store), store.workers)


_INDEX_TYPES = {
    "photo_id": "str",
    "bytes": "Int64",
    "format": "str",
    "width": "Int64",
    "height": "Int64",
    "defect": "str",
    "detail": "str",
}


def _examine_file(path: str, limits: IndexParams) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_INDEX_TYPES)
    try:
        row["bytes"] = Path(path).stat().st_size
        if row["bytes"] > limits.max_megabytes * 1_000_000:
            size = row["bytes"] // 1_000_000
            raise UnreadableError(
                "too_large", f"{size:,} MB, more than the {limits.max_megabytes:,} allowed."
            )
        data = Path(path).read_bytes()
        row["photo_id"] = photo_id(data)
        photo = examine(
            data,
            max_pixels=limits.max_pixels,
            min_side=limits.min_side,
            reduce_to=_CHECK_SIDE,
        )
    except UnreadableError as error:
        return row | {"defect": error.defect, "detail": error.detail}
    except FileNotFoundError:
        return row | {"defect": "missing", "detail": "There is no such file."}
    except (OSError, ValueError) as error:
        return row | {"defect": "unreadable", "detail": f"The file cannot be opened ({error})."}
    return row | {"format": photo.format, "width": photo.width, "height": photo.height}


def _mark_duplicates(index: pd.DataFrame, taxonomy: Taxonomy) -> None:
    sound = index[index["defect"].isna()]
    rank = sound["given_split"].map(_SPLIT_RANK).fillna(_NO_SPLIT_RANK)
    order = sound.assign(_rank=rank).sort_values(["_rank", "path"], kind="stable")
    is_copy = order.duplicated("photo_id", keep="first")
    copies = order[is_copy]
    if copies.empty:
        return
    kept = order[~is_copy].set_index("photo_id")
    originals = kept.loc[copies["photo_id"]]
    columns = taxonomy.columns
    mine = copies[columns].astype(object).where(copies[columns].notna(), None).to_numpy()
    theirs = originals[columns].astype(object).where(originals[columns].notna(), None).to_numpy()
    differs = (mine != theirs).any(axis=1)
    index.loc[copies.index, "defect"] = DUPLICATE
    index.loc[copies.index, "detail"] = [
        f"The same file as {path}{', under another label' if other else ''}."
        for path, other in zip(originals["path"], differs, strict=True)
    ]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _class_counts(photos: pd.DataFrame, columns: list[str]) -> dict[str, int]:
    if len(columns) == 1 and not pd.api.types.is_numeric_dtype(photos[columns[0]]):
        counts = _counts(photos[columns[0]].dropna())
        unlabelled = int(photos[columns[0]].isna().sum())
    else:
        counts = {name.partition(".")[2]: int((photos[name] == 1).sum()) for name in columns}
        unlabelled = int(photos[columns].isna().all(axis=1).sum())
    return counts | ({"(unlabelled)": unlabelled} if unlabelled else {})


def _given_split_of_group(groups: pd.Series, given: pd.Series) -> list[str | None]:
    ranks = given.map(_SPLIT_RANK).fillna(_NO_SPLIT_RANK).astype(int)
    of_group = ranks.groupby(groups).transform("min")
    moved = int(((of_group != ranks) & given.notna()).sum())
    if moved:
        log.warning(
            "%s photos leave the split that the source gave them: others of their group are in one"
            " that is less learnt from",
            f"{moved:,}",
        )
    names: list[str | None] = [*_SPLIT_RANK, None]
    return [names[rank] for rank in of_group]


def _shares(split: SplitParams, names: Iterable[str]) -> dict[str, float]:
    """Fractions of `names` alone, summing to 1."""
    shares = {name: split.fractions[name] for name in names}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def _by_hash(group: str, seed: int, shares: dict[str, float]) -> str:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    bounds = np.cumsum(list(shares.values()))
    at = int(np.searchsorted(bounds, position, side="right"))
    # Rounding may leave the last bound a hair below 1.
    possible = [name for name, share in shares.items() if share > 0]
    return list(shares)[at] if at < len(shares) else possible[-1]


def _check_splits(photos: pd.DataFrame, taxonomy: Taxonomy) -> None:
    counts = photos["split"].value_counts()
    faults = [
        f"no photo falls into {name}"
        for name in ("train", "validation", "test")
        if name not in counts
    ]
    train = photos[photos["split"] == "train"]
    for head in taxonomy.heads:
        if head.kind != "multilabel" and "train" in counts:
            seen = sorted(train[head.name].dropna().unique())
            if len(seen) < 2:
                only = f"only '{seen[0]}'" if seen else "no class"
                faults.append(f"train shows {only} of the head '{head.name}'")
    if faults:
        groups = photos["group"].nunique()
        raise SourceError(
            f"The {len(photos):,} photos ({groups:,} groups) cannot be divided for training: "
            f"{'; '.join(faults)}.\n"
            "Bring more photos, or change the fractions or the seed under ingestion.split in"
            " parameters_ingestion.yml."
        )


def _stored_bytes(row: dict[str, Any], store: StoreParams) -> bytes:
    try:
        data = Path(row["path"]).read_bytes()
    except OSError as error:
        raise SourceError(
            f"{row['path']} was there when the photos were indexed and cannot be read now"
            f" ({error.strerror}).\nBring it back, or run the ingestion pipeline again."
        ) from error
    if photo_id(data) != row["photo_id"]:
        raise SourceError(
            f"{row['path']} changed since the photos were indexed.\n"
            "Run the ingestion pipeline again."
        )
    header = read_header(data)
    is_plain = (
        header.format == "JPEG"
        and header.mode == "RGB"
        and header.orientation == 1
        and not header.has_metadata
    )
    if is_plain and min(header.width, header.height) <= store.short_side:
        return data
    # Twice the wanted size: the decoder's own scaling is coarse, the rest is averaged over areas.
    pixels = decode(data, max_pixels=ANY_SIZE, reduce_to=2 * store.short_side)
    small = Image.fromarray(shrink(pixels, store.short_side))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=store.quality, subsampling=0)
    return encoded.getvalue()
