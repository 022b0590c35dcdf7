"""Vertex AI of Google Cloud: a CustomJob, over REST.

The package and the results are in a bucket, which Vertex mounts below /gcs in the container; the
log is Cloud Logging's, because it has what is printed before our own program starts. Field names
and enum values: google/cloud/aiplatform/v1/custom_job.proto, machine_resources.proto,
accelerator_type.proto.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
    Phase,
)
from cannabis_ml.launchers.backends.containers import (
    check_variables,
    container_variables,
    photo_folder,
)
from cannabis_ml.launchers.backends.google import Addresses, Google, GoogleError
from cannabis_ml.launchers.backends.offers import Offer, smallest
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.mirror import LIST, Listing
from cannabis_ml.launchers.package import START

SMALLEST_DISK_GB = 100
LATE = timedelta(minutes=1)
"""How much later than a newer line a log entry may come."""

ACCELERATORS = {
    "P100": "NVIDIA_TESLA_P100",
    "V100": "NVIDIA_TESLA_V100",
    "T4": "NVIDIA_TESLA_T4",
    "L4": "NVIDIA_L4",
    "A100": "NVIDIA_TESLA_A100",
    "A100-80GB": "NVIDIA_A100_80GB",
    "H100": "NVIDIA_H100_80GB",
}
"""Kind of GPU: value of the enum AcceleratorType."""

_N1 = ((4, 15.0), (8, 30.0), (16, 60.0), (32, 120.0))
_COUNTS = {"": (0,), "P100": (1, 2, 4), "V100": (1, 2, 4, 8), "T4": (1, 2, 4)}
OFFERS = (
    *(
        Offer(f"n1-{size}-{cpus}", gpu, gpus, cpus, memory * factor)
        for gpu, counts in _COUNTS.items()
        for gpus in counts
        for cpus, memory in _N1
        for size, factor in (("standard", 1), ("highmem", 104 / 60))
    ),
    *(Offer(f"g2-standard-{cpus}", "L4", 1, cpus, 4.0 * cpus) for cpus in (4, 8, 12, 16, 32)),
    *(Offer(f"g2-standard-{24 * n}", "L4", 2 * n, 24 * n, 96.0 * n) for n in (1, 2, 4)),
    *(Offer(f"a2-highgpu-{n}g", "A100", n, 12 * n, 85.0 * n) for n in (1, 2, 4, 8)),
    *(Offer(f"a2-ultragpu-{n}g", "A100-80GB", n, 12 * n, 170.0 * n) for n in (1, 2, 4, 8)),
    *(Offer(f"a3-highgpu-{n}g", "H100", n, 26 * n, 234.0 * n) for n in (1, 2, 4, 8)),
)
"""Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute, 2026-11."""

PHASES: dict[str, Phase] = {
    "JOB_STATE_QUEUED": "queued",
    "JOB_STATE_PENDING": "starting",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_PAUSED": "queued",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_UPDATING": "running",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "failed",
}
"""Value of the enum JobState: ours."""


class VertexSettings(BaseModel):
    """`backends.vertex` of launcher.yml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = Field(description="Id of the Google Cloud project")
    region: str = Field(default="us-central1", description="Where the machine is")
    bucket: str = Field(description="Of Cloud Storage, in the region; without gs://")
    prefix: str = Field(default="cannabis-ml", description="Folder in the bucket")
    service_account: str = Field(default="", description="That the job runs as")
    poll_seconds: float = Field(default=10, ge=0, description="Between two looks at log and state")
    addresses: Addresses = Addresses()


class VertexBackend:
    """Jobs on Vertex AI; `remote` is projects/…/locations/…/customJobs/…."""

    name = "vertex"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = VertexSettings.model_validate(settings)
        self._google = Google(self.settings.addresses)
        base = self.settings.addresses.vertex.format(region=self.settings.region)
        self._jobs = f"{base}/v1"

    def check(self, job: Job) -> None:
        smallest(job.machine, OFFERS, "Vertex AI")
        check_variables(job, "Vertex AI")

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        bucket, folder = self.settings.bucket, f"{self.settings.prefix}/{job.name}"
        self._google.upload(package, bucket, f"{folder}/{package.name}")
        mounted = f"/gcs/{bucket}/{folder}"
        given = container_variables(job, package, f"{mounted}/{package.name}", mounted)
        if secrets:
            kept = self._google.keep_secrets(self.settings.project, secrets)
            given["CANNABIS_ML_SECRETS"] = json.dumps(kept)
        command = ["sh", "-c", self._photos(job) + START]
        url = f"{self._jobs}/projects/{self.settings.project}/locations/{self.settings.region}"
        body = custom_job(job, command, given, self.settings)
        return str(self._google.ask("POST", f"{url}/customJobs", json=body).json()["name"])

    def state(self, remote: str) -> JobState:
        job = self._get(remote)
        phase = PHASES.get(job.get("state", ""), "queued")
        message = job.get("error", {}).get("message", "")
        if not message and job.get("state") in ("JOB_STATE_CANCELLING", "JOB_STATE_EXPIRED"):
            message = job["state"].removeprefix("JOB_STATE_").lower()
        return JobState(
            phase=phase,
            message=message,
            started_at=job.get("startTime"),
            ended_at=job.get("endTime"),
            attempt=self._attempts(job),
        )

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        selected = (
            f'resource.type="ml_job" AND resource.labels.job_id="{remote.rpartition("/")[2]}"'
        )
        known: set[str] = set()
        query, number = selected, 0
        while True:
            ended = self.state(remote).ended
            if ended:
                time.sleep(min(self.settings.poll_seconds, 10))  # the last lines come late
            for entry in self._google.entries(self.settings.project, query):
                if entry["insertId"] in known:
                    continue
                known.add(entry["insertId"])
                since = datetime.fromisoformat(entry["timestamp"]) - LATE
                query = f'{selected} AND timestamp>="{since.isoformat()}"'
                for line in _text(entry).splitlines():
                    if number >= seen:
                        yield line
                    number += 1
            if ended:
                return
            time.sleep(self.settings.poll_seconds)

    def cancel(self, remote: str) -> None:
        if not self.state(remote).ended:
            self._google.ask("POST", f"{self._jobs}/{remote}:cancel", json={})

    def fetch(self, remote: str, to: Path) -> None:
        job = self._get(remote)
        for name in (RESULTS_FILE, RESULT_FILE):
            bucket, path = _place(job, f"results/{name}")
            try:
                self._google.download(bucket, path, to / name)
            except GoogleError as error:
                if error.status != 404:
                    raise
                raise LaunchError(
                    f"There is no gs://{bucket}/{path}: the job ended before it could write it."
                    " Training states, if any, are in kept/ beside results/."
                ) from error

    def _get(self, remote: str) -> dict[str, Any]:
        return dict(self._google.ask("GET", f"{self._jobs}/{remote}").json())

    def _attempts(self, job: Mapping[str, Any]) -> int:
        """How often the job has started, as it notes in its mirror: Vertex does not tell."""
        try:
            kept = Listing.model_validate_json(self._google.read(*_place(job, f"kept/{LIST}")))
            ledger = kept.root[f".launch/{job['displayName']}.json"]
            data = self._google.read(*_place(job, f"kept/{ledger.at}"))
        except (GoogleError, KeyError):
            return 1
        return max(1, int(json.loads(data)["attempts"]))

    def _photos(self, job: Job) -> str:
        """Send the photos that are not there yet; the shell command that puts them into place."""
        if not isinstance(job.photos, FolderPhotos):
            return ""
        folder, name = photo_folder(job.photos, self.settings.prefix)
        self._google.sync(folder, self.settings.bucket, name)
        to = f'"$CANNABIS_ML_DATA/{job.photos.to}"'
        return (
            f'mkdir -p "$(dirname {to})" && rm -rf {to}'
            f" && ln -s /gcs/{self.settings.bucket}/{name} {to} && "
        )


def custom_job(
    job: Job, command: list[str], given: Mapping[str, str], settings: VertexSettings
) -> dict[str, Any]:
    """The job as Vertex AI's JSON.

    Args:
        job: What is wanted.
        command: Of the container.
        given: Its variables.
        settings: Of the backend.
    """
    offer = smallest(job.machine, OFFERS, "Vertex AI")
    machine: dict[str, Any] = {"machineType": offer.name}
    if offer.gpu:
        machine |= {"acceleratorType": ACCELERATORS[offer.gpu], "acceleratorCount": offer.gpus}
    spec: dict[str, Any] = {
        "workerPoolSpecs": [
            {
                "machineSpec": machine,
                "replicaCount": "1",
                "diskSpec": {
                    "bootDiskSizeGb": max(SMALLEST_DISK_GB, math.ceil(job.machine.disk_gb))
                },
                "containerSpec": {
                    "imageUri": job.image,
                    "command": command,
                    "env": [{"name": name, "value": value} for name, value in given.items()],
                },
            }
        ],
        "scheduling": {
            "timeout": f"{job.seconds_allowed}s",
            "strategy": "SPOT" if job.machine.spot else "STANDARD",
            "restartJobOnWorkerRestart": job.attempts > 1,
            "disableRetries": job.attempts == 1,
        },
        "baseOutputDirectory": {
            "outputUriPrefix": f"gs://{settings.bucket}/{settings.prefix}/{job.name}"
        },
    }
    if settings.service_account:
        spec["serviceAccount"] = settings.service_account
    return {"displayName": job.name, "jobSpec": spec, "labels": {"app": "cannabis-ml"}}


def _place(job: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Bucket and name of an object that belongs to a job."""
    uri = job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"]
    bucket, _, folder = uri.removeprefix("gs://").partition("/")
    return bucket, f"{folder}/{name}"


def _text(entry: Mapping[str, Any]) -> str:
    payload = entry.get("jsonPayload", {})
    return str(entry.get("textPayload") or payload.get("message") or "")
