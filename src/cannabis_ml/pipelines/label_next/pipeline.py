"""Wiring of the label_next pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from cannabis_ml.pipelines.label_next.nodes import (
    draw_contact_sheet,
    find_label_errors,
    list_label_studio_tasks,
    look_at_photos,
    measure_learning_curves,
    put_up_for_review,
    rank,
)


def create_pipeline(**_: object) -> Pipeline:
    """The last bundle, its training photos and those of feedback -> what to label next."""
    settings = "params:label_next"
    return Pipeline(
        [
            Node(
                look_at_photos,
                ["bundle", "photo_set", "feedback_store", "feedback_photos", settings],
                "photos_seen",
                name="look_at_photos",
            ),
            Node(rank, ["photos_seen", "bundle", settings], "label_next", name="rank_photos"),
            Node(
                find_label_errors,
                ["photos_seen", "bundle", settings],
                "label_errors",
                name="find_label_errors",
            ),
            Node(
                measure_learning_curves,
                ["photos_seen", "bundle", settings],
                "photo_advice",
                name="measure_learning_curves",
            ),
            Node(
                draw_contact_sheet,
                ["label_next", "label_errors", "photo_advice", "feedback_store"],
                "label_next_page",
                name="draw_contact_sheet",
            ),
            Node(
                list_label_studio_tasks,
                ["label_next", "label_errors", "bundle", "feedback_store", settings],
                "label_studio_tasks",
                name="list_label_studio_tasks",
            ),
            Node(
                put_up_for_review,
                ["label_next", "label_errors", "bundle", settings],
                "review_queue",
                name="put_up_for_review",
            ),
        ]
    )
