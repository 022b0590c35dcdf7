"""Errors of the service as problem details (RFC 9457), and the exceptions that become them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "The file ends before the photo does.",
                "request_id": "6f1c0b0a3a5e4f0f",
            }
        }
    )

    title: str = Field(description="The status in words")
    status: int = Field(description="HTTP status", ge=400, le=599)
    detail: str = Field(description="What is wrong, and what to do")
    request_id: str = Field(description="To find the request in the service's log")


class ServiceError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        detail: What is wrong, and what to do.
        headers: Sent along.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def overloaded(retry_after: float) -> ServiceError:
    """Too many requests are waiting already."""
    seconds = max(1, round(retry_after))
    return ServiceError(
        503,
        f"Too many photos are waiting; try again in {seconds} s.",
        {"retry-after": str(seconds)},
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its errors in the OpenAPI document."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status in sorted(statuses)
    }


_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until another attempt may succeed",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def problem(request: Request, status: int, detail: str, headers: dict[str, str]) -> JSONResponse:
    """The response for a problem."""
    found = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=request.scope.get("request_id", ""),
    )
    return JSONResponse(found.model_dump(), status, headers, MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Let every error of the service become a problem."""

    @app.exception_handler(ServiceError)
    async def _own(request: Request, error: ServiceError) -> JSONResponse:
        return problem(request, error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def _frameworks(request: Request, error: HTTPException) -> JSONResponse:
        return problem(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'][1:])) or fault['loc'][0]}: {fault['msg']}"
            for fault in error.errors()
        )
        return problem(request, 422, f"{faults}.", {})
