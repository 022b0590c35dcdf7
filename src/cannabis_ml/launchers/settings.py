"""`conf/*/launcher.yml`, typed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from cannabis_ml.launchers.backend import LaunchError, in_words
from cannabis_ml.launchers.backends import BACKENDS
from cannabis_ml.launchers.estimate import Sizes
from cannabis_ml.launchers.job import HubPhotos, Job, JobBase, Machine

DAYS_OF_MONTH = 30.4


class LauncherSettings(JobBase):
    """What jobs have in common; the file explains each key."""

    attempts: int = Field(default=3, ge=1)
    limit_usd: float | None = Field(default=5.0, gt=0)
    setup_minutes: float = Field(default=6, ge=0)
    stored_gb: float = Field(default=5, ge=0)
    stored_days: float = Field(default=7, ge=0)
    home_gb: float = Field(default=1, ge=0)
    backends: dict[str, dict[str, Any]] = Field(default={})

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> LauncherSettings:
        """Check what the files contain.

        Raises:
            LaunchError: A key is unknown or a value does not fit.
        """
        try:
            settings = cls.model_validate(dict(config))
        except ValidationError as error:
            raise LaunchError(f"launcher.yml: {in_words(error)}.") from error
        unknown = sorted(set(settings.backends) - set(BACKENDS))
        if unknown:
            raise LaunchError(
                f"launcher.yml, backends: '{unknown[0]}' is not one of {', '.join(BACKENDS)}."
            )
        return settings

    @property
    def sizes(self) -> Sizes:
        """What is stored and sent, for an estimate."""
        return Sizes(
            home=self.home_gb, stored=self.stored_gb, months=self.stored_days / DAYS_OF_MONTH
        )

    def job(
        self, name: str, backend: str, command: tuple[str, ...], changes: Mapping[str, object]
    ) -> Job:
        """The job that these settings describe.

        Args:
            name: Of the job.
            backend: Where it runs.
            command: Arguments of `python -m cannabis_ml`.
            changes: Values that were typed: of `Machine` or `Job`, by name.

        Raises:
            LaunchError: A value does not fit.
        """
        machine = {k: v for k, v in changes.items() if k in Machine.model_fields}
        other = {k: v for k, v in changes.items() if k not in Machine.model_fields}
        shared = {key: getattr(self, key) for key in JobBase.model_fields}
        if backend == "local" and "CANNABIS_ML_PYTHON" not in self.environment:
            # This machine has everything already.
            shared["environment"] = {**self.environment, "CANNABIS_ML_PYTHON": sys.executable}
        photos = shared["photos"]
        if isinstance(photos, HubPhotos) and command[:1] == ("run",):
            command = with_params(
                command, {"photos_repo": photos.repo, "photos_commit": photos.commit}
            )
        try:
            shared["machine"] = Machine.model_validate({**self.machine.model_dump(), **machine})
            return Job(
                name=name,
                backend=backend,
                command=command,
                options=self.backends.get(backend, {}),
                **{**shared, **other},
            )
        except ValidationError as error:
            raise LaunchError(f"The job cannot be started: {in_words(error)}.") from error


def with_params(command: tuple[str, ...], params: Mapping[str, str]) -> tuple[str, ...]:
    """`run …` with more runtime parameters; those that are typed win."""
    words = list(command)
    more = ",".join(f"{name}={value}" for name, value in params.items())
    for i, word in enumerate(words):
        if word == "--params" and i + 1 < len(words):
            words[i + 1] = f"{more},{words[i + 1]}"
            return tuple(words)
        if word.startswith("--params="):
            words[i] = f"--params={more},{word.removeprefix('--params=')}"
            return tuple(words)
    return (*words, f"--params={more}")
