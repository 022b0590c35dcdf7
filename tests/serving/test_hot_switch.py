"""Other bundles while people ask: nobody is refused, nobody gets half of one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from cannabis_ml.errors import DeploymentError
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.deploy_command import main as deploy
from cannabis_ml.serving.deployments import Deployments, open_served
from cannabis_ml.serving.following import Follower
from cannabis_ml.serving.replicas import wait_for
from cannabis_ml.serving.settings import ServiceSettings


def id_of(bundle):
    return bundle.manifest.content_sha256


@pytest.fixture
def folder(tmp_path, small_bundle):
    """Deployments, of which `small_bundle` is the first."""
    found = tmp_path / "deployments"
    assert deploy([str(small_bundle.path), "--to", str(found)]) == 0
    return found


@pytest.fixture
def following(folder):
    """A service that follows the folder, without a server: looks when it is told."""
    deployments = Deployments(folder)
    record, bundles = open_served(deployments)
    app = create_app(next(bundles), ServiceSettings())
    service = app.state.service
    asyncio.run(service.prepare())
    yield service, Follower(service, deployments, record), deployments
    service.pool.close()


def looked(follower):
    asyncio.run(follower.look())


def counted(service, outcome):
    return (
        f'cannabis_ml_switches_total{{outcome="{outcome}"}} 1.0' in service.metrics.text().decode()
    )


def test_what_was_deployed_answers_and_what_answered_before_is_freed(
    following, other_bundle, small_bundle
):
    service, follower, deployments = following
    before = service.loaded
    assert before.opened == 2
    looked(follower)
    assert service.loaded is before
    assert deploy([str(other_bundle.path), "--to", str(deployments.root)]) == 0
    looked(follower)
    assert service.loaded.id == id_of(other_bundle)
    assert (before.opened, service.loaded.opened) == (0, 2)
    assert counted(service, "taken")
    assert deploy(["--back", "--to", str(deployments.root)]) == 0
    looked(follower)
    assert service.loaded.id == id_of(small_bundle)


def test_a_trial_adds_a_challenger_beside_the_same_champion(following, other_bundle):
    service, follower, deployments = following
    champion = service.loaded
    assert deploy([str(other_bundle.path), "--trial", "--to", str(deployments.root)]) == 0
    looked(follower)
    served = service.bundles.served
    assert served.champion is champion
    assert served.challenger.id == id_of(other_bundle)
    assert deploy(["--end-trial", "--to", str(deployments.root)]) == 0
    looked(follower)
    assert service.bundles.served.challenger is None
    assert served.challenger.opened == 0


def test_a_bundle_that_answers_otherwise_here_is_never_taken(following, strange_bundle):
    service, follower, deployments = following
    before = service.loaded
    deployments.keep(strange_bundle)
    now = deployments.current()
    late = {"number": now.number + 1, "champion": id_of(strange_bundle)}
    deployments.append(now.model_copy(update=late))
    looked(follower)
    assert service.loaded is before
    assert service.is_ready
    assert counted(service, "refused")


class _OnceStrange(Deployments):
    """Fails once in a way that nobody expects, as a file system or a model library may."""

    has_failed = False

    def open(self, bundle_id):
        if not self.has_failed:
            self.has_failed = True
            raise RuntimeError("strange")
        return super().open(bundle_id)


def test_a_strange_fault_does_not_end_the_following(following, other_bundle, caplog):
    service, follower, deployments = following
    strange = _OnceStrange(deployments.root)
    follower = Follower(service, strange, deployments.current())
    assert deploy([str(other_bundle.path), "--to", str(deployments.root)]) == 0
    looked(follower)
    assert counted(service, "failed")
    assert "RuntimeError: strange" in caplog.text
    looked(follower)
    assert service.loaded.id == id_of(other_bundle)


def test_a_bundle_in_the_place_of_another_is_never_taken(following, other_bundle, third_bundle):
    service, follower, deployments = following
    before = service.loaded
    assert deploy([str(other_bundle.path), "--to", str(deployments.root)]) == 0
    place = deployments.root / "bundles" / id_of(other_bundle)
    shutil.rmtree(place)
    shutil.copytree(third_bundle.path, place)
    looked(follower)
    assert service.loaded is before
    assert counted(service, "failed")
    with pytest.raises(DeploymentError, match="holds another bundle"):
        deployments.open(id_of(other_bundle))


def test_a_bundle_that_is_not_there_yet_is_taken_later(following, other_bundle):
    service, follower, deployments = following
    now = deployments.current()
    late = {"number": now.number + 1, "champion": id_of(other_bundle)}
    deployments.append(now.model_copy(update=late))
    looked(follower)
    looked(follower)
    assert counted(service, "failed")
    assert service.is_ready
    deployments.keep(other_bundle)
    looked(follower)
    assert service.loaded.id == id_of(other_bundle)


@contextmanager
def serving(folder, **settings):
    """`cannabis_ml serve` in a process of its own; gives its URL."""
    config = folder.parent / "service.json"
    config.write_text(json.dumps({"follow_seconds": 0.2, **settings}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cannabis_ml.serving", str(folder)]
    running = subprocess.Popen(
        [*command, "--port", str(port), "--config", str(config)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert running.poll() is None
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


@pytest.mark.slow
def test_no_request_fails_while_bundles_are_exchanged(
    folder, small_bundle, other_bundle, third_bundle, jpeg
):
    photo = jpeg(kind="PNG")
    expected = {
        id_of(bundle): bundle.predict(photo, "tier2")["kind.of thing"].top(1)[0][1]
        for bundle in (small_bundle, other_bundle, third_bundle)
    }
    with serving(folder, workers=2, limits={"waiting": 32}) as url, httpx.Client() as looking:
        going, found = threading.Event(), []

        def ask(_):
            with httpx.Client(timeout=60) as client:
                while not going.is_set():
                    answer = client.post(f"{url}/api/v1/classify", content=photo)
                    assert answer.status_code == 200, answer.text
                    told = answer.json()
                    assert told["bundle"] == answer.headers["x-bundle"]
                    found.append((told["bundle"], told["heads"]["kind.of thing"][0]["probability"]))

        def deployed(*arguments):
            assert deploy([*arguments, "--to", str(folder), "--wait-for", url]) == 0

        with ThreadPoolExecutor(8) as people:
            asking = [people.submit(ask, i) for i in range(8)]
            try:
                deployed(str(other_bundle.path))
                deployed(str(third_bundle.path))
                deployed(str(small_bundle.path), "--trial")
                deployed("--end-trial")
                deployed("--back")
                deployed("--back")
            finally:
                going.set()
            for one in asking:
                one.result()
        assert looking.get(f"{url}/healthz").json()["bundle"] == id_of(small_bundle)
        text = looking.get(f"{url}/metrics").text
    assert {bundle for bundle, _ in found} == set(expected)
    for bundle, probability in found:
        assert probability == pytest.approx(expected[bundle], abs=1e-6)
    assert 'cannabis_ml_switches_total{outcome="taken"} 6.0' in text
    assert text.count("cannabis_ml_models_open{") == 1


def test_waiting_ends_with_the_replicas_that_did_not_take_it():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(DeploymentError, match="1 of 1 replicas") as found:
            list(wait_for([url], "ab" * 32, "cd" * 32, seconds=0.1))
    assert "abababababab and cdcdcdcdcdcd on trial" in str(found.value)
    assert f"{url}: ConnectError" in str(found.value)
    assert "deploy --back" in str(found.value)
