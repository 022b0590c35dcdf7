"""How the service runs: limits, keys, who may call."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml.errors import ConfigError
from cannabis_ml.inference.cards import faults_of
from cannabis_ml.serving.assistant_settings import AssistantSettings
from cannabis_ml.serving.feedback_settings import FeedbackSettings
from cannabis_ml.serving.jobs.settings import JobSettings

MEGABYTE = 1 << 20

KeyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Limits(BaseModel):
    """What one request may cost, and how many are let in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo_bytes: int = Field(
        default=25 * MEGABYTE, ge=1024, description="Of a photo; refused with status 413 above"
    )
    photo_pixels: int = Field(
        default=100_000_000, ge=1024, description="Width x height; refused with status 422 above"
    )
    upload_seconds: float = Field(
        default=15.0, gt=0, description="Until the body is there; status 408 later"
    )
    deadline_seconds: float = Field(
        default=30.0, gt=0, description="From the body to the answer; status 504 later"
    )
    waiting: int = Field(
        default=16,
        ge=0,
        description="Requests let in besides those that are being answered; status 503 above",
    )
    requests_per_minute: int = Field(
        default=0, ge=0, description="Per API key, or per address without keys; 0 for no limit"
    )


class ServiceSettings(BaseModel):
    """Settings of one process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(
        default=1, ge=1, le=64, description="Photos answered at once, each on one thread"
    )
    limits: Limits = Limits()
    challenger_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Of people, by their pseudonym, whom the challenger answers",
    )
    key_hashes: list[KeyHash] = Field(
        default_factory=list,
        description="SHA-256 of each API key, hexadecimal; empty lets everybody in",
    )
    admin_key_hashes: list[KeyHash] = Field(
        default_factory=list,
        description="The same of keys that may also export and erase people's data; empty: nobody",
    )
    reviewer_key_hashes: list[KeyHash] = Field(
        default_factory=list,
        description="The same of keys that may also see the photos up for review; so may those of"
        " admins; both empty: nobody",
    )
    cors_origins: list[str] = Field(
        default_factory=list, description="Pages from elsewhere that may call, such as https://a.b"
    )
    shadow_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Of photos that the champion answered, which the challenger answers too, for"
        " counts alone; dropped while requests are inside",
    )
    follow_seconds: float = Field(
        default=2.0, gt=0, description="Between two looks at a folder of deployments"
    )
    language: str = Field(default="en", description="Of reports, unless the request names one")
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="Addresses whose X-Forwarded-For is trusted; empty trusts none",
    )
    feedback: FeedbackSettings | None = Field(
        default=None, description="Where feedback is kept; null: none is taken"
    )
    jobs: JobSettings = JobSettings()
    assistant: AssistantSettings | None = Field(
        default=None, description="The language model that explains answers; null: none does"
    )


def hash_key(key: str) -> str:
    """SHA-256 of an API key, hexadecimal. Keys are random, so that no salt is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A random API key of 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


def read_settings(path: Path | None, given: dict[str, object]) -> ServiceSettings:
    """Settings from a JSON file, and what was given besides.

    Args:
        path: The file; None takes the defaults.
        given: Fields that count more than the file's; of groups, their fields.

    Raises:
        ConfigError: If the file cannot be read, or a field cannot be.
    """
    try:
        read = {} if path is None else json.loads(path.read_text("utf-8"))
        if not isinstance(read, dict):
            raise ConfigError(f"{path} holds no JSON object.")
        return ServiceSettings.model_validate(_merged(read, given))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"The settings cannot be read from {path}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"The service cannot run like that: {faults_of(error)}.") from error


def _merged(read: dict[str, object], given: dict[str, object]) -> dict[str, object]:
    merged = {**read, **given}
    for name, fields in given.items():
        before = read.get(name)
        if isinstance(fields, dict) and isinstance(before, dict):
            merged[name] = {**before, **fields}
    return merged
