"""A server that is killed while people send feedback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from sqlalchemy import select

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.store import FeedbackStore

pytestmark = pytest.mark.slow

CLIENTS = 4
ACKNOWLEDGED = 40
"""So many answers are waited for before the server is killed."""


def start(bundle, url, port, *more):
    command = [sys.executable, "-m", "cannabis_ml.serving", str(bundle), "--feedback", url]
    running = subprocess.Popen(
        [*command, "--port", str(port), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    while True:
        assert running.poll() is None
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return running


def submission(key, small_bundle):
    head = small_bundle.taxonomy.heads[0]
    return {
        "key": key,
        "person": f"p-{key[-1]}",
        "at": "2026-05-01T12:00:00Z",
        "photo_id": key.encode().hex().rjust(64, "0"),
        "opinions": [{"head": head.name, "verdict": "corrected", "label": head.class_names[0]}],
    }


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_what_was_acknowledged_survives_kill_9(small_bundle, tmp_path, port):
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    address = f"http://127.0.0.1:{port}/v2/feedback"
    running = start(small_bundle.path, url, port)
    acknowledged, sent = [], []

    def person(number):
        with httpx.Client() as client:
            for i in range(10_000):
                key = f"key-{i}-{number}"
                sent.append(key)
                try:
                    found = client.post(address, json=submission(key, small_bundle))
                except httpx.HTTPError:
                    return  # the server is gone
                if found.status_code == 200:
                    acknowledged.append(key)

    people = [threading.Thread(target=person, args=(number,)) for number in range(CLIENTS)]
    for one in people:
        one.start()
    try:
        while len(acknowledged) < ACKNOWLEDGED:
            assert any(one.is_alive() for one in people)
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
        for one in people:
            one.join()

    with FeedbackStore(url) as store, store.database.reading() as connection:
        kept = set(connection.execute(select(t.submissions.c.key)).scalars())
        opinions = len(store.opinions())
    assert set(acknowledged) <= kept
    assert opinions == len(kept)  # none is there by half

    running = start(small_bundle.path, url, port)
    try:
        for key in dict.fromkeys(sent):  # every client sends again what it has no answer to
            found = httpx.post(address, json=submission(key, small_bundle))
            assert found.status_code == 200
            assert found.json()["is_retry"] or key not in kept
    finally:
        running.terminate()
        running.wait()
    with FeedbackStore(url) as store:
        assert len(store.opinions(history=True)) == len(set(sent))


def test_a_job_goes_on_after_kill_9(small_bundle, tmp_path, port, jpeg):
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    config = tmp_path / "service.json"
    config.write_text('{"jobs": {"lease_seconds": 0.5, "poll_seconds": 0.1}}')
    given = (small_bundle.path, url, port, "--config", str(config))
    photos = [("photo", (f"{i}.jpg", jpeg((i, 99, 99)), "image/jpeg")) for i in range(150)]
    jobs = f"http://127.0.0.1:{port}/v2/jobs"
    running = start(*given)
    try:
        sent = httpx.post(jobs, files=photos, timeout=60)
        assert sent.status_code == 202
        job = f"{jobs}/{sent.json()['id']}"
        with httpx.stream("GET", f"{job}/results", timeout=60) as results:
            first = json.loads(next(results.iter_lines()))
    finally:
        running.kill()
        running.wait()
    running = start(*given)
    try:
        found = httpx.get(f"{job}/results", params={"after": first["place"]}, timeout=60)
        lines = [json.loads(line) for line in found.text.splitlines()]
    finally:
        running.terminate()
        running.wait()
    assert sorted(one["number"] for one in [first, *lines]) == list(range(150))
    assert all(one["report"] for one in lines)
