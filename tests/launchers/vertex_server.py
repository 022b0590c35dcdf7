"""Google Cloud on this machine: Vertex AI, Cloud Storage, Secret Manager, Cloud Logging, tokens.

Runs the containers of the jobs that it is sent; the buckets are mounted for them below /gcs.
"""

import base64
import functools
import hashlib
import json
import re
import secrets
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

sys.path.insert(0, str(Path(__file__).parent))
from container import Container
from vertex_schema import problems

from cannabis_ml.launchers.mirror import LIST

PAGE = 20
"""Objects or log entries that one answer has at most."""

UNIVERSE = "cloud.test"
"""Not Google's own: else google-auth asks there where in the world an account may be used."""

STATES = {
    "queued": "JOB_STATE_PENDING",
    "running": "JOB_STATE_RUNNING",
    "succeeded": "JOB_STATE_SUCCEEDED",
    "failed": "JOB_STATE_FAILED",
    "timeout": "JOB_STATE_FAILED",
    "cancelled": "JOB_STATE_CANCELLED",
}


class GoogleCloud:
    """One project, served on 127.0.0.1.

    Attributes:
        buckets: Folder with a folder per bucket.
        jobs: `{resource name: (CustomJob as sent, Container)}`.
        sent: Addresses, headers and bodies of all requests besides those to Secret Manager, of
            uploads the name alone.
        secrets: `{name: [values]}` in base64.
    """

    def __init__(self, folder):
        self.folder, self.buckets = folder, folder / "buckets"
        self.jobs, self.sent, self.secrets = {}, [], {}
        self.token = secrets.token_hex()
        handler = type("Handler", (_Handler,), {"cloud": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def addresses(self):
        """Setting `addresses` of the backend."""
        return dict.fromkeys(("vertex", "storage", "secrets", "logging"), f"http://{self.host}")

    def key_file(self, to):
        """Write the key of a service account of a user; returns its path."""
        private = _key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "type": "service_account",
            "client_email": "user@project.iam.gserviceaccount.com",
            "private_key": private.decode(),
            "private_key_id": "1",
            "token_uri": f"http://{self.host}/token",
            "project_id": "project",
            "universe_domain": UNIVERSE,
        }
        to.write_text(json.dumps(account))
        return to

    @property
    def variables(self):
        """Variables of a process that is on a machine of this cloud: it gets tokens."""
        return {"GCE_METADATA_HOST": self.host, "GCE_METADATA_IP": self.host}

    def create(self, parent, job):
        name = f"{parent}/customJobs/{len(self.jobs) + 1}"
        spec = job["jobSpec"]
        container = spec["workerPoolSpecs"][0]["containerSpec"]
        home = self.folder / f"job{len(self.jobs) + 1}"
        (self.buckets / "bucket").mkdir(parents=True, exist_ok=True)
        machine = Container(
            container["command"] + container.get("args", []),
            {e["name"]: e["value"] for e in container.get("env", ())} | self.variables,
            {f"/gcs/{bucket.name}": bucket for bucket in self.buckets.iterdir()},
            home,
            seconds=float(spec["scheduling"]["timeout"].rstrip("s")),
            free_preemptions=not spec["scheduling"].get("disableRetries", False),
        )
        self.jobs[name] = (job, machine, datetime.now(UTC))
        machine.start()
        return self.told(name)

    def told(self, name):
        """A job as it is answered."""
        job, machine, created = self.jobs[name]
        told = {**job, "name": name, "state": STATES[machine.phase]}
        told["createTime"] = told["startTime"] = _time(created)
        if machine.ended:
            told["endTime"] = _time(datetime.now(UTC))
        if machine.phase == "failed":
            error = (
                f"The replica workerpool0-0 exited with a non-zero status of {machine.exit_code}."
            )
            told["error"] = {"code": 3, "message": error}
        return told

    def preempt(self, name):
        """Take the machine of a job away; it is started on another one."""
        job, machine, _ = self.jobs[name]
        folder = job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"].removeprefix("gs://")
        machine.preempt_once_kept(self.buckets / folder / "kept" / LIST)

    def entries(self, query):
        """Log entries that a query selects."""
        job = re.search(r'resource\.labels\.job_id="(\w+)"', query)[1]
        since = re.search(r'timestamp>="([^"]+)"', query)
        (lines,) = (m.lines for n, (_, m, _) in self.jobs.items() if n.endswith(f"/{job}"))
        found = [
            {
                "insertId": f"{job}-{i}",
                "timestamp": _time(datetime.fromtimestamp(at / 1e9, UTC)),
                "resource": {"type": "ml_job", "labels": {"job_id": job}},
                "jsonPayload": {"message": line, "levelname": "INFO"},
            }
            for i, (at, line) in enumerate(list(lines))
        ]
        oldest = datetime.fromisoformat(since[1]) if since else datetime.min.replace(tzinfo=UTC)
        return [e for e in found if datetime.fromisoformat(e["timestamp"]) >= oldest]

    def close(self):
        for _, machine, _ in self.jobs.values():
            machine.close()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def do_DELETE(self):
        self._serve()

    def _serve(self):
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        body = self._body()
        if "/secrets" not in split.path:
            seen = b"" if split.path.startswith("/upload/") else body
            self.cloud.sent.append(f"{self.command} {self.path}\n{self.headers}".encode() + seen)
        if split.path == "/" or split.path.startswith("/computeMetadata/"):
            return self._metadata(split.path)
        if not self._is_known(self.headers["Authorization"] or ""):
            return self._refuse(401, "Request had invalid authentication credentials.")
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {split.path}"):
                names = [unquote(name) for name in found.groups()]
                return answer(self, *names, query=query, body=body)
        return self._refuse(404, f"No such address: {self.command} {split.path}")

    def _is_known(self, authorization):
        """Whether it is a token of a job's machine, or one that the user's key has signed."""
        kind, _, token = authorization.partition(" ")
        if token == self.cloud.token:
            return kind == "Bearer"
        public = (
            _key()
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        try:
            return bool(jwt.decode(token, certs=public))
        except (ValueError, GoogleAuthError):
            return False

    def _body(self):
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, data, kind="application/json", status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _json(self, value, status=200):
        self._answer(json.dumps(value).encode(), status=status)

    def _refuse(self, status, message):
        self._json({"error": {"code": status, "message": message}}, status)

    def _metadata(self, path):
        """What a machine of Google is told about itself."""
        known = {
            "/": "",
            "/computeMetadata/v1/project/project-id": "project",
            "/computeMetadata/v1/universe/universe-domain": UNIVERSE,
            "/computeMetadata/v1/instance/service-accounts/default/": json.dumps(
                {"email": "job@project.iam.gserviceaccount.com", "scopes": [], "aliases": []}
            ),
            "/computeMetadata/v1/instance/service-accounts/default/token": json.dumps(
                {"access_token": self.cloud.token, "expires_in": 3600, "token_type": "Bearer"}
            ),
        }
        text = known.get(path)
        kind = "application/json" if text and text.startswith("{") else "text/plain"
        status = 404 if text is None else 200
        self._answer((text or "").encode(), kind, status, Metadata_Flavor="Google")

    def _create(self, parent, query, body):
        job = json.loads(body)
        if wrong := problems(job):
            return self._refuse(400, "; ".join(wrong))
        return self._json(self.cloud.create(parent, job))

    def _job(self, name, query, body):
        if name not in self.cloud.jobs:
            return self._refuse(404, f"The CustomJob {name} does not exist.")
        return self._json(self.cloud.told(name))

    def _cancel(self, name, query, body):
        self.cloud.jobs[name][1].cancel()
        self._json({})

    def _upload(self, bucket, query, body):
        path = self.cloud.buckets / bucket / query["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        self._json(self._object(bucket, path))

    def _object(self, bucket, path):
        digest = base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
        name = path.relative_to(self.cloud.buckets / bucket).as_posix()
        return {"bucket": bucket, "name": name, "md5Hash": digest}

    def _objects(self, bucket, query, body):
        root = self.cloud.buckets / bucket
        paths = sorted(p for p in root.rglob("*") if p.is_file())
        named = [p for p in paths if p.relative_to(root).as_posix().startswith(query["prefix"])]
        begin = int(query.get("pageToken", 0))
        page = {"items": [self._object(bucket, path) for path in named[begin : begin + PAGE]]}
        if begin + PAGE < len(named):
            page["nextPageToken"] = str(begin + PAGE)
        self._json(page)

    def _download(self, bucket, name, query, body):
        path = self.cloud.buckets / bucket / name
        if not path.is_file():
            return self._refuse(404, f"No such object: {bucket}/{name}")
        return self._answer(path.read_bytes(), "application/octet-stream")

    def _delete(self, bucket, name, query, body):
        (self.cloud.buckets / bucket / name).unlink()
        self._answer(b"", status=204)

    def _secret(self, name, query, body):
        values = self.cloud.secrets.get(name)
        if not values:
            return self._refuse(404, f"Secret [projects/1/secrets/{name}] not found")
        return self._json({"payload": {"data": values[-1]}})

    def _create_secret(self, query, body):
        if query["secretId"] in self.cloud.secrets:
            return self._refuse(409, "Secret already exists")
        self.cloud.secrets[query["secretId"]] = []
        return self._json({})

    def _add_version(self, name, query, body):
        self.cloud.secrets[name].append(json.loads(body)["payload"]["data"])
        self._json({})

    def _entries(self, query, body):
        asked = json.loads(body)
        entries = self.cloud.entries(asked["filter"])
        begin = int(asked.get("pageToken", 0))
        page = {"entries": entries[begin : begin + PAGE]}
        if begin + PAGE < len(entries):
            page["nextPageToken"] = str(begin + PAGE)
        self._json(page)


_JOB = r"(projects/[\w-]+/locations/[\w-]+/customJobs/\d+)"
_ROUTES = [
    (r"POST /v1/(projects/[\w-]+/locations/[\w-]+)/customJobs", _Handler._create),
    (rf"GET /v1/{_JOB}", _Handler._job),
    (rf"POST /v1/{_JOB}:cancel", _Handler._cancel),
    (r"POST /upload/storage/v1/b/([\w-]+)/o", _Handler._upload),
    (r"GET /storage/v1/b/([\w-]+)/o", _Handler._objects),
    (r"GET /storage/v1/b/([\w-]+)/o/(.+)", _Handler._download),
    (r"DELETE /storage/v1/b/([\w-]+)/o/(.+)", _Handler._delete),
    (r"POST /v1/projects/[\w-]+/secrets", _Handler._create_secret),
    (r"GET /v1/projects/[\w-]+/secrets/([\w-]+)/versions/latest:access", _Handler._secret),
    (r"POST /v1/projects/[\w-]+/secrets/([\w-]+):addVersion", _Handler._add_version),
    (r"POST /v2/entries:list", _Handler._entries),
]


@functools.cache
def _key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _time(at):
    return at.isoformat().replace("+00:00", "Z")
