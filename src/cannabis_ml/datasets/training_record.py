"""The record of the last training in the catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cannabis_ml._io.remote import local_copy
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.promotion.remote_store import champion_store

if TYPE_CHECKING:
    from cannabis_ml.feedback.training_record import TrainingRecord


class TrainingRecordDataset(TypedJSONDataset):
    """A JSON file that is None until the first training.

    The feedback pipeline reads it under one name and the bundle stage writes it under another:
    Kedro lets no entry be both input and output of a pipeline.

    Args:
        filepath: The `.json` file; the other arguments are those of `PathDataset`.
        champion: `{filepath: …}` of a `ChampionStore`, with `credentials` and `cache` as for
            `ChampionDataset`. Where the champion is of an earlier training, what is loaded has its
            bundle and baselines: people see its answers.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        champion: Mapping[str, Any] | None = None,
        **options: object,
    ) -> None:
        model = "cannabis_ml.feedback.training_record.TrainingRecord"
        super().__init__(filepath=filepath, model=model, **options)
        self._champion = champion_store(**champion) if champion else None

    def load(self) -> TrainingRecord | None:  # type: ignore[override]
        if not self._exists():
            return None
        newest: TrainingRecord = super().load()  # type: ignore[assignment]
        now = self._champion.current() if self._champion else None
        if now is None or now.bundle_id == newest.bundle_id:
            return newest
        return newest.in_service(now.bundle_id, self._earlier())

    def _earlier(self) -> Iterator[TrainingRecord]:
        """Records of other versions, the newest first."""
        if self._version is None:
            return
        pattern = PurePosixPath(self._filepath) / "*" / self._filepath.name
        for path in sorted(self._glob_function(str(pattern)), reverse=True):
            local = local_copy(self._at(path), fresh=False) if self.remote else Path(path)
            yield self._class().model_validate_json(local.read_text("utf-8"))  # type: ignore[misc]
