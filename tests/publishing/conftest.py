"""A small photo set with all that ingestion leaves, and where it is published."""

import importlib.util
import io
import os
import sys
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml._io.hub import Version
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.publishing.params import PublishingParams
from cannabis_ml.publishing.photos import Ingested, PhotosToPublish, publish_photos
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind", "classes": ["bud", "leaf"]},
            {"name": "looks", "kind": "multilabel", "classes": ["dry", "seeds"]},
        ]
    }
)
SPLITS = ("train", "train", "train", "validation", "calibration", "test")
SOURCE = "/home/ann/farm/"


def picture(seed):
    """A JPEG of 40 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def rows(count):
    """Photos of every split; every fourth lacks labels."""
    for n in range(count):
        yield {
            "photo_id": f"{n:064x}",
            "image": {"bytes": picture(n), "path": None},
            "path": f"{SOURCE}{n}.jpg",
            "group": f"field/ann's plant {n // 2}",
            "split": SPLITS[n // 2 % len(SPLITS)],
            "kind": None if n % 4 == 3 else ("bud", "leaf")[n % 2],
            "looks.dry": None if n % 4 == 3 else n % 2,
            "looks.seeds": None if n % 4 == 2 else 0,
        }


def report_of(photos):
    """The report of ingestion on these photos."""
    from cannabis_ml.pipelines.ingestion.report import build_report

    return build_report(photos.assign(defect=None), TAXONOMY)


def ingested(count=12, report_of_count=None, **columns):
    """What ingestion left of so many photos; columns of the table can be added."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    texts = ("photo_id", "path", "group", "split", "kind")
    features = Features(
        {name: Value("string") for name in texts}
        | {"image": ImageFeature(), "looks.dry": Value("int8"), "looks.seeds": Value("int8")}
    )
    made = list(rows(count))
    table = pd.DataFrame(made).drop(columns="image").assign(source="field", **columns)
    return Ingested(
        photo_set=PhotoSet(Dataset.from_list(made, features=features)),
        photos=table,
        report=report_of(pd.DataFrame(rows(report_of_count)) if report_of_count else table),
        taxonomy=TAXONOMY,
        about="Photos of a field.",
    )


FREE = PublishingParams(licences={"field": "cc-by-4.0"})


_spec = importlib.util.spec_from_file_location(
    "forks", Path(__file__).parents[1] / "fork_server.py"
)
forks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(forks)


class HubProcesses:
    """Processes that have Kedro's and the hub's libraries loaded, and ask the hub of the tests.

    Where that is, is only looked at on import.
    """

    def __init__(self, server, env):
        self._server, self.env = server, env

    def start(self, command, **options):
        return self._server.start(command, env=self.env, **options)


@pytest.fixture(scope="session")
def hub_processes(hub, tmp_path_factory):
    """See `HubProcesses`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "HF_TOKEN": "hf_onlyForTests",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    libraries = (*forks.KEDRO, "huggingface_hub.hf_api")
    with pytest.MonkeyPatch.context() as patch, forks.ForkServer(libraries) as server:
        for name in os.environ.keys() - env.keys():
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        server.run(["-c", "pass"])  # the libraries are loaded, for this hub
        patch.undo()
        yield HubProcesses(server, env)


@pytest.fixture
def repo():
    """An id that no other test has."""
    return f"me/leaves-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def photos_at(repo):
    """Photos ready to be published as a version: `photos_at("1.0.0", count=12)`."""

    def make(version, count=12, params=FREE, public=False, findings=(), **columns):
        number = Version(*map(int, version.split(".")))
        target = Target(repo, "dataset", number, public)
        made = ingested(count, **columns)
        made.report["findings"].extend(findings)
        return PhotosToPublish(made, params, target)

    return make


@pytest.fixture
def published(hub_here, photos_at):
    """Publish photos as a version; gives what came of it: `published("1.0.0", count=12)`."""
    return lambda version, count=12, **options: publish_photos(photos_at(version, count, **options))
