"""The OpenAPI document, with the models of bodies that routes read by themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from cannabis_ml.feedback.submission import Submission
from cannabis_ml.serving.jobs.schemas import JobResult

BODIES: tuple[type[BaseModel], ...] = (Submission, JobResult)
"""Models of what routes read and write by themselves, counting bytes or line by line; FastAPI
knows nothing of them."""


class ServiceApp(FastAPI):
    """A FastAPI whose document lists the models of `BODIES` too."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        is_new = self.openapi_schema is None
        document = super().openapi()
        if is_new:
            schemas = document["components"]["schemas"]
            for model in BODIES:
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
        return document
