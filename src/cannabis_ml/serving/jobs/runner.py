"""Answers the photos of jobs, in the threads that live requests leave free."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from cannabis_ml.inference.report_json import photo_report
from cannabis_ml.photos.unreadable import UnreadableError
from cannabis_ml.serving.jobs.board import JobBoard
from cannabis_ml.serving.jobs.records import MOST_TRIES, Claimed, JobContent
from cannabis_ml.serving.state import Service

logger = logging.getLogger(__name__)

SWEEP_S = 600.0

_LOOK_S = 0.02
"""How often a photo that waits for live requests looks whether they are through."""


class JobRunner:
    """Takes photos of all jobs, one at a time for each worker.

    Args:
        board: Of jobs.
        service: Whose models and threads answer.
    """

    def __init__(self, board: JobBoard, service: Service) -> None:
        self._board, self._service = board, service
        self._new = asyncio.Event()

    def wake(self) -> None:
        """A job has come."""
        self._new.set()

    async def run(self) -> None:
        """Work until cancelled; photos that were begun are given back."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._service.pool.workers):
                group.create_task(self._work())
            group.create_task(self._sweep())

    async def _work(self) -> None:
        lease = timedelta(seconds=self._board.settings.lease_seconds)
        while True:
            try:
                claimed = await self._claimed(lease)
                if claimed is not None:
                    await self._answer_or_release(claimed)
                    continue
            except Exception:  # the database is away: what was begun is taken over later
                logger.exception("A photo of a job could not be answered")
            await self._wait()

    async def _claimed(self, lease: timedelta) -> Claimed | None:
        """None also while this machine gives other answers than the champion promises."""
        if not self._service.is_ready:
            return None
        return await asyncio.to_thread(self._board.store.claim, lease)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._board.settings.poll_seconds):
                await self._new.wait()
        except TimeoutError:
            pass
        self._new.clear()

    async def _answer_or_release(self, claimed: Claimed) -> None:
        try:
            await self._answer(claimed)
        except asyncio.CancelledError:
            await self._release(claimed)
            raise

    async def _release(self, claimed: Claimed) -> None:
        """Another process need not wait for the lease to end; it does where this fails."""
        try:
            await asyncio.to_thread(self._board.store.release, claimed)
        except Exception:
            logger.exception("A photo of a job could not be given back")

    async def _answer(self, claimed: Claimed) -> None:
        files = self._board.files
        place = (claimed.job, claimed.number, claimed.suffix)
        if claimed.tries > MOST_TRIES:
            content = JobContent(problem=f"{MOST_TRIES} attempts ended without an answer.")
        else:
            photo = await asyncio.to_thread(files.get, *place)
            if photo is None:
                content = JobContent(problem="The photo is gone.")
            else:
                content = await self._content(photo, claimed.language)
        written = content.model_dump_json(by_alias=True)
        await asyncio.to_thread(self._board.store.finish, claimed, written)
        await asyncio.to_thread(files.remove, *place)

    async def _content(self, photo: bytes, language: str) -> JobContent:
        await self._let_others_first()
        try:
            with self._service.bundles.lent() as loaded:
                report = await self._service.pool.run(
                    lambda: loaded.report(photo, loaded.tiers[-1], language)
                )
        except UnreadableError as error:
            return JobContent(problem=str(error))
        return JobContent(bundle=loaded.id, report=photo_report(report))

    async def _let_others_first(self) -> None:
        """Wait until a worker has nothing to do, but not for ever."""
        until = time.monotonic() + self._board.settings.patience_seconds
        service = self._service
        while service.admission.inside >= service.pool.workers and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)

    async def _sweep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._board.sweep)
            except Exception:
                logger.exception("Expired jobs could not be deleted")
            await asyncio.sleep(min(SWEEP_S, 3600 * self._board.settings.keep_hours))
