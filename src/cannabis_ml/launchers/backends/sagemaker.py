"""SageMaker of AWS: a training job, by boto3.

Channels are downloaded from S3 below /opt/ml/input/data; /opt/ml/checkpoints is copied to its place
in S3 while the job runs, and back where a spot machine was taken away. Results go there too:
unlike /opt/ml/model, it is kept of jobs that fail. Source:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
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
from cannabis_ml.launchers.backends.offers import Offer, smallest
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.package import START
from cannabis_ml.text import one_line

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
CHECKPOINTS = "/opt/ml/checkpoints"
INPUT = "/opt/ml/input/data"

_G4: tuple[tuple[str, int, int, int], ...] = (
    ("xlarge", 1, 4, 16),
    ("2xlarge", 1, 8, 32),
    ("4xlarge", 1, 16, 64),
    ("8xlarge", 1, 32, 128),
    ("12xlarge", 4, 48, 192),
    ("16xlarge", 1, 64, 256),
)
_G5 = (*_G4, ("24xlarge", 4, 96, 384), ("48xlarge", 8, 192, 768))
_M5 = (("", 2), ("x", 4), ("2x", 8), ("4x", 16), ("12x", 48), ("24x", 96))
OFFERS = (
    *(Offer(f"ml.m5.{size}large", "", 0, cpus, 4.0 * cpus) for size, cpus in _M5),
    *(Offer(f"ml.g4dn.{size}", "T4", gpus, cpus, memory) for size, gpus, cpus, memory in _G4),
    *(Offer(f"ml.g5.{size}", "A10G", gpus, cpus, memory) for size, gpus, cpus, memory in _G5),
    *(Offer(f"ml.g6.{size}", "L4", gpus, cpus, memory) for size, gpus, cpus, memory in _G5),
    *(
        Offer(f"ml.g6e.{size}", "L40S", gpus, cpus, 2.0 * memory)
        for size, gpus, cpus, memory in _G5
    ),
    Offer("ml.p3.2xlarge", "V100", 1, 8, 61),
    Offer("ml.p3.8xlarge", "V100", 4, 32, 244),
    Offer("ml.p3.16xlarge", "V100", 8, 64, 488),
    Offer("ml.p4d.24xlarge", "A100", 8, 96, 1152),
    Offer("ml.p4de.24xlarge", "A100-80GB", 8, 96, 1152),
    Offer("ml.p5.4xlarge", "H100", 1, 16, 256),
    Offer("ml.p5.48xlarge", "H100", 8, 192, 2048),
)
"""Names: enum TrainingInstanceType. Sizes: https://aws.amazon.com/ec2/instance-types, 2026-11."""

PHASES: dict[str, Phase] = {
    "Starting": "starting",
    "Pending": "queued",
    "LaunchingMLInstances": "starting",
    "PreparingTrainingStack": "starting",
    "Downloading": "starting",
    "DownloadingTrainingImage": "starting",
    "Restarting": "starting",
    "Interrupted": "starting",
}
"""Secondary status of a job in progress: ours, where it is not running."""

ENDS: dict[str, Phase] = {"Completed": "succeeded", "Failed": "failed", "Stopped": "cancelled"}


class SageMakerSettings(BaseModel):
    """`backends.sagemaker` of launcher.yml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str = Field(description="ARN of the role that the job has: S3, logs, secrets")
    bucket: str = Field(description="Of S3, in the region; without s3://")
    prefix: str = Field(default="cannabis-ml", description="Folder in the bucket")
    region: str = Field(default="us-east-1")
    wait_minutes: float = Field(
        default=720, ge=0, description="Of a spot job: longest wait for machines, all together"
    )
    poll_seconds: float = Field(default=10, ge=0, description="Between two looks at log and state")


class SageMakerBackend:
    """Training jobs of SageMaker; `remote` is the name of one."""

    name = "sagemaker"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = SageMakerSettings.model_validate(settings)
        self._session = boto3.session.Session(region_name=self.settings.region)
        self._clients: dict[str, Any] = {}

    def check(self, job: Job) -> None:
        smallest(job.machine, OFFERS, "SageMaker")
        long = [name for name, value in job.environment.items() if len(value) > 512]
        if long:
            raise LaunchError(
                f"SageMaker takes values of 512 characters at most: {', '.join(long)}."
            )
        check_variables(job, "SageMaker")

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        folder = f"{self.settings.prefix}/{job.name}"
        self._upload(package, f"{folder}/package/{package.name}")
        there = f"{INPUT}/package/{package.name}"
        given = container_variables(job, package, there, CHECKPOINTS)
        if secrets:
            given["CANNABIS_ML_SECRETS"] = json.dumps(self._keep_secrets(secrets))
        channels = {"package": f"{folder}/package/"}
        start = START
        if isinstance(job.photos, FolderPhotos):
            channels["photos"] = self._sync_photos(job.photos)
            to = f'"$CANNABIS_ML_DATA/{job.photos.to}"'
            start = f'mkdir -p "$(dirname {to})"; ln -sfn {INPUT}/photos {to}; {START}'
        # An argument has 256 characters at most.
        given["CANNABIS_ML_START"] = start
        request = training_job(job, channels, given, self.settings)
        self._call("sagemaker", "create_training_job", **request)
        return job.name

    def state(self, remote: str) -> JobState:
        told = self._describe(remote)
        status, detail = told["TrainingJobStatus"], told["SecondaryStatus"]
        phase = ENDS.get(status) or PHASES.get(detail, "running")
        if detail in ("MaxRuntimeExceeded", "MaxWaitTimeExceeded"):
            phase = "failed"
        restarts = [t for t in told["SecondaryStatusTransitions"] if t["Status"] == "Restarting"]
        return JobState(
            phase=phase,
            message=told.get("FailureReason", "") or ("" if status == "Completed" else detail),
            started_at=told.get("TrainingStartTime"),
            ended_at=told.get("TrainingEndTime"),
            attempt=1 + len(restarts),
        )

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        tokens: dict[str, str] = {}
        number = 0
        while True:
            ended = self.state(remote).ended
            if ended:
                time.sleep(min(self.settings.poll_seconds, 10))  # the last lines come late
            for line in self._new_lines(remote, tokens):
                if number >= seen:
                    yield line
                number += 1
            if ended:
                return
            time.sleep(self.settings.poll_seconds)

    def cancel(self, remote: str) -> None:
        if not self.state(remote).ended:
            self._call("sagemaker", "stop_training_job", TrainingJobName=remote)

    def fetch(self, remote: str, to: Path) -> None:
        uri = self._describe(remote)["CheckpointConfig"]["S3Uri"]
        bucket, _, folder = uri.removeprefix("s3://").partition("/")
        for name in (RESULTS_FILE, RESULT_FILE):
            key = f"{folder}/results/{name}"
            try:
                self._call("s3", "head_object", Bucket=bucket, Key=key)
            except LaunchError as error:
                raise LaunchError(
                    f"There is no {name} in {uri}/results: the job ended before it could write one."
                    f" Training states, if any, are in {uri}/kept."
                ) from error
            self._call("s3", "download_file", bucket, key, str(to / name))

    def _describe(self, remote: str) -> dict[str, Any]:
        return dict(self._call("sagemaker", "describe_training_job", TrainingJobName=remote))

    def _new_lines(self, remote: str, tokens: dict[str, str]) -> Iterator[str]:
        """Lines since the last call: of each start of the job, in their order."""
        asked = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{remote}/"}
        try:
            streams = self._call("logs", "describe_log_streams", **asked)["logStreams"]
        except LaunchError as error:
            if "ResourceNotFoundException" in str(error):  # before the first job of an account
                return
            raise
        for stream in sorted(streams, key=lambda stream: stream["creationTime"]):
            name = stream["logStreamName"]
            while True:
                asked = {"logGroupName": LOG_GROUP, "logStreamName": name}
                after = {"nextToken": tokens[name]} if name in tokens else {"startFromHead": True}
                page = self._call("logs", "get_log_events", **asked, **after)
                for event in page["events"]:
                    yield from event["message"].splitlines()
                token = page["nextForwardToken"]
                if token == tokens.get(name):
                    break
                tokens[name] = token

    def _keep_secrets(self, secrets: Mapping[str, SecretStr]) -> dict[str, str]:
        """Put values into Secrets Manager; per name where the job reads it."""
        for name, value in secrets.items():
            secret, text = f"cannabis-ml/{name}", value.get_secret_value()
            try:
                self._call("secretsmanager", "create_secret", Name=secret, SecretString=text)
            except LaunchError as error:
                if "ResourceExistsException" not in str(error):
                    raise
                self._call("secretsmanager", "put_secret_value", SecretId=secret, SecretString=text)
        return _addresses(secrets)

    def _sync_photos(self, photos: FolderPhotos) -> str:
        """Make objects of S3 the files of the folder; their prefix."""
        folder, prefix = photo_folder(photos, self.settings.prefix)
        there: dict[str, tuple[int, str]] = {}
        with _told():
            pages = self._client("s3").get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.settings.bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    there[item["Key"]] = (item["Size"], item["ETag"].strip('"'))
        paths = (path for path in folder.rglob("*") if path.is_file())
        files = {prefix + path.relative_to(folder).as_posix(): path for path in paths}
        for key, path in files.items():
            if key not in there or not _same(path, *there[key]):
                self._upload(path, key)
        for key in there.keys() - files.keys():
            self._call("s3", "delete_object", Bucket=self.settings.bucket, Key=key)
        return prefix

    def _upload(self, path: Path, key: str) -> None:
        self._call("s3", "upload_file", str(path), self.settings.bucket, key)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(retries={"mode": "standard", "max_attempts": 5})
            with _told():
                self._clients[service] = self._session.client(service, config=config)
        return self._clients[service]

    def _call(self, service: str, method: str, *arguments: str, **options: Any) -> Any:
        with _told():
            return getattr(self._client(service), method)(*arguments, **options)


def _addresses(secrets: Iterable[str]) -> dict[str, str]:
    return {name: f"aws:cannabis-ml/{name}" for name in secrets}


def _same(path: Path, size: int, etag: str) -> bool:
    """Whether a file is an object of S3, whose ETag is the MD5 unless it was sent in parts."""
    if path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return "-" in etag or etag == md5


@contextmanager
def _told() -> Iterator[None]:
    """Tell in one sentence what AWS refuses."""
    try:
        yield
    except NoCredentialsError as error:
        raise LaunchError(
            "There are no AWS credentials: run `aws configure sso` and `aws sso login`, or set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except ParamValidationError as error:
        raise LaunchError(f"SageMaker cannot be asked for this job: {one_line(error)}") from error
    except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
        raise LaunchError(f"AWS refuses: {one_line(error)}") from error


def training_job(
    job: Job, channels: Mapping[str, str], given: Mapping[str, str], settings: SageMakerSettings
) -> dict[str, Any]:
    """Arguments of `create_training_job`.

    Args:
        job: What is wanted.
        channels: Per name of a channel, prefix in the bucket.
        given: Variables of the container.
        settings: Of the backend.
    """
    place = f"s3://{settings.bucket}/{settings.prefix}/{job.name}"
    stopping = {"MaxRuntimeInSeconds": job.seconds_allowed}
    if job.machine.spot:
        stopping["MaxWaitTimeInSeconds"] = job.seconds_allowed + int(settings.wait_minutes * 60)
    request: dict[str, Any] = {
        "TrainingJobName": job.name,
        "RoleArn": settings.role,
        "AlgorithmSpecification": {
            "TrainingImage": job.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sh", "-c", 'eval "$CANNABIS_ML_START"'],
        },
        "InputDataConfig": [
            {
                "ChannelName": name,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://{settings.bucket}/{prefix}",
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for name, prefix in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": f"{place}/output"},
        "CheckpointConfig": {"S3Uri": f"{place}/checkpoints", "LocalPath": CHECKPOINTS},
        "ResourceConfig": {
            "InstanceType": smallest(job.machine, OFFERS, "SageMaker").name,
            "InstanceCount": 1,
            "VolumeSizeInGB": math.ceil(job.machine.disk_gb),
        },
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": job.machine.spot,
        "Environment": dict(given),
        "Tags": [{"Key": "app", "Value": "cannabis-ml"}],
    }
    if job.attempts > 1:
        request["RetryStrategy"] = {"MaximumRetryAttempts": min(job.attempts - 1, 30)}
    return request
