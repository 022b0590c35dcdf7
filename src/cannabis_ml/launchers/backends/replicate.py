"""Replicate: a training of a model that runs what it is sent (deploy/replicate), over REST.

Source: https://replicate.com/docs/reference/http. A training has no disk that outlives it, so that
a machine that is lost costs the whole training; it has no time-out either: the trainer has one.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
    Phase,
)
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.package import START, Places, variables
from cannabis_ml.text import one_line

HARDWARE = {
    "cpu": "",
    "gpu-t4": "T4",
    "gpu-l40s": "L40S",
    "gpu-a100-large": "A100",
    "gpu-h100": "H100",
}
"""Name at Replicate: kind of GPU."""

PHASES: dict[str, Phase] = {
    "starting": "starting",
    "processing": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "cancelled",
    "aborted": "cancelled",
}
EXIT_CODE = re.compile(r"^The job ended with exit code (-?\d+)\.$", re.MULTILINE)
"""The last line of the trainer: a job that failed has results too, so its training succeeds."""

OWN_HOSTS = ("replicate.com", "replicate.delivery")
"""Hosts below these get the token."""

RETRIES = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))


class ReplicateSettings(BaseModel):
    """`backends.replicate` of launcher.yml; the token is in REPLICATE_API_TOKEN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainer: str = Field(description="OWNER/NAME that deploy/replicate was pushed to")
    destination: str = Field(description="OWNER/NAME of a private model: gets the results")
    hardware: str = Field(description="Of the trainer, as chosen there: gpu-t4, gpu-l40s, …")
    version: str = Field(default="", description="Of the trainer; empty: the newest")
    poll_seconds: float = Field(default=5, ge=0, description="Between two looks at log and state")
    address: str = "https://api.replicate.com"


class ReplicateBackend:
    """Trainings of Replicate; `remote` is the id of one."""

    name = "replicate"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = ReplicateSettings.model_validate(settings)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRIES))

    def check(self, job: Job) -> None:
        kinds = (job.machine.gpu or "", *job.machine.fallbacks)
        has = HARDWARE.get(self.settings.hardware)
        if has is None:
            raise LaunchError(
                f"backends.replicate.hardware: {self.settings.hardware} is not one of"
                f" {', '.join(HARDWARE)}."
            )
        if has not in kinds or job.machine.gpus > 1:
            raise LaunchError(
                f"The trainer {self.settings.trainer} has one {has or 'CPU machine'}, not"
                f" {job.machine.gpus} × {kinds[0] or 'CPU'}: Replicate takes the hardware that was"
                " chosen for the trainer."
            )
        if job.machine.spot:
            raise LaunchError("Replicate has no spot machines: set machine.spot to false.")
        if isinstance(job.photos, FolderPhotos):
            raise LaunchError(
                "Replicate has no place for a folder of photos: publish them (`cannabis_ml publish"
                " photos`) and set photos to {kind: hub}."
            )

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        version = self.settings.version or self._newest()
        with package.open("rb") as file:
            sent = {"content": (package.name, file, "application/gzip")}
            address = self._ask("POST", "/v1/files", files=sent).json()["urls"]["get"]
        # The trainer knows the paths.
        places = Places(package="", work="", data="", results="")
        values = {name: value.get_secret_value() for name, value in secrets.items()}
        body = {
            "destination": self.settings.destination,
            "input": {
                "package": address,
                "start": START,
                "variables": json.dumps(variables(job, places, file_sha256(package))),
                "seconds": job.seconds_allowed,
                "secrets": json.dumps(values),
            },
        }
        path = f"/v1/models/{self.settings.trainer}/versions/{version}/trainings"
        return str(self._ask("POST", path, json=body).json()["id"])

    def state(self, remote: str) -> JobState:
        return _state(self._training(remote))

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        while True:
            training = self._training(remote)
            ended = _state(training).ended
            text = training.get("logs") or ""
            lines = text.split("\n")
            whole = lines if ended and lines[-1] else lines[:-1]
            yield from whole[seen:]
            seen = max(seen, len(whole))
            if ended:
                return
            time.sleep(self.settings.poll_seconds)

    def cancel(self, remote: str) -> None:
        if not self.state(remote).ended:
            self._ask("POST", f"/v1/trainings/{remote}/cancel")

    def fetch(self, remote: str, to: Path) -> None:
        training = self._training(remote)
        address = (training.get("output") or {}).get("weights")
        if not address:
            raise LaunchError(
                f"Training {remote} has no results ({training['status']}): Replicate keeps nothing"
                " of a training that was cancelled or whose machine was lost."
            )
        archive = to / "results.tar"
        with self._ask("GET", address, stream=True) as answer, archive.open("wb") as file:
            for part in answer.iter_content(1 << 20):
                file.write(part)
        with tarfile.open(archive) as packed:
            for name in (RESULTS_FILE, RESULT_FILE):
                packed.extract(name, to, filter="data")
        archive.unlink()

    def _training(self, remote: str) -> dict[str, Any]:
        return dict(self._ask("GET", f"/v1/trainings/{remote}").json())

    def _newest(self) -> str:
        model = self._ask("GET", f"/v1/models/{self.settings.trainer}").json()
        if not model.get("latest_version"):
            raise LaunchError(
                f"{self.settings.trainer} has no version: cd deploy/replicate && cog push"
                f" r8.im/{self.settings.trainer}"
            )
        return str(model["latest_version"]["id"])

    def _ask(self, method: str, address: str, **options: Any) -> requests.Response:
        token = os.environ.get("REPLICATE_API_TOKEN")
        if not token:
            raise LaunchError(
                "There is no token of Replicate: set REPLICATE_API_TOKEN"
                " (https://replicate.com/account/api-tokens)."
            )
        url = address if "://" in address else self.settings.address + address
        headers = {"Authorization": f"Bearer {token}"} if self._is_own(url) else {}
        try:
            answer = self._session.request(method, url, timeout=300, headers=headers, **options)
        except requests.RequestException as error:
            raise LaunchError(
                f"{url.partition('?')[0]} cannot be reached: {one_line(error)}"
            ) from error
        if not answer.ok:
            try:
                told = answer.json().get("detail", answer.text)
            except ValueError:
                told = answer.text
            told = " ".join(str(told).split())[:300]
            raise LaunchError(f"{method} {url.partition('?')[0]}: {answer.status_code} {told}")
        return answer

    def _is_own(self, url: str) -> bool:
        host = urlsplit(url).hostname or ""
        if url.startswith(self.settings.address + "/"):
            return True
        return any(host == own or host.endswith(f".{own}") for own in OWN_HOSTS)


def _state(training: Mapping[str, Any]) -> JobState:
    phase = PHASES.get(training["status"], "running")
    message = training.get("error") or ""
    if phase == "succeeded":
        codes = EXIT_CODE.findall(training.get("logs") or "")
        code = int(codes[-1]) if codes else 1
        if code != 0:
            phase, message = "failed", f"The job ended with exit code {code}."
    return JobState(
        phase=phase,
        message=str(message),
        started_at=training.get("started_at"),
        ended_at=training.get("completed_at"),
    )
