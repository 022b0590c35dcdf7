"""Three replicas behind nginx on one PostgreSQL: one is killed, nothing that was told is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.serving.deploy_command import main as deploy

pytestmark = pytest.mark.slow

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "nginx" / "nginx.conf"
CLIENTS = 4
ATTEMPTS = 200
STEP = 40
"""So many requests are answered before the kill, between it and the restart, and after that."""


@pytest.fixture
def database(postgresql):
    """URL of an empty database of a private PostgreSQL that waits for the disk."""
    with postgresql.server(durable=True) as url:
        with postgresql.engine(url("postgres")).connect() as connection:
            connection.execute(text("CREATE DATABASE feedback"))
        yield url("feedback")


def free_ports(count):
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def nginx(folder, port, replicas):
    """The project's configuration, with other ports and folders."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    given = CONFIGURATION.read_text("utf-8")
    for before, after in zip(("8001", "8002", "8003"), replicas, strict=True):
        assert given.count(f"127.0.0.1:{before} ") == 1
        given = given.replace(f"127.0.0.1:{before} ", f"127.0.0.1:{after} ")
    given = re.sub(r"listen \d+;", f"listen 127.0.0.1:{port};", given)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    given = given.replace("http {", f"http {{\n{temporary}", 1)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"{user}daemon off;\n{given}")
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    with (folder / "nginx.log").open("w") as log:
        running = subprocess.Popen(command, stderr=log)
    try:
        yield
    finally:
        running.terminate()
        running.wait()


def start(deployments, database, photos, port):
    command = [sys.executable, "-m", "cannabis_ml.serving", str(deployments), "--port", str(port)]
    return subprocess.Popen(
        [*command, "--feedback", database, "--feedback-photos", str(photos)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


class People:
    """Clients that send a photo and an opinion in turn, each again until it is answered.

    Attributes:
        acknowledged: Keys of submissions that were answered with 200.
        photos: How many photos were answered.
        strange: What was answered otherwise than with 200, or not at all.
    """

    def __init__(self, url, bundle, photo):
        self.url, self.bundle, self.photo = url, bundle, photo
        self.acknowledged, self.strange, self.photos = [], [], 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]
        for one in self._threads:
            one.start()

    def until(self, count):
        while len(self.acknowledged) < count:
            assert any(one.is_alive() for one in self._threads)
            time.sleep(0.01)

    def leave(self):
        self._over.set()
        for one in self._threads:
            one.join()

    def _ask(self, number):
        head, i = self.bundle.taxonomy.heads[0], 0
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._over.is_set():
                told = self._answered(client, "/v2/analyze", content=self.photo)
                assert told.headers["x-bundle"] == self.bundle.manifest.content_sha256
                self.photos += 1
                i += 1
                opinion = {"head": head.name, "verdict": "corrected", "label": head.class_names[0]}
                given = {
                    "key": f"key-{number}-{i}",
                    "person": f"p-{number}",
                    "at": "2026-05-01T12:00:00Z",
                    "photo_id": f"{number:032x}{i:032x}",
                    "opinions": [opinion],
                }
                self._answered(client, "/v2/feedback", json=given)
                self.acknowledged.append(given["key"])

    def _answered(self, client, path, **body):
        for _ in range(ATTEMPTS):
            try:
                found = client.post(path, **body)
            except httpx.TransportError as error:
                self.strange.append(repr(error))
            else:
                if found.status_code == 200:
                    return found
                assert found.status_code >= 500, found.text  # asking again would not help
                self.strange.append(f"{found.status_code}: {found.text[:300]}")
            time.sleep(0.05)
        raise AssertionError(self.strange)


def test_a_replica_that_is_killed_costs_no_acknowledged_request(
    small_bundle, database, jpeg, tmp_path
):
    folder, photos = tmp_path / "deployments", tmp_path / "photos"
    assert deploy([str(small_bundle.path), "--to", str(folder)]) == 0
    front, *ports = free_ports(4)
    FeedbackStore(database, photos=str(photos)).close()
    running = [start(folder, database, photos, port) for port in ports]
    try:
        for port, one in zip(ports, running, strict=True):
            while not answers(f"http://127.0.0.1:{port}/readyz"):
                assert one.poll() is None
                time.sleep(0.05)
        with nginx(tmp_path, front, ports):
            while not answers(f"http://127.0.0.1:{front}/readyz"):
                time.sleep(0.05)
            people = People(f"http://127.0.0.1:{front}", small_bundle, jpeg())
            try:
                people.until(STEP)
                running[0].send_signal(signal.SIGKILL)
                running[0].wait()
                people.until(2 * STEP)
                running[0] = start(folder, database, photos, ports[0])
                while not answers(f"http://127.0.0.1:{ports[0]}/readyz"):
                    assert running[0].poll() is None
                    time.sleep(0.05)
                people.until(len(people.acknowledged) + STEP)
            finally:
                people.leave()
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
    with (
        FeedbackStore(database, photos=str(photos)) as store,
        store.database.reading() as connection,
    ):
        kept = list(connection.execute(select(t.submissions.c.key)).scalars())
        opinions = len(store.opinions())
    assert len(kept) == len(set(kept)) == opinions  # none twice, none by half
    assert set(kept) == set(people.acknowledged)
    assert len(people.acknowledged) == people.photos
    # What the killed replica did not answer, nginx sent to another.
    assert not [one for one in people.strange if one[:3].isdigit()], people.strange


class _Dying(BaseHTTPRequestHandler):
    """Takes a body whole, and ends the connection without an answer."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append(self.path)
        self.close_connection = True


@pytest.mark.parametrize(
    ("path", "megabytes", "taken"), [("/v2/jobs", 40, 1), ("/v2/jobs", 1, 1), ("/v2/analyze", 1, 3)]
)
def test_a_job_is_sent_to_one_replica_alone(tmp_path, path, megabytes, taken):
    """A second replica would make a second job of it: jobs have no key by which they count once."""
    seen = []
    with ExitStack() as stack:
        replicas = [ThreadingHTTPServer(("127.0.0.1", 0), _Dying) for _ in range(3)]
        for one in replicas:
            one.taken = seen
            stack.callback(one.server_close)
            threading.Thread(target=one.serve_forever).start()
            stack.callback(one.shutdown)
        (port,) = free_ports(1)
        stack.enter_context(nginx(tmp_path, port, [one.server_port for one in replicas]))
        url = f"http://127.0.0.1:{port}"
        while not _listens(port):
            time.sleep(0.05)
        found = httpx.post(url + path, content=b"x" * (megabytes << 20), timeout=60)
    assert found.status_code == 502
    assert seen == [path] * taken


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
