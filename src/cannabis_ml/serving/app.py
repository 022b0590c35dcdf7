"""The web application: one process, its bundles, a bounded number of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from cannabis_ml import __version__
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving import (
    explain_routes,
    feedback_routes,
    heat_map_routes,
    people_routes,
    review_routes,
    routes,
)
from cannabis_ml.serving.bundles import Served, ServedBundles
from cannabis_ml.serving.dependencies import PERSON_HEADER
from cannabis_ml.serving.deployments import DeploymentRecord, Deployments
from cannabis_ml.serving.explaining import ExplanationDesk
from cannabis_ml.serving.feedback_desk import open_desk
from cannabis_ml.serving.following import Follower
from cannabis_ml.serving.guard import KEY_HEADER, Guard
from cannabis_ml.serving.jobs import routes as job_routes
from cannabis_ml.serving.jobs.runner import JobRunner
from cannabis_ml.serving.metrics import ServiceMetrics
from cannabis_ml.serving.models import LoadedBundle
from cannabis_ml.serving.openapi import ServiceApp, operation_id
from cannabis_ml.serving.page import routes as page_routes
from cannabis_ml.serving.page.files import PageFiles
from cannabis_ml.serving.pool import Admission, WorkerPool
from cannabis_ml.serving.problems import handle_errors
from cannabis_ml.serving.requests_log import BUNDLE, REQUEST_ID, RequestLog
from cannabis_ml.serving.settings import ServiceSettings
from cannabis_ml.serving.shadow import Shadow
from cannabis_ml.serving.state import Service

ROUTERS = [
    routes.router,
    feedback_routes.router,
    review_routes.router,
    people_routes.router,
    job_routes.router,
    heat_map_routes.router,
    explain_routes.router,
    page_routes.router,
]

ENDING_SECONDS = 10.0
"""How long the end waits for photos of jobs to be given back."""

ABOUT = """\
Answers for photos from a bundle of classifiers: calibrated confidence, prediction sets, and whether
a photo is unlike all that the models know.

Send a photo as the body (`image/jpeg` and the like) or as the form field `photo`. Errors are
problem details (RFC 9457)."""


Following = tuple[Deployments, DeploymentRecord]


def create_app(
    bundle: Bundle,
    settings: ServiceSettings | None = None,
    *,
    challenger: Bundle | None = None,
    follow: Following | None = None,
) -> FastAPI:
    """Make the application.

    The golden photos are checked when it starts; `/readyz` reports that, and whether this machine
    gives the answers that the bundle promises.

    Args:
        bundle: What answers.
        settings: Limits, keys and the like; None takes the defaults.
        challenger: Answers a share of people, `ServiceSettings.challenger_share`.
        follow: Where later bundles come from, and the record of those that are given.

    Raises:
        FeedbackError: If the store of feedback cannot be opened.
        ConfigError: If a language model is to explain, and cannot be asked: it has no key.
    """
    settings = settings or ServiceSettings()
    explaining = None if settings.assistant is None else ExplanationDesk(settings.assistant)
    desk = open_desk(settings)
    pool = WorkerPool(settings.workers)
    admission = Admission(pool, settings.limits.waiting)
    pixels = settings.limits.photo_pixels
    rival = None if challenger is None else LoadedBundle(challenger, pixels)
    served = Served(LoadedBundle(bundle, pixels), rival)
    bundles = ServedBundles(served, settings.challenger_share)
    metrics = ServiceMetrics(admission, bundles)
    shadow = Shadow(bundles, admission, settings.shadow_share, metrics)
    service = Service(settings, pool, admission, bundles, metrics, Guard(settings), shadow)

    jobs = None if desk is None else JobRunner(desk.jobs, service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        working = [asyncio.create_task(_prepared_and_following(service, follow))]
        if jobs is not None:
            working.append(asyncio.create_task(jobs.run()))
        shadow.start()
        try:
            yield
        finally:
            for task in working:
                task.cancel()
            await asyncio.wait(working, timeout=ENDING_SECONDS)  # what they give back is written
            await asyncio.to_thread(shadow.close)
            await asyncio.to_thread(pool.close)
            if desk is not None:
                await asyncio.to_thread(desk.close)
            if explaining is not None:
                explaining.close()

    app = ServiceApp(
        title="cannabis_ml",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.state.service = service
    app.state.feedback, app.state.jobs = desk, jobs
    app.state.explaining = explaining
    app.state.page = PageFiles()
    handle_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["content-type", KEY_HEADER, PERSON_HEADER, REQUEST_ID],
            expose_headers=[BUNDLE, REQUEST_ID, "location", "retry-after"],
        )
    app.add_middleware(RequestLog, observe=metrics.observe_request)
    return app


async def _prepared_and_following(service: Service, follow: Following | None) -> None:
    await service.prepare()
    if follow is not None:
        await Follower(service, *follow).run()
