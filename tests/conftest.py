"""Photos to test with: drawn on the spot, and real ones where they are there."""

import functools
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from cannabis_ml._io.openmp import limit_spinning

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[2] / "shared" / "data")

# What a test finds must not hang on what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

limit_spinning()
os.environ.setdefault("TQDM_DISABLE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread per test process: they have the cores between them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Modules with what takes longest go first, so that at the end no process waits for another.

    And before all else those that look at the finished run, which one process makes meanwhile.
    """
    looking = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in looking, item.path not in slow))


@pytest.fixture(autouse=True)
def mlflow_of_one_test():
    """MLflow's variables end with the test: it sets them itself, so that processes inherit them."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ.update(before)


PROJECT = Path(__file__).parents[1]
SECRET = "hf_onlyForTests"
"""The token that `hub_here` gives; it must never be shown."""

NOT_COPIED = {".git", ".venv", "data", ".viz", "dist", "build", "local", "node_modules"}


def _copy_project(to):
    def ignored(folder, names):
        return [n for n in names if n in NOT_COPIED or n.endswith("cache") or n.startswith(".hyp")]

    shutil.copytree(PROJECT, to, ignore=ignored)
    (to / "conf/local").mkdir(exist_ok=True)
    return to


@pytest.fixture(scope="session")
def copy_project():
    """Copy the project, without data and settings of one's own: `copy_project(to)`."""
    return _copy_project


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Make files once for all test processes: `folder = once("name", make)`.

    `make(folder)` fills the folder in the first process that asks; others wait for it. Where it
    fails, the next to ask tries again.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def once(name, make):
        folder, done = shared / "once" / name, shared / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


def _environment():
    return {**os.environ, "DO_NOT_TRACK": "1", "COLUMNS": "140"}


def _succeeded(done):
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def _run(folder, *command):
    """`python COMMAND…` in a copy of the project in `folder`, in a process with nothing loaded."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=_copy_project(folder / "project"),
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    return _succeeded(done)


@pytest.fixture(scope="session")
def processes():
    """Processes that have Kedro's libraries loaded: `processes.run(["-c", code], env={…})`."""
    forks = _module("fork_server")
    with forks.ForkServer(forks.KEDRO) as server:
        yield server


@pytest.fixture(scope="session")
def kedro(processes):
    """`kedro(project, "run", …)`; fails with what was printed unless `check=False`."""

    def kedro(project, *arguments, check=True):
        done = processes.run(["-m", "kedro", *arguments], cwd=project, env=_environment())
        return _succeeded(done) if check else done

    return kedro


@pytest.fixture(scope="session")
def training_processes():
    """Runs scripts that train: `training_processes.run([script, …], env={…})`."""
    forks = _module("fork_server")
    with forks.ForkServer(forks.TRAINING) as server:
        yield server


@pytest.fixture(scope="session")
def dask_processes():
    """Processes that have Dask and what looks at photos loaded."""
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    with _module("fork_server").ForkServer(_module("dask_cluster").LIBRARIES) as server:
        yield server


@pytest.fixture(scope="session")
def dask_cluster(dask_processes):
    """Clusters of Dask: `with dask_cluster() as cluster: cluster.add_worker()`."""
    return functools.partial(_module("dask_cluster").DaskCluster, dask_processes)


@pytest.fixture(scope="session")
def two_nodes():
    """Addresses and names of two network namespaces that reach each other."""
    clusters = _module("dask_cluster")
    if reason := clusters.why_no_namespaces():
        pytest.skip(reason)
    with clusters.two_namespaces() as nodes:
        yield nodes


@pytest.fixture(scope="session")
def finished(once):
    """A project in which `kedro run --env test` went through, with what it printed. To look at."""

    def make(folder):
        done = _run(folder, "-m", "kedro", "run", "--env", "test")
        (folder / "printed.txt").write_text(done.stdout)

    folder = once("finished", make)
    return folder / "project", (folder / "printed.txt").read_text()


GET_PHOTOS_READY = """
import json, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(Path.cwd())
with KedroSession.create(env="test") as session:
    session.run(pipeline_names=["data", "feedback"])

import cannabis_ml
Path("ran.json").write_text(
    json.dumps({"ran": cannabis_ml.__file__, "modules": sorted(sys.modules)})
)
"""


@pytest.fixture(scope="session")
def photos_ready(once):
    """A project in which `data` and `feedback` went through, and the modules that this loaded.

    To look at.
    """

    def make(folder):
        _run(folder, "-c", GET_PHOTOS_READY)

    project = once("photos_ready", make) / "project"
    return project, json.loads((project / "ran.json").read_text())


@pytest.fixture(scope="session")
def quantized_files(once):
    """A small network as float files and in every quantization; see `QuantizedFiles`."""
    return _module("exporting/quantized_files").QuantizedFiles(once)


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium."""
    module = _module("benchmarks/chromium")
    path = module.chromium()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(module.NAMES)} is there")
    return path


@pytest.fixture(scope="session")
def real_photos():
    """The folder of real photos; see its README for what is in it."""
    if not (PHOTOS_DIR / "plantdoc_256").is_dir():
        pytest.skip(f"no real photos in {PHOTOS_DIR}; set PHOTOS_DIR to where they are")
    return PHOTOS_DIR


def _draw(seed=0, width=48, height=40):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def draw():
    """Draw a smooth random RGB image: `draw(seed, width, height)`."""
    return _draw


@pytest.fixture(scope="session")
def encode():
    """The bytes of an image: `encode(image, "JPEG", quality=95)`."""

    def encode(image=None, kind="JPEG", **options):
        buffer = io.BytesIO()
        (_draw() if image is None else image).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def write_photo(encode):
    """Write a small photo, making its folders: `write_photo(path, seed)`."""

    def write_photo(path, seed=0, **size):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        path.write_bytes(encode(_draw(seed, **size), kind))
        return path

    return write_photo


BACKBONE = "test_efficientnet"


@functools.cache
def _module(name):
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _loop():
    return _module("training/loop")


@pytest.fixture(scope="session")
def onnx_contents():
    """What a bundle of small ONNX files is made of, with `weights` by head, (3, K) on colours.

    `onnx_contents(tiers=("tier1",), name="x")`; see tests/inference/conftest.py.
    """
    from cannabis_ml.exporting.model_metadata import with_card_text
    from cannabis_ml.inference.bundle_writer import BundleContents
    from cannabis_ml.inference.model_file import ModelFile

    small = _module("inference/conftest")

    def make(tiers=("tier1", "tier2"), weights=small.WEIGHTS, decision=None, **other):
        data = small.onnx_model(weights).SerializeToString()
        says = {"decision": decision} if decision else {}
        models = {
            tier: with_card_text(
                ModelFile(data, "onnx", "float"),
                json.dumps(small.card(quantization="float", format="onnx", tier=tier, **says)),
            )
            for tier in tiers
        }
        given = {
            "name": "small",
            "created": "2026-11-21T12:00:00+00:00",
            "taxonomy": small.TAXONOMY,
            "tiers": {tier: {"float": model} for tier, model in models.items()},
            "photos": [np.full((20, 30, 3), level, np.uint8) for level in (0, 99, 255)],
            "model_card": small.MODEL_CARD,
            "run": "abc",
            "photo_set_fingerprint": "def",
        }
        return BundleContents(**{**given, **other})

    return make


@pytest.fixture(scope="session")
def taxonomy():
    """A small taxonomy of one head of each kind."""
    return _loop().TAXONOMY


@pytest.fixture(scope="session")
def photo_set():
    """24 training and 8 validation photos in which colour tells the class.

    Every fifth lacks a label of some head.
    """
    return _loop().draw_photo_set()


@pytest.fixture(scope="session")
def complete_photo_set():
    """The same photos with every label known."""
    return _loop().draw_photo_set(complete=True)


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory):
    """Weights of a small backbone that counts as pretrained."""
    import torch

    from cannabis_ml.networks.backbones import create_backbone

    path = tmp_path_factory.mktemp("weights") / "start.pth"
    torch.manual_seed(5)
    torch.save(create_backbone(BACKBONE, 32).state_dict(), path)
    return path


@pytest.fixture
def load():
    """The table of one source: `load(kind="folder", path=…)`."""
    from cannabis_ml.datasets.source_photos import SourcePhotosDataset

    return lambda **source: SourcePhotosDataset(source=source).load()


@pytest.fixture
def complaint():
    """The message that a person reads: our error, found among the causes of Kedro's."""

    from kedro.io import DatasetError

    from cannabis_ml.datasets.source_photos import SourcePhotosDataset
    from cannabis_ml.errors import SourceError

    def complaint(sources=None, **source):
        with pytest.raises(DatasetError) as caught:
            SourcePhotosDataset(source=source or None, sources=sources).load()
        assert isinstance(caught.value.__cause__, SourceError)
        return str(caught.value.__cause__)

    return complaint


@pytest.fixture
def below():
    """The paths of photos below a root: `below(photos, root)`."""
    return lambda photos, root: [Path(p).relative_to(root).as_posix() for p in photos["path"]]


@pytest.fixture
def tree(tmp_path):
    """Make empty files: `tree("a/1.jpg", "b/2.png")`. Sources look at names alone."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


@pytest.fixture(scope="session")
def hub():
    """A Hugging Face hub on this machine."""
    server = _module("hub_server").HubServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3():
    """Amazon S3 on this machine; see `S3Server`."""
    server = _module("object_servers").S3Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def gcs():
    """Google Cloud Storage on this machine; see `GoogleServer`."""
    server = _module("object_servers").GoogleServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def azurite():
    """Options of Azure's emulator, which runs where AZURITE_URL is set (npm's `azurite`)."""
    url = os.environ.get("AZURITE_URL")
    if not url:
        pytest.skip("no Azurite: set AZURITE_URL to its address, such as http://127.0.0.1:10000")
    return _module("object_servers").azure_options(url)


@pytest.fixture
def object_storage():
    """fsspec opens `s3://` and `gs://` with our classes, as in a project."""
    from cannabis_ml._io.storage_protocols import register

    register()


@pytest.fixture
def hub_here(hub, tmp_path, monkeypatch):
    """The hub, as this process asks it: with a token, and a cache that is empty."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # HF_ENDPOINT is read on import
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    yield hub
    hub.watch = None
    hub.spoilt.clear()
