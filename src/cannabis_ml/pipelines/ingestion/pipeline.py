"""Photos as found -> sound, split, stored photos."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.ingestion.nodes import (
    index_photos,
    resolve_taxonomy,
    set_aside_defects,
    split_photos,
    store_photos,
)


def create_pipeline(**_: Any) -> Pipeline:
    """Photos as found -> sound photos, each in one split, stored at the size training wants."""
    return Pipeline(
        [
            Node(
                resolve_taxonomy,
                ["source_photos", "params:taxonomy"],
                "taxonomy",
                name="resolve_taxonomy",
            ),
            Node(
                index_photos,
                ["source_photos", "taxonomy", "params:ingestion.index"],
                "photo_index",
                name="index_photos",
            ),
            Node(
                set_aside_defects,
                ["photo_index", "taxonomy"],
                ["sound_photos", "ingestion_report"],
                name="set_aside_defects",
            ),
            Node(
                split_photos,
                ["sound_photos", "taxonomy", "params:ingestion.split"],
                "photos",
                name="split_photos",
            ),
            Node(
                store_photos,
                ["photos", "taxonomy", "params:ingestion.store"],
                "photo_set",
                name="store_photos",
            ),
        ]
    )
