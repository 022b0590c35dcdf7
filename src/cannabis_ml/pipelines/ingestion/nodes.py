"""Nodes of ingestion: index photos, set aside unusable ones, report, store the rest."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from cannabis_ml._io.file_names import on_disk
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml.errors import SourceError, TaxonomyError
from cannabis_ml.photo_sets.checks import (
    conflicting_duplicate,
    exact_duplicate,
    twin_of_test,
)
from cannabis_ml.photo_sets.checks.registry import SetCheckParams, check_set
from cannabis_ml.photo_sets.given_splits import splits_that_count
from cannabis_ml.photo_sets.groups import GroupParams, check_links
from cannabis_ml.photo_sets.labels import unify_labels
from cannabis_ml.photo_sets.link_report import DivisionCheck
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.photo_sets.split_ledger import ingestion_of
from cannabis_ml.photo_sets.split_params import SplitParams
from cannabis_ml.photos.checks import FLAGGED, REPAIRED, SET_ASIDE
from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.photos.checks.examined_file import ExaminedFile, examine_file
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.decode import Photo, decode, read_header
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.phash import fingerprint
from cannabis_ml.photos.resize import shrink
from cannabis_ml.pipelines.ingestion.params import IndexParams, StoreParams
from cannabis_ml.pipelines.ingestion.report import build_report, draw_thumbnails, render_page
from cannabis_ml.splits import HELD_OUT, Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec
from cannabis_ml.text import lookalikes

logger = logging.getLogger(__name__)

INDEX_TYPES = {
    "photo_id": "str",
    "bytes": "Int64",
    "format": "str",
    "mode": "str",
    "width": "Int64",
    "height": "Int64",
    "exif_make": "str",
    "exif_orientation": "Int64",
    "border_red": "float64",
    "border_green": "float64",
    "border_blue": "float64",
    "brightness": "float64",
    "sharpness": "float64",
    "phash": "UInt64",
    "thumbnail": "object",
    "defect": "str",
    "detail": "str",
    "repairs": "str",
    "flags": "str",
}
"""What the index knows of a file. Sizes are those of the upright photo; colours and `brightness`
are means of 0 to 255; the border is the outer twentieth."""

SOURCE_COLUMNS = ("path", "source", "group", "given_split")

RESERVED = (
    *(*SOURCE_COLUMNS, *INDEX_TYPES, "image", "split", "cluster", "duplicate_of"),
    *("copy", "key", "label_text", "photos", "unknown_kind"),
)
"""Columns of our tables that no head may be called after."""

ANY_SIZE = 2**62
"""Pixels: photos that are stored passed the limits when they were indexed."""


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
            logger.warning("No photo has a label for the head '%s'", head.name)
        for names in lookalikes(head.class_names):
            alike = " and ".join(map(repr, names))
            logger.warning("Classes of '%s' whose names look the same: %s", head.name, alike)
    if not labels.notna().any(axis=None):
        named = [str(c) for c in source_photos.columns if c not in RESERVED]
        raise TaxonomyError(
            f"None of the {len(source_photos):,} photos has a label for any head of the taxonomy "
            f"({', '.join(head.name for head in resolved.heads)}).\n"
            f"The source labels {', '.join(map(repr, named)) or 'nothing'}: name its columns after"
            " the heads, or choose the taxonomy that belongs to it (kedro run --env folder)."
        )
    return resolved


def index_photos(
    source_photos: pd.DataFrame, taxonomy: Taxonomy, index: IndexParams, defects: DefectParams
) -> pd.DataFrame:
    """Read every file once: hash it, decode it, run every check.

    Args:
        source_photos: One row per photo: `path`, `group`, `given_split` and labels.
        taxonomy: Names and types of the label columns.
        index: Threads.
        defects: Thresholds of the checks.

    Returns:
        The same rows with what `INDEX_TYPES` lists: what the file is, `defect` (a short name) and
        `detail` (a sentence) where it cannot be used, `repairs` and `flags` where it can.
    """
    examined = map_in_order(
        partial(_index_row, defects=defects), source_photos["path"], index.workers
    )
    rows = iter(tqdm(examined, total=len(source_photos), desc="Indexing photos", unit=" photos"))
    parts = [_index_frame(part) for part in _batched(rows, 1000)]
    file_columns = pd.concat(parts or [_index_frame([])], ignore_index=True)
    file_columns.index = source_photos.index
    columns = [name for name in SOURCE_COLUMNS if name in source_photos]
    known = source_photos[columns].astype("str")
    return pd.concat([known, unify_labels(source_photos, taxonomy), file_columns], axis=1)


def set_aside_copies(photo_index: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Set aside exact copies; the one that is kept gets the labels of all.

    Splits are taken as given only where labels make them splits. Copies under different labels are
    all set aside. A copy that the source gives as train, of a photo that it holds out, is
    `twin_of_test`.

    Args:
        photo_index: One row per file, with `defect` where it cannot be used.
        taxonomy: The label columns.

    Returns:
        The same rows with `given_split` where it counts, `duplicate_of` (path of the kept copy),
        and `defect` and `detail` for the copies.

    Raises:
        SourceError: If no photo is left.
    """
    photos = photo_index.assign(duplicate_of=pd.Series(None, index=photo_index.index, dtype="str"))
    sound = photos[photos["defect"].isna()]
    conflicts = conflicting_duplicate.find(sound, taxonomy).dropna()
    _set_aside(photos, conflicts, conflicting_duplicate.DEFECT)

    sound = photos[photos["defect"].isna()]
    # Before a copy in train lends its label to a photo given as test.
    photos.loc[sound.index, "given_split"] = splits_that_count(sound, taxonomy)
    sound = photos[photos["defect"].isna()]
    kept = exact_duplicate.find(sound)
    described = exact_duplicate.sentences(sound, kept)
    photos.loc[sound.index, taxonomy.columns] = exact_duplicate.merged_labels(
        sound, taxonomy.columns
    )
    photos.loc[kept.index, "duplicate_of"] = sound.loc[kept, "path"].set_axis(kept.index)
    held_out_as = sound.loc[kept, "given_split"].set_axis(kept.index)
    leaks = held_out_as.isin(HELD_OUT) & (sound.loc[kept.index, "given_split"] == Split.TRAIN)
    _set_aside(photos, described[~leaks], exact_duplicate.DEFECT)
    described = described[leaks] + " That one is given as " + held_out_as[leaks] + "."
    _set_aside(photos, described, twin_of_test.DEFECT)
    _check_some_are_left(photos)
    return photos


def keep_sound_photos(divided_photos: pd.DataFrame, split_ledger: pd.DataFrame) -> pd.DataFrame:
    """The photos worth training on, those that were added later after those added before.

    So a photo keeps its row when others are added, and the stored photos before it stay as they
    are: what a version of the photo set costs is what is new.

    Args:
        divided_photos: One row per photo found, with `defect` where it was set aside.
        split_ledger: Gives the ingestion that each photo came with.

    Returns:
        The rest, without the columns that only those set aside need.
    """
    is_sound = divided_photos["defect"].isna()
    defects = divided_photos["defect"].value_counts()
    logger.info(
        "%s photos found, %s kept, %s set aside%s",
        *(f"{n:,}" for n in (len(is_sound), is_sound.sum(), (~is_sound).sum())),
        f" ({', '.join(f'{n:,} {name}' for name, n in defects.items())})" if len(defects) else "",
    )
    unwanted = ["defect", "detail", "duplicate_of", "given_split"]
    kept = divided_photos[is_sound].drop(columns=unwanted)
    order = ingestion_of(split_ledger, kept["photo_id"]).sort_values(kind="stable").index
    return kept.loc[order].reset_index(drop=True)


def check_division(
    checked_photos: pd.DataFrame, divided_photos: pd.DataFrame, groups: GroupParams
) -> DivisionCheck:
    """Search for near-duplicates and named groups in more than one split.

    Args:
        checked_photos: One row per photo found, sound ones with their fingerprints.
        divided_photos: The same rows with `split`.
        groups: What counts as near.
    """
    return DivisionCheck(links=check_links(checked_photos, divided_photos, groups))


def build_ingestion_report(
    divided_photos: pd.DataFrame,
    taxonomy: Taxonomy,
    split: SplitParams,
    set_checks: SetCheckParams,
    division_check: DivisionCheck | None = None,
) -> dict[str, Any]:
    """Report what became of every photo, and run the checks of the whole set.

    Args:
        divided_photos: One row per photo found, with all that is known of it.
        taxonomy: The heads.
        split: The fractions wanted.
        set_checks: Thresholds of the checks.
        division_check: As `check_division` returns it.

    Returns:
        Plain JSON values.
    """
    findings = check_set(divided_photos, taxonomy, split.fractions, set_checks)
    links = None if division_check is None else division_check.links
    return build_report(divided_photos, taxonomy, findings, split.fractions, links)


def draw_ingestion_page(
    ingestion_report: dict[str, Any], divided_photos: pd.DataFrame, index: IndexParams
) -> str:
    """Render the report as an HTML page with the photos that it speaks of.

    Args:
        ingestion_report: As `build_ingestion_report` returns it.
        divided_photos: Which photos there are.
        index: Threads.

    Returns:
        One HTML document that refers to nothing outside itself.
    """
    drawn = draw_thumbnails(ingestion_report, divided_photos, workers=index.workers)
    return render_page(ingestion_report, drawn)


def store_photos(photos: pd.DataFrame, taxonomy: Taxonomy, store: StoreParams) -> PhotoStream:
    """Resize and encode photos for training, one by one while they are written.

    Args:
        photos: One row per photo, with its split.
        taxonomy: The label columns to store.
        store: Size, quality and threads.

    Returns:
        A stream that reads, shrinks and encodes when the photo set is saved.
    """
    rows = photos[["photo_id", "path", "group", "split", *taxonomy.columns]]
    return PhotoStream(rows, partial(_stored_bytes, store=store), store.workers)


def _index_row(path: str, defects: DefectParams) -> dict[str, Any]:
    file = examine_file(path, defects)
    row = dict.fromkeys(INDEX_TYPES) | {"bytes": file.bytes, "photo_id": file.photo_id}
    if file.photo is not None:
        row |= _properties(file, file.photo)
        row |= fingerprint(file.photo.pixels)._asdict()
    row["defect"], row["detail"] = next(
        ((check.name, detail) for check in SET_ASIDE if (detail := check.find(file, defects))),
        (None, None),
    )
    if row["defect"] is None:
        for column, checks in (("repairs", REPAIRED), ("flags", FLAGGED)):
            names = [check.name for check in checks if check.find(file, defects)]
            row[column] = ";".join(names) or None
    return row


def _properties(file: ExaminedFile, photo: Photo) -> dict[str, Any]:
    red, green, blue = file.border or (None, None, None)
    return {
        "format": photo.format,
        "mode": photo.mode,
        "width": photo.width,
        "height": photo.height,
        "exif_make": photo.camera,
        "exif_orientation": photo.orientation,
        "border_red": red,
        "border_green": green,
        "border_blue": blue,
        "brightness": file.brightness,
        "sharpness": file.sharpness,
    }


def _index_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns = {}
    for name, kind in INDEX_TYPES.items():
        values = [row[name] for row in rows]
        if kind == "UInt64":  # by way of pandas, large numbers beside missing ones lose bits
            missing = np.array([value is None for value in values], bool)
            numbers = np.array([value or 0 for value in values], np.uint64)
            columns[name] = pd.Series(pd.arrays.IntegerArray(numbers, missing))
        else:
            columns[name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)


def _batched(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, size)):
        yield part


def _set_aside(photos: pd.DataFrame, details: pd.Series, defect: Defect) -> None:
    photos.loc[details.index, "defect"] = defect.name
    photos.loc[details.index, "detail"] = details


def _check_some_are_left(photos: pd.DataFrame) -> None:
    aside = photos[photos["defect"].notna()].sort_values(["defect", "path"])
    if len(aside) < len(photos):
        return
    defects = ", ".join(f"{n:,} {name}" for name, n in aside["defect"].value_counts().items())
    first = f"\nThe first is {aside.iloc[0]['path']}: {aside.iloc[0]['detail']}"
    raise SourceError(
        f"None of the {len(photos):,} photos can be used: {defects or 'there are none'}."
        f"{first if len(aside) else ''}"
    )


def _stored_bytes(row: dict[str, Any], store: StoreParams) -> bytes:
    try:
        data = on_disk(row["path"]).read_bytes()
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
