"""Killed at any moment, ingestion is run again and ends as if nothing had happened."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
KILLS = 5
VERSION = re.compile(r"(?<=/)\d{4}-\d\d-\d\dT[^/]+/")

RUN = """
import sys
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.pipelines.ingestion import create_pipeline
from kedro.validation.type_extractor import TypeExtractor

pipeline = create_pipeline()
loader = OmegaConfigLoader(conf_source=sys.argv[1], base_env="base", default_run_env="base")
catalog = DataCatalog.from_config(loader["catalog"])
catalog["source_photos"] = SourcePhotosDataset(source={"kind": "folder", "path": sys.argv[2]})
parameters = loader["parameters"]
parameters["taxonomy"] = {"heads": [{"name": "label", "classes": "derived"}]}
for name, kind in TypeExtractor({"all": pipeline}).extract_types_from_pipelines().items():
    value = parameters
    for part in name.split("."):
        value = value[part]
    catalog[f"params:{name}"] = MemoryDataset(kind(**value))
print("started", flush=True)
SequentialRunner().run(pipeline, catalog)
"""


@pytest.fixture
def start(processes, tmp_path, draw, write_photo):
    """Start ingestion in a folder of its own, over photos that take a while to store."""
    photos = tmp_path / "photos"
    for i in range(150):
        write_photo(photos / "ab"[i % 2] / f"{i}.png", i, width=500, height=400)
    write_photo(photos / "a" / "again.png", 0, width=500, height=400)
    (photos / "b" / "empty.png").touch()

    def start(folder):
        folder.mkdir(exist_ok=True)
        process = processes.start(["-c", RUN, PROJECT / "conf", photos], cwd=folder)
        process.wait_for("started")
        return process

    return start


def finish(process):
    done = process.wait()
    assert done.returncode == 0, done.stdout + done.stderr


def results(folder):
    """Every file by its place, of versioned ones the newest."""
    found = {}
    for path in sorted((folder / "data").rglob("*")):
        if path.is_file():
            place = path.relative_to(folder).as_posix()
            found[VERSION.sub("", place)] = path.read_bytes()
    return found


@pytest.mark.slow
def test_killed_at_any_moment(start, tmp_path):
    began = time.monotonic()
    finish(start(tmp_path / "undisturbed"))
    seconds = time.monotonic() - began
    expected = results(tmp_path / "undisturbed")
    assert any(name.endswith(".arrow") for name in expected)
    assert "data/08_reporting/ingestion.html/ingestion.html" in expected

    moments = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        try:
            process.wait(moments.uniform(0, seconds / 2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    finish(start(tmp_path / "killed"))
    found = results(tmp_path / "killed")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
