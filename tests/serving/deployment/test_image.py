"""The Dockerfile, compose.yaml and what goes into the image."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cannabis_ml.serving.deploy_command import main as deploy

ROOT = Path(__file__).parents[3]


def instructions():
    """Of the Dockerfile: word and rest of each, lines that go on joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def stages():
    """Instructions by stage; the last is called `image`."""
    found, name = {}, ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            found[name] = []
        found[name].append((word, rest))
    return found


def all_of(stage, word):
    return [rest for found, rest in stages()[stage] if found == word]


def one(stage, word):
    (found,) = all_of(stage, word)
    return found


def is_sent(path):
    """Whether .dockerignore lets a path into the build; the last pattern that matches decides."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    found = True
    for line in lines:
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        anywhere = "**/" in line
        parts = [path, *map(str, Path(path).parents)]
        names = [Path(part).name for part in parts] if anywhere else parts
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            found = line.startswith("!")
    return found


def test_the_image_is_slim_and_runs_as_nobody_in_particular():
    assert one("image", "FROM").endswith("-slim")
    assert all_of("image", "RUN") == []
    user, group = one("image", "USER").split(":")
    assert int(user) == int(group) >= 10_000


def test_what_is_copied_is_there_and_sent():
    for stage in stages():
        for rest in all_of(stage, "COPY"):
            if rest.startswith("--from="):
                continue
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert is_sent(source), source


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/cannabis_ml/serving/app.py", True),
        ("src/cannabis_ml/serving/page/source/app.ts", True),
        ("src/cannabis_ml/serving/page/built/index.html", False),
        ("src/cannabis_ml/serving/page/node_modules/esbuild/a.js", False),
        ("src/cannabis_ml/serving/__pycache__/app.pyc", False),
        ("data/01_raw/photo.jpg", False),
        (".git/config", False),
        (".env", False),
    ],
)
def test_neither_data_nor_builds_of_this_machine_are_sent(path, expected):
    assert is_sent(path) == expected


def test_versions_are_those_of_the_lock_and_extras_are_known():
    (extras,) = [rest for rest in all_of("packages", "ARG") if rest.startswith("EXTRAS=")]
    import tomllib

    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = extras.partition("=")[2].split(",")
    assert set(names) <= set(known["optional-dependencies"])
    needed = [one for name in names for one in known["optional-dependencies"][name]]
    lock = (ROOT / "requirements.lock").read_text("utf-8").lower()
    for each in [*known["dependencies"], *needed]:
        name = re.match(r"[\w-]+", each)[0].lower()
        assert re.search(rf"^{name}(\[.*\])?==", lock, re.M), name
    assert "--constraint requirements.lock" in " ".join(all_of("packages", "RUN"))


def test_compose_starts_the_image_read_only_beside_postgresql():
    found = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    services = found["services"]
    service = services["service"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "deployments:/deployments:ro" in service["volumes"]
    assert services["database"]["image"].startswith("postgres:")
    # Passwords come from the environment, and are no part of an address.
    assert "@database" in " ".join(service["command"])
    assert not re.search(r"://[^@ ]*:[^@ ]*@", (ROOT / "compose.yaml").read_text("utf-8"))
    named = {v.partition(":")[0] for one in services.values() for v in one.get("volumes", [])}
    assert named == set(found["volumes"])


@pytest.fixture(scope="module")
def installed(once, copy_project):
    """What the stage `packages` installs, in a folder in place of /venv."""

    def build(folder):
        tree = copy_project(folder / "tree")
        paths = {"/venv": str(folder / "venv"), "python": sys.executable}
        (extras,) = [rest for rest in all_of("packages", "ARG") if rest.startswith("EXTRAS=")]
        for command in all_of("packages", "RUN"):
            found = re.sub(r"(?<=\s)/venv|^python(?=\s)", lambda m: paths[m[0]], command)
            subprocess.run(
                found.replace("$EXTRAS", extras.partition("=")[2]),
                shell=True,
                check=True,
                cwd=tree,
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                stdout=subprocess.DEVNULL,
            )
        shutil.rmtree(tree)

    return once("image", build) / "venv"


@pytest.mark.slow
def test_what_is_installed_serves_deployments_and_gets_healthy(installed, small_bundle, tmp_path):
    folder = tmp_path / "deployments"
    assert deploy([str(small_bundle.path), "--to", str(folder)]) == 0
    absent = "import importlib.util as i, sys; sys.exit(any(map(i.find_spec, sys.argv[1:])))"
    absent_names = ["torch", "kedro", "mlflow", "datasets", "pip"]
    subprocess.run([installed / "bin/python", "-c", absent, *absent_names], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = [*json.loads(one("image", "ENTRYPOINT")), *json.loads(one("image", "CMD"))]
    start = [str(folder) if part == "/deployments" else part for part in start]
    environment = {"PATH": f"{installed}/bin", "TMPDIR": str(tmp_path)}
    for rest in all_of("image", "ENV"):
        pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
        environment |= {name: value for name, value in pairs.items() if name != "PATH"}
    running = subprocess.Popen(
        [installed / "bin" / start[0], *start[1:], "--port", port], env=environment, cwd=tmp_path
    )
    try:
        check = one("image", "HEALTHCHECK").partition("CMD ")[2]
        command = [part.replace(":8000", f":{port}") for part in json.loads(check)]
        command[0] = str(installed / "bin" / command[0])
        while subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            assert running.poll() is None
        stop = getattr(signal, one("image", "STOPSIGNAL"))
        running.send_signal(stop)
        assert running.wait() in (0, -stop)
    finally:
        running.kill()
        running.wait()
