"""The OpenAPI document, with the models of bodies that routes read by themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from cannabis_ml.feedback.submission import Submission
from cannabis_ml.serving.guard import KEY_HEADER
from cannabis_ml.serving.jobs.schemas import JobResult
from cannabis_ml.serving.problems import Problem

BODIES: tuple[type[BaseModel], ...] = (Submission, JobResult, Problem)
"""Models of what routes read and write by themselves, counting bytes or line by line; FastAPI
knows nothing of them."""


KEY = "apiKey"
"""Name of the security scheme."""


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: what generated clients call it."""
    return route.name


class ServiceApp(FastAPI):
    """A FastAPI whose document lists the models of `BODIES` and the API key too."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        is_new = self.openapi_schema is None
        document = super().openapi()
        if is_new:
            _add_models(document["components"]["schemas"])
            _add_key(document)
        return document


def _add_models(schemas: dict[str, Any]) -> None:
    for model in BODIES:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema


def _add_key(document: dict[str, Any]) -> None:
    """Operations that may answer 401 take a key, where the service asks for one."""
    scheme = {"type": "apiKey", "in": "header", "name": KEY_HEADER}
    document["components"]["securitySchemes"] = {KEY: scheme}
    for operations in document["paths"].values():
        for operation in operations.values():
            if "401" in operation["responses"]:
                operation["security"] = [{}, {KEY: []}]
