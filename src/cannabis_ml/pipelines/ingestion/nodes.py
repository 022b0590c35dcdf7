"""Nodes of ingestion: index photos, set aside unusable ones, report, store the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from cannabis_ml._io.engine import THREADS, Engine
from cannabis_ml._io.file_names import on_disk
from cannabis_ml._io.parallel import map_in_order
from cannabis_ml._io.photo_files import is_url
from cannabis_ml.errors import EngineError, SourceError, TaxonomyError
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
from cannabis_ml.photo_sets.published import RIGHTS
from cannabis_ml.photo_sets.split_ledger import ingestion_of
from cannabis_ml.photo_sets.split_params import SplitParams
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.checks.check import Defect
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.index_parts import PART_PHOTOS, IndexParts
from cannabis_ml.pipelines.ingestion.one_photo import (
    INDEX_TYPES,
    index_frame,
    index_row,
    stored_bytes,
)
from cannabis_ml.pipelines.ingestion.params import IndexParams
from cannabis_ml.pipelines.ingestion.report import build_report, draw_thumbnails, render_page
from cannabis_ml.splits import HELD_OUT, Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec
from cannabis_ml.text import lookalikes

logger = logging.getLogger(__name__)

SOURCE_COLUMNS = ("path", "source", "group", "given_split", *RIGHTS)

RESERVED = (
    *(*SOURCE_COLUMNS, *INDEX_TYPES, "image", "split", "cluster", "duplicate_of"),
    *("copy", "key", "label_text", "photos", "unknown_kind"),
)
"""Columns of our tables that no head may be called after."""


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
    source_photos: pd.DataFrame,
    taxonomy: Taxonomy,
    index: IndexParams,
    defects: DefectParams,
    engine: Engine = THREADS,
    workspace: Path | None = None,
) -> pd.DataFrame:
    """Read every file once: hash it, decode it, run every check.

    Args:
        source_photos: One row per photo: `path`, `group`, `given_split` and labels.
        taxonomy: Names and types of the label columns.
        index: Threads.
        defects: Thresholds of the checks.
        engine: Where files are read.
        workspace: Keeps what was done if the run is interrupted; the next run goes on from there.

    Returns:
        The same rows with what `INDEX_TYPES` lists: what the file is, `defect` (a short name) and
        `detail` (a sentence) where it cannot be used, `repairs` and `flags` where it can.

    Raises:
        EngineError: If machines of a cluster do not see files that this one sees.
    """
    paths = source_photos["path"]
    kept = IndexParts.of(workspace, paths, defects)
    parts = kept.read()
    done = sum(map(len, parts))
    if done:
        logger.info("%s photos were indexed before the run was interrupted", f"{done:,}")
    examined = map_in_order(
        partial(index_row, defects=defects), paths.iloc[done:], index.workers, engine
    )
    bar = tqdm(examined, total=len(paths), initial=done, desc="Indexing photos", unit=" photos")
    for part in map(index_frame, _batched(iter(bar), PART_PHOTOS)):
        kept.keep(len(parts), part)
        parts.append(part)
    file_columns = pd.concat(parts or [index_frame([])], ignore_index=True)
    kept.remove()
    file_columns.index = source_photos.index
    if engine.is_cluster:
        _check_workers_see(source_photos.loc[file_columns["defect"] == "missing", "path"])
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
    checked_photos: pd.DataFrame,
    divided_photos: pd.DataFrame,
    groups: GroupParams,
    engine: Engine = THREADS,
) -> DivisionCheck:
    """Search for near-duplicates and named groups in more than one split.

    Args:
        checked_photos: One row per photo found, sound ones with their fingerprints.
        divided_photos: The same rows with `split`.
        groups: What counts as near.
        engine: Where near-duplicates are looked for.
    """
    return DivisionCheck(links=check_links(checked_photos, divided_photos, groups, engine))


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


def store_photos(
    photos: pd.DataFrame, taxonomy: Taxonomy, store: StoreParams, engine: Engine = THREADS
) -> PhotoStream:
    """Resize and encode photos for training, one by one while they are written.

    Args:
        photos: One row per photo, with its split.
        taxonomy: The label columns to store.
        store: Size, quality and threads.
        engine: Where photos are read and encoded.

    Returns:
        A stream that reads, shrinks and encodes when the photo set is saved.
    """
    rows = photos[["photo_id", "path", "group", "split", *taxonomy.columns]]
    return PhotoStream(rows, partial(stored_bytes, store=store), store.workers, engine)


def _batched(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, size)):
        yield part


def _check_workers_see(missing: pd.Series) -> None:
    """Refuse an index in which photos are missing because workers read other disks."""
    here = [path for path in missing if not is_url(path) and on_disk(path).exists()]
    if here:
        raise EngineError(
            f"The cluster's workers do not see {len(here):,} photos that this machine sees, such as"
            f" {here[0]}.\nPut photos where all machines reach them under the same path: a shared"
            " folder, or object storage with URLs in a table (s3://bucket/a.jpg)."
        )


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
