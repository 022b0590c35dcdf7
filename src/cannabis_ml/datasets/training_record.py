"""The record of the last training in the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cannabis_ml.datasets.typed_json import TypedJSONDataset

if TYPE_CHECKING:
    from cannabis_ml.feedback.training_record import TrainingRecord


class TrainingRecordDataset(TypedJSONDataset):
    """A JSON file that is None until the first training.

    The feedback pipeline reads it under one name and the bundle stage writes it under another:
    Kedro lets no entry be both input and output of a pipeline.

    Args:
        filepath: The `.json` file; the other arguments are those of `PathDataset`.
    """

    def __init__(self, *, filepath: str, **options: object) -> None:
        model = "cannabis_ml.feedback.training_record.TrainingRecord"
        super().__init__(filepath=filepath, model=model, **options)

    def load(self) -> TrainingRecord | None:  # type: ignore[override]
        return super().load() if self._exists() else None  # type: ignore[return-value]
