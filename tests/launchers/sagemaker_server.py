"""AWS on this machine: SageMaker's training jobs here, S3, CloudWatch and Secrets Manager by moto.

Runs the containers of the jobs that it is sent. moto's own SageMaker calls a job complete at once,
runs nothing and cannot stop it. What a request may contain, botocore's model of SageMaker tells.
"""

import functools
import io
import itertools
import json
import logging
import re
import secrets
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import boto3
import botocore.session
from botocore.validate import ParamValidator
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

sys.path.insert(0, str(Path(__file__).parent))
from container import Container

from cannabis_ml.launchers.mirror import LIST

GROUP = "/aws/sagemaker/TrainingJobs"
REGION = "us-east-1"
STATES = {
    "queued": ("InProgress", "Starting"),
    "running": ("InProgress", "Training"),
    "succeeded": ("Completed", "Completed"),
    "failed": ("Failed", "Failed"),
    "timeout": ("Stopped", "MaxRuntimeExceeded"),
    "cancelled": ("Stopped", "Stopped"),
}


class Aws:
    """One account, served on 127.0.0.1.

    Attributes:
        jobs: `{name: TrainingContainer}`.
        sent: Addresses, headers and bodies of all requests besides those to Secrets Manager; of
            packages the address alone.
    """

    def __init__(self, folder):
        self.folder, self.jobs, self.sent = folder, {}, []
        self.key = secrets.token_hex()
        self._moto = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._flushing, self._streams = threading.Lock(), set()
        urlopen(f"{self.variables['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"").close()
        self.client("s3").create_bucket(Bucket="bucket")
        self.client("logs").create_log_group(logGroupName=GROUP)

    @property
    def variables(self):
        """Variables of a process that may do all in this account."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}",
            "AWS_ACCESS_KEY_ID": "AKIATESTS",
            "AWS_SECRET_ACCESS_KEY": self.key,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service):
        given = {name.lower(): value for name, value in self.variables.items()}
        return boto3.client(
            service,
            endpoint_url=given["aws_endpoint_url"],
            aws_access_key_id=given["aws_access_key_id"],
            aws_secret_access_key=given["aws_secret_access_key"],
            region_name=REGION,
        )

    def close(self):
        for job in self.jobs.values():
            job.close()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, environ, start):
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # to be read once more, by moto
        target = request.headers.get("X-Amz-Target", "")
        if not target.startswith("secretsmanager."):
            package = request.path.endswith(".tar.gz") and request.method == "PUT"
            seen = b"" if package else body
            self.sent.append(f"{request.method} {request.url}\n{request.headers}".encode() + seen)
        if target.startswith("SageMaker."):
            answer = self._sagemaker(target.partition(".")[2], json.loads(body))
            return answer(environ, start)
        if target in ("Logs_20140328.GetLogEvents", "Logs_20140328.DescribeLogStreams"):
            self._flush_logs()
        return self._moto(environ, start)

    def _sagemaker(self, operation, asked):
        if wrong := problems(operation, asked):
            return _refuse(f"{len(wrong)} validation errors detected: {'; '.join(wrong)}")
        name = asked["TrainingJobName"]
        if operation == "CreateTrainingJob":
            if name in self.jobs:
                return _refuse(f"Training job names must be unique: {name}", "ResourceInUse")
            self.jobs[name] = TrainingContainer(self, asked)
            self.jobs[name].start()
            arn = f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{name}"
            return Response(json.dumps({"TrainingJobArn": arn}))
        if name not in self.jobs:
            return _refuse("Requested resource not found.")
        if operation == "StopTrainingJob":
            self.jobs[name].cancel()
            return Response("{}")
        return Response(json.dumps(self.jobs[name].told()))

    def _flush_logs(self):
        """Send CloudWatch what containers have printed since the last time."""
        with self._flushing:
            new = [part for job in self.jobs.values() for part in job.new_lines()]
            logs = self.client("logs") if new else None
            for stream, lines in new:
                where = {"logGroupName": GROUP, "logStreamName": stream}
                if stream not in self._streams:
                    self._streams.add(stream)
                    logs.create_log_stream(**where)
                # CloudWatch takes no empty lines.
                events = [{"timestamp": at // 10**6, "message": line or " "} for at, line in lines]
                logs.put_log_events(**where, logEvents=events)


class TrainingContainer(Container):
    """The container of a training job, with its folders below /opt/ml."""

    def __init__(self, aws, asked):
        self.aws, self.asked = aws, asked
        self._begins, self._flushed, self._started = [], 0, time.time()
        algorithm = asked["AlgorithmSpecification"]
        spot = asked["EnableManagedSpotTraining"]
        super().__init__(
            algorithm["ContainerEntrypoint"] + algorithm.get("ContainerArguments", []),
            {**asked["Environment"], **aws.variables},
            {},
            aws.folder / asked["TrainingJobName"],
            attempts=1,
            seconds=asked["StoppingCondition"]["MaxRuntimeInSeconds"],
            free_preemptions=spot,
        )
        self.checkpoints = self._disk / "opt/ml/checkpoints"

    def told(self):
        """The job as DescribeTrainingJob has it."""
        status, detail = STATES[self.phase]
        times = {"StartTime": self._started, "EndTime": time.time()}
        steps = ["Starting", "Training", *["Interrupted", "Restarting"] * (self.attempt - 1)]
        told = {
            **self.asked,
            "TrainingJobArn": f"arn:aws:sagemaker:{REGION}:123456789012:training-job/x",
            "TrainingJobStatus": status,
            "SecondaryStatus": detail,
            "SecondaryStatusTransitions": [{"Status": step, **times} for step in steps],
            "CreationTime": self._started,
            "TrainingStartTime": self._started,
            "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/none"},
        }
        if self.ended:
            told["TrainingEndTime"] = time.time()
        if self.phase == "failed":
            told["FailureReason"] = f"AlgorithmError: , exit code: {self.exit_code}"
        return told

    def new_lines(self):
        """Per log stream the lines that were not sent yet; each start has a stream of its own."""
        begins = [*self._begins, 10**9]
        lines = list(self.lines)
        for number, (begin, end) in enumerate(itertools.pairwise(begins), 1):
            new = lines[max(begin, self._flushed) : end]
            if new:
                yield f"{self.asked['TrainingJobName']}/algo-1-{number}", new
        self._flushed = len(lines)

    def take_away(self):
        """Take the spot machine away once all that is kept is in S3."""
        self.stop_once_kept(self.checkpoints / "kept" / LIST)
        self._to_s3()
        self.preempt()

    def _empty_disk(self):
        super()._empty_disk()
        self._begins.append(len(self.lines))
        for channel in self.asked["InputDataConfig"]:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            self._from_s3(uri, self._disk / "opt/ml/input/data" / channel["ChannelName"])
        self._from_s3(self.asked["CheckpointConfig"]["S3Uri"], self.checkpoints)
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def _once(self):
        code = super()._once()
        if not self._taken:
            self._to_s3()
        return code

    def _from_s3(self, uri, to):
        s3 = self.aws.client("s3")
        prefix = uri.removeprefix("s3://bucket/").rstrip("/") + "/"
        for item in s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", ()):
            path = to / item["Key"].removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file("bucket", item["Key"], str(path))

    def _to_s3(self):
        s3 = self.aws.client("s3")
        prefix = self.asked["CheckpointConfig"]["S3Uri"].removeprefix("s3://bucket/")
        for path in self.checkpoints.rglob("*"):
            if path.is_file():
                name = path.relative_to(self.checkpoints).as_posix()
                s3.upload_file(str(path), "bucket", f"{prefix}/{name}")


def problems(operation, asked):
    """What SageMaker would refuse of a request, in sentences."""
    shape = _model().operation_model(operation).input_shape
    report = ParamValidator().validate(asked, shape)
    if report.has_errors():
        return [report.generate_report()]
    return _problems(asked, shape)


@functools.cache
def _model():
    return botocore.session.get_session().get_service_model("sagemaker")


def _problems(value, shape, at=""):
    """What botocore's model forbids and its client lets pass: enums, lengths and patterns."""
    if shape.type_name == "structure":
        members = [(v, shape.members[name], f"{at}.{name}") for name, v in value.items()]
    elif shape.type_name == "list":
        members = [(v, shape.member, f"{at}[]") for v in value]
    elif shape.type_name == "map":
        members = [(v, shape.value, f"{at}.{name}") for name, v in value.items()]
    else:
        return _text_problems(value, shape, at) if shape.type_name == "string" else []
    return [problem for member in members for problem in _problems(*member)]


def _text_problems(value, shape, at):
    known, limits, found = getattr(shape, "enum", None), shape.metadata, []
    if known and value not in known:
        found.append(f"{at[1:]}: {value!r} is not in its enum")
    if len(value) > limits.get("max", len(value)):
        found.append(f"{at[1:]}: {len(value)} characters, at most {limits['max']}")
    pattern = limits.get("pattern", ".*")
    if r"\p{" not in pattern and not re.fullmatch(pattern, value, re.DOTALL):  # not Python's
        found.append(f"{at[1:]}: {value!r} does not match {pattern}")
    return found


def _refuse(message, kind="ValidationException"):
    return Response(json.dumps({"__type": kind, "message": message}), 400)
