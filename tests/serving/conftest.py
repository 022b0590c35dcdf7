"""A service over a small bundle of ONNX files."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.golden_rights import PhotoRights
from cannabis_ml.inference.manifest import BundleManifest
from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.settings import ServiceSettings


def _module(path, name):
    """A module of the tests of other rooms, by its path below `tests`."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _network():
    """The small network of the tests of inference."""
    return _module("inference/conftest.py", "small_network")


def _made(folder: Path, factor: float, licence="cc-by-4.0", **contents) -> Bundle:
    """Two tiers of the same weights, times a factor; the first is sure of some photos alone."""
    network = _network()
    weights = {name: np.float32(factor) * w for name, w in network.WEIGHTS.items()}
    made = {}
    for tier in ("tier1", "tier2"):
        raw = network.onnx_model(weights).SerializeToString()
        card = network.card(quantization="float", format="onnx", tier=tier)
        made[tier] = {
            "float": network.with_card_text(
                network.ModelFile(raw, "onnx", "float"), network.json.dumps(card)
            )
        }
    random = np.random.default_rng(0)
    write_bundle(
        folder,
        network.BundleContents(
            name="small",
            created="2026-11-21T12:00:00+00:00",
            taxonomy=network.TAXONOMY,
            tiers=made,
            photos=[random.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(3)],
            model_card=network.MODEL_CARD,
            reliability={"tier1": network.RELIABILITY},
            unknown={"tier1": network.unknown_score()},
            routing=network.RoutingRule.fixed("kind.of thing", ["tier1", "tier2"], [0.95]),
            golden_rights=[PhotoRights(source="field", licence=licence)] * 3,
            **contents,
        ),
    )
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    """Two tiers; the first is sure of some photos alone."""
    return _made(tmp_path_factory.mktemp("serving") / "bundle", factor=1)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory):
    """As `small_bundle`, with other weights."""
    return _made(tmp_path_factory.mktemp("serving") / "other", factor=0.5)


@pytest.fixture(scope="session")
def third_bundle(tmp_path_factory):
    """As `small_bundle`, with yet other weights."""
    return _made(tmp_path_factory.mktemp("serving") / "third", factor=0.7)


@pytest.fixture
def private_bundle(tmp_path):
    """As `small_bundle`, with golden photos that are not for business."""
    return _made(tmp_path / "private", factor=1, licence="cc-by-nc-4.0")


@pytest.fixture
def labelled_bundle(tmp_path):
    """A bundle that gets so many of its three golden labels right: `labelled_bundle(2)`."""

    def make(right):
        given = _made(tmp_path / "unlabelled", factor=1)
        answers = [given.predict(p, "tier2")["kind.of thing"] for p in given.golden_photos()]
        labels = [
            found.decided if i < right else next(n for n in found.classes if n != found.decided)
            for i, found in enumerate(answers)
        ]
        labelled = {"kind.of thing": labels, "grade": [None] * 3}
        return _made(tmp_path / "labelled", factor=1, golden_labels=labelled)

    return make


@pytest.fixture
def strange_bundle(tmp_path, small_bundle):
    """A bundle whose golden answers are others than its models give, all hashes in order."""
    folder = shutil.copytree(small_bundle.path, tmp_path / "strange")
    answers = json.loads((folder / "golden/answers.json").read_text())
    outputs = answers["tiers"]["tier1"]["float"]["outputs"]["kind.of thing"]
    outputs[0] = outputs[0][::-1]
    text = json.dumps(answers)
    (folder / "golden/answers.json").write_text(text)
    manifest = json.loads((folder / "bundle.json").read_text())
    hashed = hashlib.sha256(text.encode()).hexdigest()
    manifest["files"]["golden/answers.json"] = manifest["golden"]["sha256"] = hashed
    sealed = BundleManifest.model_validate(manifest).sealed()
    (folder / "bundle.json").write_text(json.dumps(sealed.model_dump()))
    return Bundle.open(folder)


@pytest.fixture
def database(tmp_path):
    """URL of a store of feedback that is not there yet."""
    return f"sqlite:///{tmp_path / 'feedback.db'}"


@pytest.fixture(scope="session")
def postgresql():
    """The module that starts private PostgreSQL servers: `with postgresql.server() as url: …`."""
    module = _module("feedback/postgresql.py", "postgresql_server")
    reason = module.install() if module.programs() is None else None
    if reason:
        pytest.skip(reason)
    return module


@contextmanager
def _running(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def running():
    """A server of an application in a thread: `with running(app) as port: …`."""
    return _running


@pytest.fixture(scope="module")
def address(app, running):
    """Of a service that is ready, over the module's own fixture `app`."""
    with running(app) as port:
        while not app.state.service.is_ready:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client_of(small_bundle):
    """A client of a started service: `client_of(workers=2, limits={…})`."""
    opened = []

    def start(challenger=None, **settings):
        parsed = ServiceSettings.model_validate(settings)
        app = create_app(small_bundle, parsed, challenger=challenger)
        client = TestClient(app, raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of):
    """A client of a service with the default settings."""
    return client_of()


@pytest.fixture(scope="session")
def jpeg():
    """A photo of one colour with some noise, as JPEG: `jpeg((200, 30, 30))`."""

    def make(color=(200, 30, 30), side=64, kind="JPEG"):
        random = np.random.default_rng(0)
        pixels = np.clip(np.array(color) + random.integers(-30, 30, (side, side, 3)), 0, 255)
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
        return file.getvalue()

    return make
