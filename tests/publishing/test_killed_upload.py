"""An upload that is killed with -9 wherever it stands, and started again."""

import json
import random
import signal
import threading
import uuid
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("publish_script.py")


@pytest.fixture(scope="module")
def publish(hub_processes):
    """Start a process that publishes: `publish("me/leaves")`."""
    return lambda repo: hub_processes.start([SCRIPT, repo])


@pytest.fixture(scope="module")
def whole(hub, publish):
    """An upload that nothing disturbed: its moments, in order, and its files."""
    repo, moments = f"me/whole-{uuid.uuid4().hex[:8]}", []
    hub.watch = lambda moment, request: moments.append((moment, request.method, request.path))
    done = publish(repo).wait()
    hub.watch = None
    assert done.returncode == 0, done.stderr
    place = hub.repos["dataset", repo]
    assert place.tags == {"1.0.0": done.stdout.split()[-1]}
    return moments, _content(place.commits[place.tags["1.0.0"]], repo)


def _content(files, repo):
    """Files without what the name of their repository, which the card holds, changes."""
    told = {**json.loads(files["publication.json"]), "card_sha256": None}
    card = files["README.md"].decode().replace(repo, "").replace(repo.partition("/")[2], "")
    return files | {"README.md": card, "publication.json": told}


def _killed_at(hub, publish, repo, is_it):
    """Publish, and kill the process at the first moment that `is_it` says yes to."""
    started, lock, killed = [], threading.Lock(), []

    def watch(moment, request):
        with lock:
            if not killed and is_it(moment, request.method, request.path):
                killed.append(request.path)
                started[0].send_signal(signal.SIGKILL)

    begun = threading.Event()
    hub.watch = lambda *told: begun.wait() and watch(*told)
    started.append(publish(repo))
    begun.set()
    ended = started[0].wait()
    hub.watch = None
    assert killed
    assert ended.returncode == -signal.SIGKILL


def _finish(hub, publish, repo, whole):
    """Publish again; afterwards the version is there, once, as if nothing had happened."""
    done = publish(repo).wait()
    assert done.returncode == 0, done.stderr
    place = hub.repos["dataset", repo]
    first, version = place.commits.values()  # no other commit, half of it or twice
    assert list(first) == [".gitattributes"]
    assert place.tags == {"1.0.0": place.branches["main"]}
    assert _content(version, repo) == whole[1]


@pytest.mark.parametrize("seed", range(5))
def test_killed_anywhere_it_ends_in_the_same_version(hub, publish, whole, seed):
    chance = random.Random(seed)
    repo, left = f"me/killed-{uuid.uuid4().hex[:8]}", [chance.randrange(len(whole[0]))]

    def is_it(*_):
        left[0] -= 1
        return left[0] < 0

    _killed_at(hub, publish, repo, is_it)
    _finish(hub, publish, repo, whole)


@pytest.mark.parametrize("call", ["/commit/", "/tag/"])
def test_killed_before_the_hub_could_answer(hub, publish, whole, call):
    repo = f"me/unheard-{uuid.uuid4().hex[:8]}"
    _killed_at(hub, publish, repo, lambda moment, _, path: moment == "done" and call in path)
    _finish(hub, publish, repo, whole)


def test_what_was_uploaded_is_not_uploaded_again(hub, publish, whole):
    repo = f"me/resumed-{uuid.uuid4().hex[:8]}"
    uploads = [path for moment, method, path in whole[0] if (moment, method) == ("done", "PUT")]
    seen = []

    def third(moment, method, path):
        if (moment, method) == ("done", "PUT"):
            seen.append(path)
        return len(seen) == 3

    _killed_at(hub, publish, repo, third)
    before = len(hub.requests)
    _finish(hub, publish, repo, whole)
    again = sum(request.startswith("PUT") for request in hub.requests[before:])
    assert again <= len(uploads) - 3
