"""Photos of jobs, as they come, as they are worked on, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from cannabis_ml.inference.report_json import PhotoReport

MOST_TRIES = 3
"""So many processes may end over one photo."""


class JobContent(BaseModel):
    """What is written of a result."""

    bundle: str | None = None
    report: PhotoReport | None = None
    problem: str | None = None


@dataclass(frozen=True)
class NewPhoto:
    """A photo of a job to be.

    Attributes:
        name: Of the file as sent.
        suffix: Of its file; None where it cannot be answered.
        problem: Its result, as `JobContent` is written; None where it can.
    """

    name: str
    suffix: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Claimed:
    """A photo that this process has for a while.

    Attributes:
        job: Id of its job.
        number: Of the photo within.
        name: Of the file as sent.
        suffix: Of its file.
        language: Of its report.
        tries: How often it was taken, this time included.
    """

    job: str
    number: int
    name: str
    suffix: str
    language: str
    tries: int


@dataclass(frozen=True)
class Result:
    """What became of a photo.

    Attributes:
        place: In the order of results, from 1 on.
        number: Of the photo.
        name: Of its file as sent.
        content: JSON of bundle, report and problem.
    """

    place: int
    number: int
    name: str
    content: str
