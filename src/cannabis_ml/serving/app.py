"""The web application: one process, one bundle, a bounded number of requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from cannabis_ml import __version__
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving import routes
from cannabis_ml.serving.guard import KEY_HEADER, Guard
from cannabis_ml.serving.metrics import ServiceMetrics
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.problems import handle_errors
from cannabis_ml.serving.requests_log import REQUEST_ID, RequestLog
from cannabis_ml.serving.settings import ServiceSettings
from cannabis_ml.serving.state import Readiness, Service

logger = logging.getLogger(__name__)

ABOUT = """\
Answers for photos from a bundle of classifiers: calibrated confidence, prediction sets, and whether
a photo is unlike all that the models know.

Send a photo as the body (`image/jpeg` and the like) or as the form field `photo`. Errors are
problem details (RFC 9457)."""


def create_app(bundle: Bundle, settings: ServiceSettings | None = None) -> FastAPI:
    """Make the application.

    The golden photos are checked when it starts; `/readyz` tells when it is ready and whether this
    machine gives the answers that the bundle promises. A thread opens a model with its first photo.

    Args:
        bundle: What answers.
        settings: Limits, keys and the like; None takes the defaults.
    """
    settings = settings or ServiceSettings()
    pool = WorkerPool(settings.workers)
    admission = Admission(pool, settings.limits.waiting)
    loaded = LoadedBundle(bundle, settings.limits.photo_pixels)
    metrics = ServiceMetrics(admission, loaded.metrics)
    service = Service(settings, pool, admission, loaded, metrics, Guard(settings), Readiness())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        checking = asyncio.ensure_future(service.check_golden())
        try:
            yield
        finally:
            checking.cancel()
            await asyncio.to_thread(pool.close)

    app = FastAPI(
        title="cannabis_ml",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    handle_errors(app)
    app.include_router(routes.router)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["content-type", KEY_HEADER, REQUEST_ID],
            expose_headers=[REQUEST_ID, "retry-after"],
        )
    app.add_middleware(RequestLog, observe=metrics.observe_request)
    return app
