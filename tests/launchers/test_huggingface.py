"""Jobs of the Hugging Face hub."""

import importlib.util
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.job import HubPhotos, Job, Machine

sys.path.insert(0, str(Path(__file__).parent))
from contract import SECRET, Contract, Place, check_photos_are_there_and_not_mirrored
from jobs_server import Jobs


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hub_server = _module(Path(__file__).parents[1] / "hub_server.py")

SMALL = Machine(cpus=2, memory_gb=8, minutes=20)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = hub_server.HubServer()
    hub.jobs = Jobs(hub, tmp_path / "provider")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    yield hub
    hub.jobs.close()
    hub.close()


@pytest.fixture
def backend(hub):
    return open_backend("huggingface", {})


class TestHuggingFace(Contract):
    @pytest.fixture
    def place(self, backend, hub, tmp_path):
        def preempt(remote):
            _, job_id, name = remote.split("/")
            kept = hub.jobs.buckets["me/cannabis-ml-jobs"] / name / "data/mirrored.json"
            hub.jobs.machine(job_id).preempt_once_kept(kept)

        def packages():
            sent = tmp_path / "sent"
            sent.mkdir(exist_ok=True)
            place = hub.repos["model", "me/cannabis-ml-jobs"]
            files = place.commits[place.branches["main"]]
            for name in [name for name in files if name.startswith("packages/")]:
                (sent / Path(name).name).write_bytes(files[name])
            return sorted(sent.iterdir())

        return Place(
            backend,
            preempt=preempt,
            wire=lambda: "\n".join(hub.requests).encode() + b"".join(hub.jobs.bodies),
            packages=packages,
            environment={"CANNABIS_ML_MIRROR_SECONDS": "0.2"},
            machine=SMALL,
            tells_attempts=False,
        )

    def test_what_the_hub_is_asked_for(self, place, counting, hub, tmp_path):
        machine = Machine(gpu="T4", cpus=4, memory_gb=15, minutes=90)
        job = place.job("1", machine=machine, attempts=3, secrets=("PLANT_TOKEN",))
        place.submit(counting, job, tmp_path, {"PLANT_TOKEN": SecretStr(SECRET)})
        (spec,) = hub.jobs.specs
        asked = (spec["flavor"], spec["timeoutSeconds"], spec["attempts"], spec["dockerImage"])
        assert asked == ("t4-small", 5400, 3, "python:3.12-slim")
        package, kept = spec["volumes"]
        repo = hub.repos["model", "me/cannabis-ml-jobs"]
        assert repo.private
        assert package == {
            "type": "model",
            "source": "me/cannabis-ml-jobs",
            "mountPath": "/job/package",
            "revision": repo.branches["main"],
            "readOnly": True,
        }
        assert kept == {
            "type": "bucket",
            "source": "me/cannabis-ml-jobs",
            "mountPath": "/job/kept",
        }
        assert spec["labels"] == {"name": job.name}

    def test_a_folder_of_photos_is_there_and_is_not_mirrored(self, place, counting, hub, tmp_path):
        check_photos_are_there_and_not_mirrored(
            place, counting, tmp_path, lambda: hub.jobs.buckets["me/cannabis-ml-jobs"]
        )

    def test_a_data_set_is_mounted_at_its_commit(self, place, counting, hub, tmp_path):
        commit = hub.put("me/leaves", {"data/train.parquet": b"PAR1 old"})
        hub.put("me/leaves", {"data/train.parquet": b"PAR1 new"})
        job = place.job("1", photos=HubPhotos(repo="me/leaves", commit=commit))
        remote = place.submit(counting, job, tmp_path)
        assert list(place.backend.logs(remote, 0))
        (spec,) = hub.jobs.specs
        volume = spec["volumes"][-1]
        assert volume["readOnly"]
        assert volume["mountPath"] == f"/job/data_sets/me/leaves/{commit}"
        assert spec["environment"]["CANNABIS_ML_DATA_SETS"] == "/job/data_sets"
        mounted = hub.jobs.machine(remote.split("/")[1]).path(volume["mountPath"])
        assert (mounted / "data/train.parquet").read_bytes() == b"PAR1 old"

    def test_a_job_that_takes_too_long_is_ended_by_the_hub(self, place, counting, hub, tmp_path):
        remote = place.submit(counting, place.job("100000"), tmp_path)
        hub.jobs.machine(remote.split("/")[1]).run_out_of_time()
        state = place.until(remote, "failed")
        assert state.message == "Job timeout"

    def test_what_is_public_gets_nothing(self, place, counting, hub, tmp_path):
        hub.put("me/cannabis-ml-jobs", {}, kind="model")
        with pytest.raises(LaunchError, match="cannabis-ml-jobs is public"):
            place.submit(counting, place.job("1"), tmp_path)
        assert hub.jobs.specs == []


def job_on(**machine):
    return Job(name="leaf", backend="huggingface", command=("run",), machine=Machine(**machine))


def test_prices_are_those_of_the_hub(backend, hub):
    price = backend.price(Machine(gpu="l4", cpus=4, memory_gb=16))
    assert (price.usd, price.what) == (pytest.approx(0.8, abs=1e-3), "l4x1")
    assert price.source.startswith("/api/jobs/hardware, 20")
    assert backend.price(Machine(cpus=2)).what == "cpu-basic"
    assert backend.price(Machine(gpu="L4", gpus=2, cpus=4)).what == "l4x4"


def test_prices_need_no_token(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert open_backend("huggingface", {}).price(Machine(gpu="T4")).what == "t4-small"


def test_where_the_hub_is_not_reached_the_table_counts(backend, hub, monkeypatch, caplog):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert backend.price(Machine(gpu="T4")) is None
    assert "launcher_prices.yml count" in caplog.text


def test_another_kind_is_taken_where_the_first_is_not_offered(backend):
    asked = Machine(gpu="B300", fallbacks=("A10G", "T4"), memory_gb=15)
    assert backend.price(asked).what == "a10g-small"


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        ({"spot": True}, "no spot machines"),
        ({"gpu": "T4", "memory_gb": 600}, r"no machine with 1 × T4, 4 CPUs, 600 GB.*t4-small"),
        ({"cpus": 200}, "no machine with no GPU, 200 CPUs"),
    ],
)
def test_what_the_hub_has_not_is_refused_before_anything_is_sent(backend, hub, machine, told):
    with pytest.raises(LaunchError, match=told):
        backend.check(job_on(**machine))
    assert not any(line.startswith("POST") for line in hub.requests)


def test_a_machine_may_be_named(hub):
    named = open_backend("huggingface", {"flavor": "l4x4"})
    assert named.price(Machine()).what == "l4x4"
    with pytest.raises(LaunchError, match=r"no machine 'x1'.*it has: cpu-basic, "):
        open_backend("huggingface", {"flavor": "x1"}).check(job_on())


def test_without_a_token_one_sentence_tells_how_to_get_one(backend, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(LaunchError, match="hf auth login"):
        backend.check(job_on())


def test_an_unknown_job_is_told_without_the_token(backend):
    with pytest.raises(LaunchError, match="Cannot ask the hub for job 00") as told:
        backend.state(f"me/{'0' * 24}/leaf")
    assert "hf_" not in str(told.value)


def test_results_that_are_not_there_are_told(hub, tmp_path):
    backend = open_backend("huggingface", {"flush_seconds": 0})
    (tmp_path / "provider/buckets/me/cannabis-ml-jobs").mkdir(parents=True)
    hub.jobs.buckets["me/cannabis-ml-jobs"] = tmp_path / "provider/buckets/me/cannabis-ml-jobs"
    with pytest.raises(LaunchError, match=r"leaf has left no result\.json"):
        backend.fetch(f"me/{'0' * 24}/leaf", tmp_path)
