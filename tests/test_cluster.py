"""Two machines, told apart by network namespaces, make the photo set that one machine makes."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from kedro.io import Version

from cannabis_ml.datasets.augmented import AugmentedPhotosDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset

pytestmark = pytest.mark.slow

NODE = Path(__file__).with_name("dask_node.py")


STORED = {"photo_set": PhotoSetDataset, "augmented_photos": AugmentedPhotosDataset}

NODES = "ingestion.store_photos,ingestion.check_division,augmentation.augment_photos"
"""The last nodes that use the cluster."""

TRACKING = "data/09_tracking/mlflow.db"


@pytest.fixture(scope="module")
def made(copy_project, tmp_path_factory, processes, photos_ready, two_nodes):
    """Make sets of photos from the first node, on a cluster: `made(name, scheduler)`."""

    def made(name, scheduler):
        project = copy_project(tmp_path_factory.mktemp(name) / "project")
        (project / TRACKING).parent.mkdir(parents=True)
        shutil.copy(photos_ready[0] / TRACKING, project / TRACKING)  # seconds to make anew
        command = ["kedro", "run", "--env", "test", "--to-nodes", NODES]
        command += ["--params", f"engine.dask={scheduler},engine.chunk=8"]
        done = processes.run(
            [NODE, "run", "--namespace", two_nodes[0][1], "--", *command],
            cwd=project,
            env={**os.environ, "DO_NOT_TRACK": "1"},
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return content(project)

    return made


def content(project):
    """Fingerprints of the sets, and a hash of all stored photos."""
    found = {}
    for name, kind in STORED.items():
        folder = project / "data/envs/test/05_model_input" / name
        (index,) = folder.glob(f"*/{name}")
        photos = kind(filepath=str(folder), version=Version(index.parent.name, None)).load()
        digest = hashlib.sha256()
        for row in range(len(photos)):
            digest.update(photos.stored(row))
        found[name] = len(photos), photos.fingerprint, digest.hexdigest()
    return found


def test_two_machines_make_what_one_makes(made, photos_ready, dask_cluster, two_nodes):
    alone = content(photos_ready[0])
    assert alone["photo_set"][0] > 50
    with dask_cluster(two_nodes) as cluster:
        cluster.add_worker(at=0)
        cluster.add_worker(at=1)
        assert made("two", cluster.address) == alone


def test_a_machine_that_is_killed_in_the_middle_costs_nothing_but_time(
    made, photos_ready, dask_cluster, two_nodes
):
    with dask_cluster(two_nodes) as cluster:
        cluster.add_worker(at=0)
        killed = cluster.add_worker(at=1, dies_in_task=3)
        assert made("one_killed", cluster.address) == content(photos_ready[0])
        assert killed.wait().returncode == -9
