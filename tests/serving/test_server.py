"""A running server, and clients that are slow, many, or leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.settings import ServiceSettings


@pytest.fixture
def server_of(small_bundle, running):
    """Its address and its service: `server_of(limits={…})`."""
    with ExitStack() as stack:

        def start(**settings):
            app = create_app(small_bundle, ServiceSettings.model_validate(settings))
            port = stack.enter_context(running(app))
            return ("127.0.0.1", port), app.state.service

        yield start


def url(address, path="/v2/analyze"):
    return f"http://{address[0]}:{address[1]}{path}"


def head_of(photo, length):
    return (
        f"POST /v2/analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode() + photo


def until(condition):
    """Wait for what another thread does soon; a test that hangs is stopped by who runs it."""
    while not condition():
        time.sleep(0.005)


def test_a_body_that_does_not_arrive_frees_its_place(server_of, jpeg):
    address, service = server_of(limits={"upload_seconds": 0.3, "waiting": 0})
    with socket.create_connection(address) as slow:
        slow.sendall(head_of(jpeg()[:100], len(jpeg())))
        until(lambda: service.admission.inside == 1)
        assert b"408" in slow.recv(1000).split(b"\r\n")[0]
    assert httpx.post(url(address), content=jpeg()).status_code == 200
    assert service.admission.inside == 0


def test_work_of_a_client_that_left_is_dropped(server_of, jpeg):
    address, service = server_of(limits={"waiting": 4})
    go, answered = threading.Event(), []
    report = service.loaded.report
    service.loaded.report = lambda *given: answered.append(1) or report(*given)
    service.pool.submit(go.wait)
    with socket.create_connection(address) as leaving:
        leaving.sendall(head_of(jpeg(), len(jpeg())))
        until(lambda: service.admission.inside == 1)
    until(lambda: service.admission.inside == 0)
    go.set()
    assert httpx.post(url(address), content=jpeg()).status_code == 200
    assert answered == [1]  # the second client's


def test_many_at_once_get_their_own_answers_or_are_told_to_come_again(
    server_of, jpeg, small_bundle
):
    address, service = server_of(workers=2, limits={"waiting": 4})
    colors = [(10 * i, 255 - 10 * i, 90) for i in range(20)]
    expected = {c: str(small_bundle.predict(jpeg(c), "tier2")) for c in colors}

    def ask(color):
        while True:
            found = httpx.post(url(address), content=jpeg(color), timeout=60)
            if found.status_code == 200:
                heads = found.json()["heads"]
                return color, {name: head["best_guess"] for name, head in heads.items()}
            assert found.status_code == 503
            assert int(found.headers["retry-after"]) >= 1
            time.sleep(0.01)

    with ThreadPoolExecutor(16) as people:
        found = dict(people.map(ask, colors * 3))
    for color, heads in found.items():
        told = {n: ", ".join(h) if isinstance(h, list) else h for n, h in heads.items()}
        assert "; ".join(f"{n}: {h or 'none'}" for n, h in told.items()) == expected[color]
    assert service.admission.inside == 0


@pytest.mark.slow
def test_the_command_serves_and_ends_cleanly(small_bundle, jpeg, tmp_path):
    (tmp_path / "service.json").write_text('{"limits": {"photo_bytes": 100000}}')
    command = [sys.executable, "-m", "cannabis_ml.serving", str(small_bundle.path)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen(
        [*command, "--port", str(port), "--config", str(tmp_path / "service.json")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert running.stdout.readline().strip() == f"http://127.0.0.1:{port}/"
        address = ("127.0.0.1", port)
        until(lambda: "Ready" in running.stdout.readline())
        assert httpx.get(url(address, "/readyz")).status_code == 200
        assert httpx.post(url(address), content=jpeg()).status_code == 200
        assert httpx.post(url(address), content=bytes(200_000)).status_code == 413
    finally:
        running.send_signal(signal.SIGINT)
        lines = running.communicate()[0].splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {(one["route"], one["status"]) for one in logged} >= {
        ("/readyz", 200),
        ("/v2/analyze", 200),
        ("/v2/analyze", 413),
    }
    assert not any(one.get("client") for one in logged)
    assert running.returncode in (0, -signal.SIGINT, 130)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{bundle}/nothing"], "BundleError"),
        (["{bundle}", "--workers", "0"], "workers"),
        (["{bundle}", "--config", "{tmp}/none.json"], "cannot be read"),
    ],
)
def test_what_cannot_be_served_is_an_error(small_bundle, tmp_path, capsys, arguments, message):
    from cannabis_ml.serving.__main__ import main

    given = [one.format(bundle=small_bundle.path, tmp=tmp_path) for one in arguments]
    assert main(given) == 2
    assert message in capsys.readouterr().err


def test_a_new_key_and_its_hash(capsys):
    from cannabis_ml.serving.__main__ import main
    from cannabis_ml.serving.settings import hash_key

    assert main(["--new-key"]) == 0
    key, found = (line.split()[1] for line in capsys.readouterr().out.splitlines())
    assert hash_key(key) == found
