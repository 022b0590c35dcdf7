"""Jobs and buckets of a Hugging Face hub on this machine."""

import json
import secrets
import sys
import time
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from rented import RentedMachine

HARDWARE = [
    # name, vCPU, GB, GB of disk, GPU, how many, micro-dollars per minute: as on 2026-11-25
    ("cpu-basic", 2, 16, 50, None, 0, 167),
    ("cpu-upgrade", 8, 32, 50, None, 0, 500),
    ("t4-small", 4, 15, 50, "T4", 1, 6667),
    ("t4-medium", 8, 30, 100, "T4", 1, 10000),
    ("l4x1", 8, 30, 400, "L4", 1, 13333),
    ("l4x4", 48, 186, 3200, "L4", 4, 63333),
    ("a10g-small", 4, 15, 110, "A10G", 1, 16667),
]

STAGES = {
    "queued": "SCHEDULING",
    "running": "RUNNING",
    "succeeded": "COMPLETED",
    "failed": "ERROR",
    "timeout": "ERROR",
    "cancelled": "CANCELED",
}


class Jobs:
    """Adds to a hub of the tests what `HfApi.run_job`, its kin and buckets ask for.

    A job's command runs on this machine, over the folders of its volumes: repositories at their
    revision, and buckets, which are folders that all jobs share.

    Args:
        hub: A `HubServer`.
        folder: For buckets, mounted repositories and homes of jobs.

    Attributes:
        specs: What jobs were asked for, in order, without the values of their secrets.
        bodies: Of all requests that write jobs or buckets, likewise.
    """

    def __init__(self, hub, folder):
        self.hub, self.folder = hub, folder
        self.jobs, self.buckets, self.specs, self.bodies = {}, {}, [], []
        job = r"/api/jobs/([^/]+)/([0-9a-f]{24})"
        bucket = r"/api/buckets/([^/]+/[^/]+)"
        hub.route("GET", "/api/jobs/hardware", lambda _: [_hardware(*one) for one in HARDWARE])
        hub.route("POST", "/api/jobs/([^/]+)", self._run)
        hub.route("GET", job, self._inspect)
        hub.route("GET", f"{job}/logs", self._logs)
        hub.route("POST", f"{job}/cancel", self._cancel)
        hub.route("POST", bucket, self._create)
        hub.route("GET", bucket, self._info)
        hub.route("GET", f"{bucket}/tree/(.+)", self._tree)
        hub.route("GET", r"/buckets/([^/]+/[^/]+)/resolve/(.+)", self._resolve)

    def machine(self, job_id):
        """The machine that runs a job."""
        return self.jobs[job_id]["machine"]

    def close(self):
        for job in self.jobs.values():
            job["machine"].close()

    def _run(self, request, namespace):
        self.hub.authorized(request)
        spec = request.json
        hidden = spec.pop("secrets", {})
        self.specs.append(spec)
        self.bodies.append(json.dumps(spec).encode())
        assert spec["flavor"] in [name for name, *_ in HARDWARE]
        job_id = secrets.token_hex(12)
        home = self.folder / "machines" / job_id
        mounts = {}
        for volume in spec.get("volumes", []):
            self._mount(request, volume, mounts)
        machine = RentedMachine(
            [*spec["command"], *spec["arguments"]],
            {**spec["environment"], **hidden},
            mounts,
            home,
            attempts=spec.get("attempts", 1),
            seconds=spec.get("timeoutSeconds", 1800),
        )
        self.jobs[job_id] = {"machine": machine, "spec": spec, "created": _now(), "id": job_id}
        machine.start()
        return self._told(namespace, self.jobs[job_id])

    def _mount(self, request, volume, mounts):
        if volume["type"] == "bucket":
            mounts[volume["mountPath"]] = self.buckets[volume["source"]]
            return
        revision, below = volume.get("revision", "main"), volume.get("path")
        _, files = self.hub.files(request, volume["type"], volume["source"], revision)
        folder = self.folder / "mounted" / secrets.token_hex(6)
        for name, data in files.items():
            if below is None or name.startswith(f"{below}/"):
                path = folder / (name if below is None else name[len(below) + 1 :])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        mounts[volume["mountPath"]] = folder

    def _job(self, request, job_id):
        self.hub.authorized(request)
        if job_id not in self.jobs:
            raise self.hub.MissingError("EntryNotFound", "Job not found")
        return self.jobs[job_id]

    def _inspect(self, request, namespace, job_id):
        return self._told(namespace, self._job(request, job_id))

    def _told(self, namespace, job):
        machine, spec = job["machine"], job["spec"]
        message = "Job timeout" if machine.phase == "timeout" else None
        return {
            "id": job["id"],
            "createdAt": job["created"],
            "startedAt": job["created"],
            "finishedAt": _now() if machine.ended else None,
            "dockerImage": spec.get("dockerImage"),
            "command": spec["command"],
            "arguments": spec["arguments"],
            "environment": spec["environment"],
            "flavor": spec["flavor"],
            "labels": spec.get("labels"),
            "status": {"stage": STAGES[machine.phase], "message": message},
            "owner": {"id": "1", "name": namespace, "type": "user"},
        }

    def _logs(self, request, namespace, job_id):
        machine = self._job(request, job_id)["machine"]
        body = self._events(machine)
        return self.hub.Reply(
            200, body, {"Date": formatdate(usegmt=True)}, kind="text/event-stream"
        )

    def _events(self, machine):
        started = {"data": "===== Job started at 2026-11-28 =====", "timestamp": _now()}
        yield f"data: {json.dumps(started)}\n\n".encode()
        sent = 0
        while True:
            ended = machine.ended
            while sent < len(machine.lines):
                at, line = machine.lines[sent]
                told = {"data": line, "timestamp": _now(at / 1e9)}
                yield f"data: {json.dumps(told)}\n\n".encode()
                sent += 1
            if ended:
                return
            machine.wait_for_more(sent)

    def _cancel(self, request, namespace, job_id):
        self._job(request, job_id)["machine"].cancel()
        return {}

    def _create(self, request, bucket):
        self.hub.authorized(request)
        self.bodies.append(request.body)
        assert request.json["visibility"] == "private"
        address = {"url": f"{self.hub.url}/buckets/{bucket}"}
        if bucket in self.buckets:
            return self.hub.refused(409, "You already created this bucket", address)
        self.buckets[bucket] = self.folder / "buckets" / bucket
        self.buckets[bucket].mkdir(parents=True)
        return address

    def _bucket(self, request, bucket):
        self.hub.authorized(request)
        if bucket not in self.buckets:
            raise self.hub.MissingError("RepoNotFound", "Bucket not found")
        return self.buckets[bucket]

    def _info(self, request, bucket):
        self._bucket(request, bucket)
        told = {"id": bucket, "private": True, "createdAt": _now()}
        return told | {"size": 0, "totalFiles": 0}

    def _tree(self, request, bucket, below):
        root = self._bucket(request, bucket)
        if not (root / below).is_dir():
            raise self.hub.MissingError("EntryNotFound", f"{below} does not exist")
        return [
            {
                "type": "file" if path.is_file() else "directory",
                "path": path.relative_to(root).as_posix(),
                "size": path.stat().st_size,
                "xetHash": "0" * 64,
            }
            for path in sorted((root / below).iterdir())
        ]

    def _resolve(self, request, bucket, name):
        path = self._bucket(request, bucket) / name
        if not path.is_file():
            raise self.hub.MissingError("EntryNotFound", f"{name} does not exist")
        return self.hub.Reply(200, path.read_bytes(), kind="application/octet-stream")


def _hardware(name, cpus, ram, disk, gpu, gpus, micro_dollars):
    accelerator = gpu and {
        "type": "gpu",
        "model": gpu,
        "quantity": str(gpus),
        "vram": "16 GB",
        "manufacturer": "Nvidia",
    }
    return {
        "name": name,
        "prettyName": name,
        "cpu": f"{cpus} vCPU",
        "ram": f"{ram} GB",
        "ephemeralStorage": f"{disk} GB",
        "accelerator": accelerator,
        "unitCostMicroUSD": micro_dollars,
        "unitCostUSD": micro_dollars / 1e6,
        "unitLabel": "minute",
    }


def _now(seconds=None):
    return datetime.fromtimestamp(seconds or time.time(), UTC).isoformat().replace("+00:00", "Z")
