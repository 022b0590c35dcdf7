"""The store of feedback as requests use it: on threads of its own, with a bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request

from cannabis_ml.errors import (
    CannabisMLError,
    ConfigError,
    FeedbackRefusedError,
    UnknownPersonError,
    UnknownSubmissionError,
)
from cannabis_ml.feedback.params import StoreLimits
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.feedback_settings import FeedbackSettings
from cannabis_ml.serving.jobs.board import JobBoard
from cannabis_ml.serving.learning import LearningCache, LearningSources
from cannabis_ml.serving.learning_schemas import LearningStatus
from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.settings import ServiceSettings
from cannabis_ml.serving.work import answered

if TYPE_CHECKING:
    from cannabis_ml.feedback.store import FeedbackStore

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

NOT_SET_UP = (
    "This service takes no feedback: start it with --feedback URL, such as"
    " sqlite:///feedback.db, or set feedback.database in its configuration."
)

AGAIN_IN_S = 5
"""When to come again after the database failed."""

WITHOUT_STORE_S = 3600
"""The same where no store is set up: somebody has to set it up first."""


class FeedbackDesk:
    """Lets requests work with the store without holding up the event loop.

    Args:
        store: Opened.
        settings: Threads and places.
        jobs: Batch jobs, which are kept in the same database.

    Raises:
        ConfigError: If a parameter of the retrain decision cannot be.
    """

    def __init__(self, store: FeedbackStore, settings: FeedbackSettings, jobs: JobBoard) -> None:
        self.store, self.settings, self.jobs = store, settings, jobs
        self._pool = WorkerPool(settings.threads)
        self.admission = Admission(self._pool, settings.waiting)
        self._sources = LearningSources.of(store, settings)
        self._learning = LearningCache(settings.status_seconds)

    async def work(
        self, request: Request, change: Callable[[], Result], deadline_seconds: float
    ) -> Result:
        """Let a thread work with the store, for a request that was let in.

        Args:
            request: Its body was read.
            change: What to do; it is not begun if the client leaves first.
            deadline_seconds: From now on.

        Raises:
            ServiceError: 404 if the store has nothing of a person, 422 if it refuses what was
                sent, 503 if it fails, 504 when time is up.
        """
        return await self.wait(request, self._pool.run(change), deadline_seconds)

    async def work_if_room(
        self, request: Request, change: Callable[[], Result], deadline_seconds: float
    ) -> Result:
        """As `work`, for a request without a body: let it in first.

        Raises:
            ServiceError: 503 if there is no room; as `work`.
        """
        with self.admission.enter():
            return await self.work(request, change, deadline_seconds)

    async def wait(
        self, request: Request, work: Coroutine[Any, Any, Result], deadline_seconds: float
    ) -> Result:
        """As `work`, for work that has threads of its own."""
        with _as_problems():
            return await answered(request, work, deadline_seconds)

    async def ask(self, work: Callable[[], Result]) -> Result:
        """As `work`, quickly and before the body is read: who waits for it is not watched."""
        with _as_problems():
            return await asyncio.to_thread(work)

    async def learning_status(
        self, request: Request, bundle: Bundle, deadline_seconds: float
    ) -> LearningStatus:
        """Totals of feedback, the retrain decision, and what is in production; some seconds old.

        Args:
            request: Without a body.
            bundle: The one in production.
            deadline_seconds: From now on.

        Raises:
            ServiceError: 503 if the store fails, 504 when time is up.
        """
        bundle_id = bundle.manifest.content_sha256
        found = self._learning.get(bundle_id, lambda: self._sources.status(bundle))
        return await self.wait(request, found, deadline_seconds)

    def close(self) -> None:
        """Finish what was begun, and close the store."""
        self._pool.close()
        self.store.close()


@contextmanager
def _as_problems() -> Iterator[None]:
    """Errors of the store as problems; the log has the details."""
    try:
        yield
    except FeedbackRefusedError as error:
        raise ServiceError(422, f"{error}.") from error
    except UnknownPersonError as error:
        raise ServiceError(404, "There is nothing of this person in the store.") from error
    except UnknownSubmissionError as error:
        raise ServiceError(404, "This person sent nothing under this key.") from error
    except CannabisMLError as error:
        logger.exception("The store of feedback failed")
        raise ServiceError(
            503,
            "The store of feedback cannot be reached; send the same again later.",
            {"retry-after": str(AGAIN_IN_S)},
        ) from error


def open_desk(settings: ServiceSettings) -> FeedbackDesk | None:
    """Open the store that the settings name; None where they name none.

    Raises:
        ConfigError: If the database's client is not installed, or a parameter cannot be.
        FeedbackError: If the store cannot be opened.
    """
    given = settings.feedback
    if given is None:
        return None
    try:
        from cannabis_ml.feedback.store import FeedbackStore
    except ImportError as error:
        raise ConfigError(
            f"Feedback cannot be kept ({error}): pip install"
            " 'cannabis_ml[inference,service,feedback]'."
        ) from error
    limits = StoreLimits(
        photo_bytes=settings.limits.photo_bytes, photo_pixels=settings.limits.photo_pixels
    )
    store = FeedbackStore(given.database, given.photos, limits=limits)
    jobs = JobBoard(store, settings.jobs, settings.limits.photo_pixels)
    return FeedbackDesk(store, given, jobs)


async def desk_of(request: Request) -> FeedbackDesk:
    """The process's desk.

    Raises:
        ServiceError: 503 where no store is set up. Clients keep their feedback.
    """
    found: FeedbackDesk | None = request.app.state.feedback
    if found is None:
        raise ServiceError(503, NOT_SET_UP, {"retry-after": str(WITHOUT_STORE_S)})
    return found


Desk = Annotated[FeedbackDesk, Depends(desk_of)]
