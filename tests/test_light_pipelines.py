"""Pipelines that get photos ready, on a machine without a training framework."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "timm", "lightning", "tensorflow")

RUN = """
import json, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(Path.cwd())
with KedroSession.create(env="test") as session:
    session.run(pipeline_names=["data", "feedback"])

import cannabis_ml
print()
print(json.dumps({"ran": cannabis_ml.__file__, "modules": sorted(sys.modules)}))
"""

pytestmark = pytest.mark.slow


def test_getting_photos_ready_loads_no_training_framework(copy_project, tmp_path):
    project = copy_project(tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "DO_NOT_TRACK": "1", "COLUMNS": "140"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["ran"]).is_relative_to(project)
    assert list(project.glob("data/envs/test/03_primary/photos.parquet/*/photos.parquet"))
    assert list(project.glob("data/envs/test/08_reporting/feedback.html/*/feedback.html"))
    assert any(name.startswith("albumentations.") for name in told["modules"])
    assert [name for name in told["modules"] if name.partition(".")[0] in HEAVY] == []
