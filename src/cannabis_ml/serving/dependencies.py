"""What routes depend on: the service, for callers who may use it; whom a bundle answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from cannabis_ml.inference.language import languages, tag_of
from cannabis_ml.serving.problems import ServiceError
from cannabis_ml.serving.state import Service

PERSON_HEADER = "x-person"


async def service_of(request: Request) -> Service:
    """The process's service."""
    found: Service = request.app.state.service
    return found


async def allowed(request: Request, service: Annotated[Service, Depends(service_of)]) -> Service:
    """The service, for a caller who may use it."""
    await service.guard(request)
    return service


async def person_of(
    x_person: Annotated[
        str | None,
        Header(max_length=128, description="A pseudonym: the same one gets the same bundle"),
    ] = None,
    person: Annotated[
        str | None, Query(max_length=128, description=f"As the header {PERSON_HEADER}")
    ] = None,
) -> str | None:
    """The pseudonym of whoever asks; None where none was given."""
    return x_person or person or None


AnyCaller = Annotated[Service, Depends(service_of)]
Allowed = Annotated[Service, Depends(allowed)]
Person = Annotated[str | None, Depends(person_of)]
Language = Annotated[
    str | None, Query(description=f"Of the texts: {', '.join(languages())}; null: the service's")
]


def language_of(asked: str | None, service: Service) -> str:
    """The language of a request's texts.

    Raises:
        ServiceError: 422 if there are no texts in it.
    """
    if asked is None:
        return service.settings.language
    if tag_of(asked) not in languages():
        raise ServiceError(
            422, f"There are no texts in '{asked:.20}'; there are in {', '.join(languages())}."
        )
    return asked
