"""Photos as found -> sound, split, stored photos."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.photo_sets.feedback_source import (
    add_feedback,
    note_feedback,
    with_corrections,
)
from cannabis_ml.photo_sets.groups import group_photos
from cannabis_ml.photo_sets.splitting import split_photos
from cannabis_ml.pipelines.ingestion.nodes import (
    build_ingestion_report,
    check_division,
    draw_ingestion_page,
    index_photos,
    keep_sound_photos,
    resolve_taxonomy,
    set_aside_copies,
    store_photos,
)


def create_pipeline(**_: object) -> Pipeline:
    """Photos as found -> sound photos, each in one split, stored at the size training wants.

    Up to `divided_photos` every table has a row per photo found: what is set aside is marked, not
    dropped, so that the report can account for it.
    """
    return Pipeline(
        [
            Node(
                add_feedback,
                ["source_photos", "feedback_photos"],
                "listed_photos",
                name="add_feedback",
            ),
            Node(
                resolve_taxonomy,
                ["listed_photos", "params:taxonomy"],
                "taxonomy",
                name="resolve_taxonomy",
            ),
            Node(
                index_photos,
                [
                    *("listed_photos", "taxonomy"),
                    *("params:ingestion.index", "params:ingestion.defects", "params:engine"),
                    "index_workspace",
                ],
                "photo_index",
                name="index_photos",
            ),
            Node(
                with_corrections,
                ["photo_index", "feedback_photos", "taxonomy"],
                "corrected_photos",
                name="correct_labels",
            ),
            Node(
                set_aside_copies,
                ["corrected_photos", "taxonomy"],
                "checked_photos",
                name="set_aside_copies",
            ),
            Node(
                group_photos,
                ["checked_photos", "params:ingestion.groups", "params:engine"],
                "grouped_photos",
                name="group_photos",
            ),
            Node(
                split_photos,
                ["grouped_photos", "split_ledger_before", "taxonomy", "params:ingestion.split"],
                ["divided_photos", "split_ledger"],
                name="split_photos",
            ),
            Node(
                keep_sound_photos,
                ["divided_photos", "split_ledger"],
                "photos",
                name="keep_sound_photos",
            ),
            Node(
                note_feedback,
                ["feedback_photos", "photos"],
                "ingested_feedback",
                name="note_feedback",
            ),
            Node(
                store_photos,
                ["photos", "taxonomy", "params:ingestion.store", "params:engine"],
                "photo_set",
                name="store_photos",
            ),
            Node(
                check_division,
                ["checked_photos", "divided_photos", "params:ingestion.groups", "params:engine"],
                "division_check",
                name="check_division",
            ),
            Node(
                build_ingestion_report,
                [
                    "divided_photos",
                    "taxonomy",
                    "params:ingestion.split",
                    "params:ingestion.set_checks",
                    "division_check",
                ],
                "ingestion_report",
                name="build_ingestion_report",
            ),
            Node(
                draw_ingestion_page,
                ["ingestion_report", "divided_photos", "params:ingestion.index"],
                "ingestion_page",
                name="draw_ingestion_page",
            ),
        ]
    )
