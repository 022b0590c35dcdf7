"""Jobs of the Hugging Face hub: the package in a private repository, what survives in a bucket."""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from httpx2 import HTTPError
from huggingface_hub import HfApi, HfFileSystem, JobHardwareInfo, Volume, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
    Phase,
)
from cannabis_ml.launchers.job import FolderPhotos, HubPhotos, Job, Machine
from cannabis_ml.launchers.package import START, Places, variables
from cannabis_ml.text import one_line

logger = logging.getLogger(__name__)

PACKAGE_PLACE, KEPT_PLACE = "/job/package", "/job/kept"
DATA_PLACE, SETS_PLACE = "/job/data", "/job/data_sets"

PHASES: dict[str, Phase] = {
    "SCHEDULING": "queued",
    "RUNNING": "running",
    "COMPLETED": "succeeded",
    "CANCELED": "cancelled",
    "DELETED": "cancelled",
    "ERROR": "failed",
}


class HuggingFaceSettings(BaseModel):
    """`backends.huggingface` in `launcher.yml`; the token is that of `hf auth login`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str | None = Field(default=None, description="User or organization that pays")
    repo: str = Field(
        default="cannabis-ml-jobs", description="Private model repository for what goes up"
    )
    bucket: str = Field(
        default="cannabis-ml-jobs", description="Private bucket for states and results"
    )
    flavor: str | None = Field(
        default=None, description="Machine by the hub's name; null: the cheapest that has enough"
    )
    flush_seconds: float = Field(default=30.0, ge=0, description="Wait for results in the bucket")


class HuggingFaceBackend:
    """Jobs on machines of the Hugging Face hub (`hf jobs`).

    The package is a commit of a private repository, mounted read-only at that commit. The job works
    on its own disk and mirrors its data into a bucket: a bucket is mounted without random writes
    and locks, which a SQLite database needs. So the job needs no token.
    """

    name = "huggingface"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = HuggingFaceSettings.model_validate(settings)

    @cached_property
    def _api(self) -> HfApi:
        return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=self._signed_in())

    @staticmethod
    def _signed_in() -> str:
        token = get_token()
        if not token:
            raise LaunchError(
                "There is no token of the Hugging Face hub: run `hf auth login`, or set HF_TOKEN."
            )
        return token

    @cached_property
    def _namespace(self) -> str:
        return self._settings.namespace or str(self._api.whoami()["name"])

    def check(self, job: Job) -> None:
        if job.machine.spot:
            raise LaunchError("huggingface has no spot machines: set machine.spot to false.")
        self._signed_in()
        with _told("ask the hub for its machines"):
            self._flavor(job.machine)

    def price(self, machine: Machine) -> HourlyPrice | None:
        try:
            flavor = self._flavor(machine)
        except (HfHubHTTPError, HTTPError) as error:
            logger.warning(
                "The hub does not tell its prices (%s): those in launcher_prices.yml count.",
                one_line(error),
            )
            return None
        today = datetime.now(UTC).date().isoformat()
        return HourlyPrice(
            usd=_usd_per_hour(flavor), what=flavor.name, source=f"/api/jobs/hardware, {today}"
        )

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        api, namespace = self._api, self._namespace
        repo, bucket = f"{namespace}/{self._settings.repo}", f"{namespace}/{self._settings.bucket}"
        with _told("send the job to the hub"):
            flavor = self._flavor(job.machine)
            api.create_repo(repo, private=True, exist_ok=True)
            api.create_bucket(bucket, private=True, exist_ok=True)
            self._check_private(repo, bucket)
            sha256 = file_sha256(package)
            name = f"packages/{sha256}.tar.gz"
            commit = api.upload_file(
                path_or_fileobj=package,
                path_in_repo=name,
                repo_id=repo,
                commit_message=f"Package of {job.name}",
            ).oid
            kept = f"{KEPT_PLACE}/{job.name}"
            places = Places(
                package=f"{PACKAGE_PLACE}/{name}",
                work="/job/work",
                data=DATA_PLACE,
                results=f"{kept}/results",
                mirror=f"{kept}/data",
            )
            started = api.run_job(
                image=job.image,
                command=["sh", "-c", START],
                env={**variables(job, places, sha256), **_photo_variables(job)},
                secrets={name: value.get_secret_value() for name, value in secrets.items()},
                flavor=flavor.name,
                timeout=job.seconds_allowed,
                attempts=job.attempts,
                name=job.name,
                volumes=[
                    _repository("model", repo, commit, PACKAGE_PLACE),
                    Volume(type="bucket", source=bucket, mount_path=KEPT_PLACE),
                    *self._photos(job, repo),
                ],
                namespace=namespace,
            )
        return f"{namespace}/{started.id}/{job.name}"

    def state(self, remote: str) -> JobState:
        namespace, job_id, _ = remote.split("/")
        with _told(f"ask the hub for job {job_id}"):
            info = self._api.inspect_job(job_id=job_id, namespace=namespace)
        return JobState(
            phase=PHASES.get(info.status.stage, "running"),
            message=info.status.message or "",
            started_at=info.started_at,
            ended_at=info.finished_at,
        )

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        namespace, job_id, _ = remote.split("/")
        with _told(f"read the output of job {job_id}"):
            lines = self._api.fetch_job_logs(job_id=job_id, namespace=namespace, follow=True)
            yield from itertools.islice(lines, seen, None)

    def cancel(self, remote: str) -> None:
        namespace, job_id, _ = remote.split("/")
        with _told(f"cancel job {job_id}"):
            self._api.cancel_job(job_id=job_id, namespace=namespace)

    def fetch(self, remote: str, to: Path) -> None:
        namespace, _, job = remote.split("/")
        folder = f"buckets/{namespace}/{self._settings.bucket}/{job}/results"
        files = HfFileSystem(
            endpoint=self._api.endpoint, token=self._api.token, skip_instance_cache=True
        )
        until = time.monotonic() + self._settings.flush_seconds
        with _told(f"fetch the results of {job}"):
            for name in (RESULT_FILE, RESULTS_FILE):
                # A mounted bucket may send what was written a moment after the job has ended.
                while not files.exists(f"{folder}/{name}", refresh=True):
                    if time.monotonic() > until:
                        raise LaunchError(f"{job} has left no {name} in {folder}.")
                    time.sleep(1)
                files.get_file(f"{folder}/{name}", str(to / name))

    def _check_private(self, repo: str, bucket: str) -> None:
        """Refuse a repository or bucket that was there before and that all the world can read."""
        api = self._api
        private = [(repo, api.model_info(repo).private)]
        private.append((f"buckets/{bucket}", api.bucket_info(bucket).private))
        for place, is_private in private:
            if not is_private:
                raise LaunchError(
                    f"{api.endpoint}/{place} is public, and code, configuration and results would"
                    " be: make it private in its settings, or name another one."
                )

    def _photos(self, job: Job, repo: str) -> list[Volume]:
        """Volumes with the photos: a data set at its commit, or a folder that is sent now."""
        photos = job.photos
        if isinstance(photos, HubPhotos):
            place = f"{SETS_PLACE}/{photos.repo}/{photos.commit}"
            return [_repository("dataset", photos.repo, photos.commit, place)]
        if isinstance(photos, FolderPhotos):
            folder = Path(photos.path).expanduser()
            path = f"photos/{folder.resolve().name}"
            commit = self._api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                path_in_repo=path,
                commit_message=f"Photos of {job.name}",
                delete_patterns="*",
            ).oid
            return [_repository("model", repo, commit, f"{DATA_PLACE}/{photos.to}", path)]
        return []

    def _flavor(self, machine: Machine) -> JobHardwareInfo:
        """The cheapest machine that has what is asked for; of memory, nine tenths do."""
        # What it costs is told to everybody.
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=get_token() or False)
        offered = api.list_jobs_hardware()
        if self._settings.flavor is not None:
            named = [one for one in offered if one.name == self._settings.flavor]
            if named:
                return named[0]
            names = ", ".join(one.name for one in offered)
            raise LaunchError(
                f"The hub has no machine '{self._settings.flavor}' (backends.huggingface.flavor);"
                f" it has: {names}."
            )
        for gpu in (machine.gpu, *machine.fallbacks):
            enough = [one for one in offered if _has(one, machine, gpu)]
            if enough:
                return min(enough, key=_usd_per_hour)
        kinds = " or ".join(filter(None, (machine.gpu, *machine.fallbacks)))
        asked = f"{machine.gpus} × {kinds}" if kinds else "no GPU"
        names = ", ".join(f"{one.name} ({_described(one)})" for one in offered)
        raise LaunchError(
            f"The hub has no machine with {asked}, {machine.cpus} CPUs,"
            f" {machine.memory_gb:g} GB of memory and {machine.disk_gb:g} GB of disk; it has:"
            f" {names}."
        )


def _repository(
    kind: Literal["model", "dataset"], repo: str, commit: str, place: str, path: str | None = None
) -> Volume:
    return Volume(
        type=kind, source=repo, revision=commit, mount_path=place, path=path, read_only=True
    )


def _photo_variables(job: Job) -> dict[str, str]:
    return {"CANNABIS_ML_DATA_SETS": SETS_PLACE} if isinstance(job.photos, HubPhotos) else {}


def _has(offered: JobHardwareInfo, machine: Machine, gpu: str | None) -> bool:
    accelerator = offered.accelerator
    if gpu is None:
        kind = accelerator is None
    else:
        kind = (
            accelerator is not None
            and accelerator.model.casefold() == gpu.casefold()
            and int(accelerator.quantity) >= machine.gpus
        )
    return (
        kind
        and _number(offered.cpu) >= machine.cpus
        and _number(offered.ram) >= 0.9 * machine.memory_gb
        and _number(offered.ephemeral_storage) >= machine.disk_gb
    )


def _described(offered: JobHardwareInfo) -> str:
    gpu = offered.accelerator
    gpus = f"{gpu.quantity} × {gpu.model}, " if gpu else ""
    return f"{gpus}{offered.cpu}, {offered.ram}"


def _usd_per_hour(offered: JobHardwareInfo) -> float:
    per = {"second": 3600, "minute": 60, "hour": 1}[offered.unit_label]
    return round(offered.unit_cost_usd * per, 6)


def _number(text: str) -> float:
    """`16 GB` -> 16, `1 TB` -> 1000; 0 where there is no number."""
    found = re.search(r"\d+(\.\d+)?", text)
    return float(found[0]) * (1000 if "TB" in text else 1) if found else 0.0


@contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise LaunchError(f"Cannot {doing}: {one_line(error)} is not there.") from error
    except (HfHubHTTPError, HFValidationError, HTTPError) as error:
        raise LaunchError(f"Cannot {doing}: {one_line(error)}") from error
