"""Jobs on Vertex AI."""

import sys
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.backends.containers import DRIVER
from cannabis_ml.launchers.backends.offers import smallest
from cannabis_ml.launchers.backends.vertex import (
    ACCELERATORS,
    OFFERS,
    VertexSettings,
    custom_job,
)
from cannabis_ml.launchers.job import Job, Machine

sys.path.insert(0, str(Path(__file__).parent))
from contract import Place, RestartingContract, photos_of, send_photos
from vertex_schema import problems
from vertex_server import PAGE, GoogleCloud


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    cloud = GoogleCloud(tmp_path / "cloud")
    key = cloud.key_file(tmp_path / "key.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    yield cloud
    cloud.close()


@pytest.fixture
def settings(cloud):
    return {
        "project": "project",
        "bucket": "bucket",
        "poll_seconds": 0.2,
        "addresses": cloud.addresses,
    }


class TestVertex(RestartingContract):
    @pytest.fixture
    def place(self, cloud, settings):
        return Place(
            open_backend("vertex", settings),
            preempt=cloud.preempt,
            wire=lambda: b"\n".join(cloud.sent),
            packages=lambda: list(cloud.buckets.glob("bucket/cannabis-ml/*/*.tar.gz")),
            environment={"CANNABIS_ML_MIRROR_SECONDS": "0"},
        )

    def test_photos_of_a_folder_are_sent_once_and_are_there(self, place, counting, tmp_path, cloud):
        folder, photos = send_photos(place, counting, tmp_path, PAGE + 1)
        (link,) = cloud.folder.glob("job1/disk/tmp/cannabis-ml/data/01_raw/photos")
        assert photos_of(link) == photos_of(folder)
        (folder / "0/leaf one.jpg").unlink()
        (folder / "1/leaf one.jpg").write_bytes(b"another")
        cloud.sent.clear()
        place.submit(counting, place.job("1", photos=photos), tmp_path)
        asked = [sent.split(b"\n")[0].split() for sent in cloud.sent]
        methods = [method for method, url in asked if b"photos" in url]
        assert methods == [b"GET", b"GET", b"POST", b"DELETE"]  # the list has two pages
        assert not (link / "0/leaf one.jpg").exists()


@pytest.mark.parametrize("gpu", [None, *ACCELERATORS])
@pytest.mark.parametrize("spot", [True, False])
def test_a_job_is_what_vertex_takes(gpu, spot):
    machine = Machine(gpu=gpu, spot=spot, minutes=90, disk_gb=200)
    job = Job(name="leaf", backend="vertex", command=("run",), machine=machine, attempts=2)
    settings = VertexSettings(project="p", bucket="b", service_account="a@p")
    sent = custom_job(job, ["sh"], {"A": "b"}, settings)
    assert problems(sent) == []
    spec = sent["jobSpec"]
    assert spec["scheduling"] == {
        "timeout": "5400s",
        "strategy": "SPOT" if spot else "STANDARD",
        "restartJobOnWorkerRestart": True,
        "disableRetries": False,
    }
    (pool,) = spec["workerPoolSpecs"]
    assert pool["diskSpec"] == {"bootDiskSizeGb": 200}
    assert pool["machineSpec"].get("acceleratorType") == ACCELERATORS.get(gpu)


@pytest.mark.parametrize("gpu", [None, "T4"])
def test_a_container_with_a_gpu_gets_its_driver(gpu, cloud, settings, tmp_path):
    backend = open_backend("vertex", settings)
    machine = Machine(gpu=gpu)
    job = Job(name="leaf", backend="vertex", command=("run",), machine=machine)
    package = tmp_path / "package.tar.gz"
    package.write_bytes(b"")
    sent, *_ = cloud.jobs[backend.submit(job, package, {})]
    variables = sent["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"]
    assert (set(DRIVER) <= {one["name"] for one in variables}) == bool(gpu)


def test_the_smallest_machine_with_the_gpu_is_taken():
    machine = Machine(gpu="L4", gpus=2, cpus=4, memory_gb=16)
    assert smallest(machine, OFFERS, "Vertex AI").name == "g2-standard-24"
    large = Machine(gpu="T4", cpus=8, memory_gb=50)
    assert smallest(large, OFFERS, "Vertex AI").name == "n1-highmem-8"
    other = Machine(gpu="A10", fallbacks=("L4",))
    assert smallest(other, OFFERS, "Vertex AI").name == "g2-standard-4"


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (Machine(gpu="A10", fallbacks=("K80",)), "Vertex AI has no A10 and no K80; it has A100, "),
        (Machine(gpu="T4", gpus=8), "no machine with 8 × T4, 4 CPUs and 16 GB; the largest"),
    ],
)
def test_a_machine_that_there_is_not_is_refused(machine, message, cloud, settings):
    backend = open_backend("vertex", settings)
    job = Job(name="leaf", backend="vertex", command=("run",), machine=machine)
    with pytest.raises(LaunchError, match=message):
        backend.check(job)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda job: job.update(jobspec={}), 'Unknown name "jobspec"'),
        (lambda job: job["jobSpec"]["scheduling"].update(strategy="CHEAP"), "'CHEAP' is not"),
        (lambda job: job["jobSpec"]["scheduling"].update(timeout=60), "60 is not a duration"),
        (lambda job: job.pop("displayName"), "displayName is required"),
        (lambda job: job["jobSpec"].update(workerPoolSpecs=[]), "workerPoolSpecs is required"),
    ],
)
def test_the_stand_in_refuses_what_vertex_would(change, problem):
    job = Job(name="leaf", backend="vertex", command=("run",))
    sent = custom_job(job, ["sh"], {}, VertexSettings(project="p", bucket="b"))
    change(sent)
    assert any(problem in found for found in problems(sent))


def test_without_credentials_one_sentence_tells_what_to_do(settings, monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(LaunchError, match="gcloud auth application-default login"):
        open_backend("vertex", settings)


def test_what_google_refuses_is_told_in_a_sentence(cloud, settings):
    backend = open_backend("vertex", settings)
    with pytest.raises(LaunchError, match=r"404 The CustomJob .* does not exist"):
        backend.state("projects/project/locations/us-central1/customJobs/7")
