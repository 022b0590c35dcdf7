"""A project whose data lies in a bucket, as a person uses it."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from cannabis_ml._io.object_storage_clients import AzureStorage, GoogleStorage, S3Storage

pytestmark = pytest.mark.slow

FOLDER = "hemp/data"

# The tiniest: one tier, few photos, one epoch; what is measured and drawn is not looked at here.
TIERS = 'TIERS = (Tier("tier2", "laptop"),)\n'
TINY = {
    "globals.yml": "data: s3://hemp/data\nstorage: {credentials: bucket}\n",
    "parameters_training.yml": """
tier2:
  model: {backbone: test_efficientnet, image_size: 64, ensemble: 1, weights: [random]}
  schedule: {phases: [{name: heads, epochs: 1, learning_rate: 1.0e-3, train: heads}]}
reports: {threshold_photos: 1}
""",
    "parameters_export.yml": """
export:
  photos: 8
  agreement:
    {photos: 40, fewest: 40, min_same_decisions: 0, min_same_as_shipped: 0,
     max_mean_difference: 1, max_p99_difference: 1}
  max_accuracy_loss: {multiclass: 1, ordinal: 1, multilabel: 1}
  calibration_photos: 8
  latency: {photos: 1, repeats: 1, rounds: 1}
tier2:
  export: {quantizations: [dynamic_int8], page: []}
""",
}


def make_tiny(project, options):
    """One tier in `tiers.py`, data in the bucket, credentials where a person puts them."""
    for name, text in TINY.items():
        (project / "conf/test" / name).write_text(text)
    (project / "conf/local/credentials.yml").write_text(f"bucket: {json.dumps(options)}")
    tiers = project / "src/cannabis_ml/tiers.py"
    before, _, after = tiers.read_text().partition("TIERS = (\n")
    tiers.write_text(before + TIERS + after.partition("\n)\n")[2])
    return project


@pytest.fixture
def project(copy_project, tmp_path):
    return copy_project(tmp_path / "project")


def local_files(project):
    """Below `data`, without copies, what MLflow keeps, and the files that are in git."""
    found = (path.relative_to(project / "data") for path in (project / "data").rglob("*"))
    kept = (path for path in found if path.parts[0] not in ("cache", "09_tracking"))
    return [path for path in kept if (project / "data" / path).is_file() and path.name[0] != "."]


def test_a_whole_run_in_s3(s3, kedro, project, copy_project, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    make_tiny(project, {**s3.options, "client_kwargs": {"region_name": "us-east-1"}})
    done = kedro(project, "run", "--env", "test")
    printed = done.stdout + done.stderr
    assert "s3://hemp/data/06_models/bundle" in printed
    assert local_files(project) == []

    fs = S3Storage(**s3.options, skip_instance_cache=True)
    files = fs.find(FOLDER)
    assert not [path for path in files if path.endswith(".part")]
    for entry in ("05_model_input/photo_set", "06_models/tier2/checkpoint.safetensors"):
        assert any(path.startswith(f"{FOLDER}/{entry}/") for path in files)
    assert any(path.startswith(f"{FOLDER}/06_models/tier2/workspace/runs/") for path in files)
    assert f"{FOLDER}/03_primary/split_ledger.parquet" in files

    other = copy_project(tmp_path / "other")  # another machine: nothing but the configuration
    make_tiny(other, s3.options)
    shown = kedro(other, "champion", "--env", "test").stdout
    assert "In production: s3://hemp/data/06_models/champion/bundle.zip" in shown

    from cannabis_ml.inference.bundle import Bundle

    fs.get_file(f"{FOLDER}/06_models/champion/bundle.zip", str(tmp_path / "bundle.zip"))
    assert Bundle.open(tmp_path / "bundle.zip").check_golden().passed

    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        ((status,),) = db.execute("SELECT status FROM runs").fetchall()
    assert status == "FINISHED"
    secret = s3.options["secret"]
    assert secret not in printed
    for folder in (project, other):
        for path in (folder / "data").rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert not any(secret.encode() in fs.cat_file(path) for path in files)


def test_photos_are_made_ready_in_google_cloud_storage(gcs, kedro, project, monkeypatch):
    """With the address of `--params` and credentials of the environment."""
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    command = ("run", "--env", "test", "--pipelines", "data", "--params", f"data=gs://{FOLDER}")
    kedro(project, *command)
    fs = GoogleStorage(**gcs.options, skip_instance_cache=True)
    assert len(fs.glob(f"{FOLDER}/05_model_input/photo_set/*/photo_set/state.json")) == 1
    assert f"{FOLDER}/03_primary/split_ledger.parquet" in fs.find(FOLDER)
    assert local_files(project) == []


def test_photos_are_made_ready_in_azure_blob_storage(azurite, kedro, project):
    """With credentials.yml; and what a killed upload left is pruned a day later."""
    root = f"hemp/{uuid4().hex}"
    (project / "conf/local/credentials.yml").write_text(f"bucket: {json.dumps(azurite)}")
    globals_file = project / "conf/test/globals.yml"
    globals_file.write_text(f"data: az://{root}\nstorage: {{credentials: bucket}}\n")
    kedro(project, "run", "--env", "test", "--pipelines", "data")
    fs = AzureStorage(**azurite, skip_instance_cache=True)
    files = fs.find(root)
    assert len(fs.glob(f"{root}/05_model_input/photo_set/*/photo_set/state.json")) == 1
    assert f"{root}/03_primary/split_ledger.parquet" in files
    assert not [path for path in files if path.endswith(".part")]
    assert local_files(project) == []

    fs._arrow.open_output_stream(f"{root}/06_models/x.0a1b2c3d.part").close()
    printed = kedro(project, "prune", "--keep=1", "--env=test").stdout
    assert "never ended" not in printed  # it may be going on
    constant = project / "src/cannabis_ml/photo_sets/mirror.py"
    constant.write_text(
        constant.read_text().replace("UPLOAD_SECONDS = 86_400", "UPLOAD_SECONDS = -60")
    )
    printed = kedro(project, "prune", "--keep=1", "--env=test").stdout
    assert "1 upload that never ended" in printed
    assert not fs.exists(f"{root}/06_models/x.0a1b2c3d.part")


def test_a_wrong_bucket_ends_the_run_before_its_first_node(s3, kedro, project, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    done = kedro(project, "run", "--env", "test", "--params", "data=s3://hmep/data", check=False)
    assert done.returncode == 1
    assert "Error: There is no bucket s3://hmep" in done.stderr
    assert "Running node" not in done.stdout
    assert "Traceback" not in done.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    assert not list(Path(project, "data").rglob("labels.csv"))
