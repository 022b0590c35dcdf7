"""The learning status of a store: made in a thread, at most once in a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.feedback_settings import FeedbackSettings
from cannabis_ml.serving.learning_schemas import (
    ChampionStatus,
    ClassCount,
    LastTraining,
    LearningStatus,
    StoreSummary,
)

if TYPE_CHECKING:
    from cannabis_ml.feedback.decision_now import DecisionParams
    from cannabis_ml.feedback.reading import Summary
    from cannabis_ml.feedback.store import FeedbackStore
    from cannabis_ml.feedback.training_record import TrainingRecord

SHARE = 0.05
"""Of one core that making the status may take where it is asked for all the time."""


@dataclass(frozen=True)
class LearningSources:
    """What a learning status is read from.

    Attributes:
        store: Of feedback.
        training_record: See `FeedbackSettings`.
        champion: See `FeedbackSettings`.
        params: Limits of the decision.
    """

    store: FeedbackStore
    training_record: Path | None
    champion: Path | None
    params: DecisionParams

    @classmethod
    def of(cls, store: FeedbackStore, settings: FeedbackSettings) -> LearningSources:
        """Those of the settings.

        Raises:
            ConfigError: If a parameter of the decision cannot be.
        """
        from cannabis_ml.feedback.decision_now import DecisionParams

        params = DecisionParams.read(settings.decision)
        return cls(store, settings.training_record, settings.champion, params)

    def status(self, bundle: Bundle) -> LearningStatus:
        """Read everything. Seconds for a store of tens of thousands of opinions.

        Args:
            bundle: The one in production, whose classes opinions are held against.

        Raises:
            CannabisMLError: If the store, or a record, cannot be read.
        """
        from cannabis_ml.feedback.decision_now import decide_now
        from cannabis_ml.feedback.snapshot import snapshot_of
        from cannabis_ml.feedback.training_record import read_records

        records = iter(()) if self.training_record is None else read_records(self.training_record)
        record = basis = next(records, None)
        served = bundle.manifest.content_sha256
        if record is not None and record.bundle_id not in ("", served):
            basis = record.in_service(served, records)  # the last one was refused
        now = self.store.clock()
        snapshot = snapshot_of(self.store)
        return LearningStatus(
            as_of=now,
            store=_summary(self.store.summary()),
            decision=decide_now(snapshot, bundle.taxonomy, basis, self.params, now),
            last_training=None if record is None else _training(record),
            champion=_champion(bundle, self.champion),
        )


class LearningCache:
    """Gives the same status to all who ask within some seconds, and makes one at a time.

    Args:
        seconds: So long it is given; longer where making it takes long, see `SHARE`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._made: tuple[str, float, LearningStatus] | None = None
        self._making: asyncio.Task[None] | None = None

    async def get(self, bundle_id: str, make: Callable[[], LearningStatus]) -> LearningStatus:
        """The status.

        Args:
            bundle_id: Of the bundle in production; another one has another status.
            make: Called in a thread where there is none that is young enough.
        """
        while True:
            if self._made is not None:
                made_for, until, status = self._made
                if made_for == bundle_id and time.monotonic() < until:
                    return status
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._make(bundle_id, make))
            # Who leaves does not end what others wait for, nor begins it a second time.
            await asyncio.shield(self._making)

    async def _make(self, bundle_id: str, make: Callable[[], LearningStatus]) -> None:
        start = time.monotonic()
        status = await asyncio.to_thread(make)
        end = time.monotonic()
        self._made = bundle_id, end + max(self._seconds, (end - start) / SHARE), status


def _summary(found: Summary) -> StoreSummary:
    counts = {
        name: [ClassCount(head=head, class_name=one, count=n) for head, one, n in rows]
        for name, rows in (
            ("most_corrected", found.most_corrected),
            ("proposed", found.proposed),
        )
    }
    return StoreSummary.model_validate({**found.model_dump(), **counts})


def _training(record: TrainingRecord) -> LastTraining:
    return LastTraining(
        at=record.at,
        bundle=record.bundle_id,
        feedback_photos=len(record.feedback),
        test_accuracy={
            tier: {head: one.accuracy for head, one in heads.items()}
            for tier, heads in record.baselines.items()
        },
    )


def _champion(bundle: Bundle, folder: Path | None) -> ChampionStatus:
    manifest = bundle.manifest
    now = None
    if folder is not None:
        from cannabis_ml.promotion.store import ChampionStore

        now = ChampionStore(folder).current()
    record = now if now is not None and now.bundle_id == manifest.content_sha256 else None
    return ChampionStatus(
        bundle=manifest.content_sha256,
        name=manifest.name,
        created=manifest.created,
        since=record.at if record else None,
        by=record.by if record else None,
        reason=record.reason if record else None,
    )
