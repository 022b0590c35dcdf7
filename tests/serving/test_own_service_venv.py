"""An environment with what `pip install cannabis_ml[inference,service,feedback]` brings alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import httpx
import pytest

ABSENT = ("torch", "kedro", "mlflow", "datasets", "lightning", "onnx", "albumentations")

HEAD = "kind.of thing"

NOT_PASSED = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")

FEEDBACK = ("sqlalchemy", "alembic", "fsspec", "pandas", "cleanlab", "sklearn", "scipy")
"""What the extra `feedback` brings."""


def run(*command, **options):
    clean = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean, timeout=900, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def pip(*arguments):
    return run(sys.executable, "-m", "pip", *arguments)


@pytest.fixture(scope="module")
def python(once, copy_project):
    """The Python of such an environment."""

    def build(folder):
        tree = copy_project(folder / "tree")
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(tree))
        shutil.rmtree(tree)

    (wheel,) = once("wheel", build).glob("*.whl")

    def install(folder):
        run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        into = ("--python", str(folder / "venv/bin/python"), "install", "--quiet", "--no-compile")
        pip(*into, f"{wheel}[inference,service,feedback]")

    return str(once("service", install) / "venv/bin/python")


@pytest.fixture(scope="module")
def server(python, small_bundle, tmp_path_factory):
    """A client of a server that runs there."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "cannabis_ml", "serve", str(small_bundle.path), "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
    log = (folder / "log").open("w")
    running = subprocess.Popen(
        [*command, "--feedback", f"sqlite:///{folder / 'feedback.db'}"],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=clean,
        cwd=folder,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        while True:
            assert running.poll() is None, (folder / "log").read_text()[-3000:]
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield client
    running.terminate()
    running.wait()
    log.close()


@pytest.mark.slow
def test_it_answers_and_takes_feedback(server, small_bundle, jpeg):
    report = server.post("/v2/analyze", content=jpeg(), headers={"content-type": "image/jpeg"})
    assert report.json()["heads"][HEAD]
    label = small_bundle.taxonomy[HEAD].class_names[0]
    told = {
        "key": "key-1",
        "person": "p-1",
        "at": "2026-05-01T12:00:00Z",
        "consent": True,
        "opinions": [{"head": HEAD, "verdict": "corrected", "label": label}],
    }
    given = {"data": {"feedback": json.dumps(told)}, "files": {"photo": ("a.jpg", jpeg())}}
    assert server.post("/v2/feedback", **given).json()["taken"] == 1
    status = server.get("/v2/learning-status").json()
    assert status["store"]["photos_kept"] == 1
    assert status["decision"]["reasons"]


@pytest.mark.slow
def test_it_runs_jobs(server, jpeg):
    photos = [("photo", (f"{i}.jpg", jpeg(), "image/jpeg")) for i in range(3)]
    job = server.post("/v2/jobs", files=photos).json()["id"]
    assert len(server.get(f"/v2/jobs/{job}/results").text.splitlines()) == 3


@pytest.mark.slow
def test_nothing_heavy_came_along(python):
    asked = "import importlib.util as u, json, sys; "
    asked += "print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"
    assert json.loads(run(python, "-c", asked, *ABSENT)) == []


@pytest.mark.slow
def test_every_module_of_the_service_can_be_imported(python):
    run(
        python,
        "-c",
        "import importlib, pkgutil, cannabis_ml.serving as room\n"
        "found = pkgutil.walk_packages(room.__path__, f'{room.__name__}.')\n"
        "names = [m.name for m in found if not m.name.endswith('__main__')]\n"
        "assert len(names) > 25, names\n"
        "for name in names: importlib.import_module(name)\n",
    )


WITHOUT_FEEDBACK = """
import json, sys
for name in json.loads(sys.argv[2]):
    sys.modules[name] = None  # as if it were not installed
from fastapi.testclient import TestClient
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.__main__ import main
from cannabis_ml.serving.app import create_app
with TestClient(create_app(Bundle.open(sys.argv[1]))) as client:
    assert client.get("/v2/bundle").status_code == 200
    assert client.post("/v2/feedback", json={}).status_code == 503
    assert client.get("/openapi.json").status_code == 200
sys.exit(main([sys.argv[1], "--feedback", "sqlite:///feedback.db"]))
"""


def test_without_the_extra_it_answers_and_tells_what_feedback_takes(small_bundle, tmp_path):
    command = [sys.executable, "-c", WITHOUT_FEEDBACK, str(small_bundle.path), json.dumps(FEEDBACK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "cannabis_ml[inference,service,feedback]" in done.stderr
