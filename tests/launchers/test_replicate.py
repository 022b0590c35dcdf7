"""Jobs on Replicate."""

import sys
from pathlib import Path

import pytest
import requests
import yaml

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.backends.replicate import ReplicateBackend
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine

sys.path.insert(0, str(Path(__file__).parent))
from contract import TRAINING, Contract, Place
from replicate_server import REPOSITORY, Replicate


@pytest.fixture
def replicate(tmp_path, monkeypatch):
    replicate = Replicate(tmp_path / "replicate")
    monkeypatch.setenv("REPLICATE_API_TOKEN", replicate.token)
    yield replicate
    replicate.close()


@pytest.fixture
def settings(replicate):
    return {
        "trainer": "me/trainer",
        "destination": "me/models",
        "hardware": "cpu",
        "poll_seconds": 0.2,
        "address": replicate.address,
    }


class TestReplicate(Contract):
    @pytest.fixture
    def place(self, replicate, settings, tmp_path):
        def packages():
            for name, data in replicate.files.items():
                (tmp_path / f"{name}.sent").write_bytes(data)
            return list(tmp_path.glob("*.sent"))

        return Place(
            open_backend("replicate", settings),
            preempt=replicate.lose_machine,
            wire=lambda: b"\n".join(replicate.sent),
            packages=packages,
            can_end_softly=False,
        )

    @pytest.mark.slow
    def test_a_training_that_was_preempted_resumes_and_comes_home(self, place, project, tmp_path):
        """It does not resume: Replicate keeps no disk. It comes home where nothing happens."""
        remote = place.submit(project, place.job(*TRAINING), tmp_path)
        lines = list(place.backend.logs(remote, 0))
        assert place.backend.state(remote).phase == "succeeded", "\n".join(lines[-40:])
        result, files = place.home(remote, tmp_path)
        assert (result["exit_code"], result["stopped"], result["attempts"]) == (0, None, 1)
        names = [name.rpartition("/")[2] for name in files]
        assert names.count("mlflow.db") == 1
        assert any(name.startswith("envs/test/06_models/tier3/checkpoint") for name in files)

    def test_a_lost_machine_costs_the_training(self, place, counting, tmp_path):
        remote = place.submit(counting, place.job("100000", attempts=3), tmp_path)
        for line in place.backend.logs(remote, 0):
            if line == "line 5":
                place.preempt(remote)
        state = place.backend.state(remote)
        assert (state.phase, state.message, state.attempt) == ("failed", "The machine was lost.", 1)
        with pytest.raises(LaunchError, match="Replicate keeps nothing of a training"):
            place.backend.fetch(remote, tmp_path)

    def test_the_trainer_ends_a_job_that_does_not_end_itself(self, place, replicate):
        replicate.files["1"] = b""
        asked = {
            "package": f"{replicate.address}/v1/files/1",
            "start": "echo begun; sleep 1000",
            "variables": "{}",
            "seconds": 1,
            "secrets": "{}",
        }
        told = requests.post(
            f"{replicate.address}/v1/models/me/trainer/versions/{'1' * 64}/trainings",
            json={"destination": "me/models", "input": asked},
            headers={"Authorization": f"Bearer {replicate.token}"},
        ).json()
        assert "begun" in list(place.backend.logs(told["id"], 0))
        state = place.backend.state(told["id"])
        assert state.phase == "failed"
        assert "exit code -15 before it could write results" in state.message

    def test_it_is_told_how_long_a_job_may_take(self, place, counting, tmp_path, replicate):
        job = place.job("1")
        remote = place.submit(counting, job, tmp_path)
        assert replicate.trainings[remote][0]["input"]["seconds"] == job.seconds_allowed == 1200

    def test_the_newest_version_of_the_trainer_is_taken(self, place, counting, tmp_path, replicate):
        remote = place.submit(counting, place.job("1"), tmp_path)
        assert replicate.trainings[remote][0]["version"] == "1" * 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": Machine(gpu="T4")}, "me/trainer has one CPU machine, not 1 × T4"),
        ({"machine": Machine(spot=True)}, "Replicate has no spot machines"),
        ({"photos": FolderPhotos(path="/photos", to="01_raw/photos")}, "publish photos"),
    ],
)
def test_what_replicate_cannot_do_is_refused(change, message, settings):
    job = Job(name="leaf", backend="replicate", command=("run",), **change)
    with pytest.raises(LaunchError, match=message):
        open_backend("replicate", settings).check(job)


def test_a_trainer_that_was_not_pushed_is_told(settings, replicate, tmp_path):
    backend = open_backend("replicate", settings | {"trainer": "me/models"})
    package = tmp_path / "package.tar.gz"
    package.write_bytes(b"")
    with pytest.raises(LaunchError, match=r"has no version: cd deploy/replicate && cog push"):
        backend.submit(Job(name="leaf", backend="replicate", command=("run",)), package, {})


def test_without_a_token_one_sentence_tells_what_to_do(settings, monkeypatch):
    monkeypatch.delenv("REPLICATE_API_TOKEN")
    with pytest.raises(LaunchError, match="set REPLICATE_API_TOKEN"):
        open_backend("replicate", settings).state("1")


def test_what_replicate_refuses_is_told_in_a_sentence(settings, replicate):
    with pytest.raises(LaunchError, match="404 The requested resource could not be found"):
        open_backend("replicate", settings).state("1")


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.replicate.com/v1/files/1", True),
        ("https://replicate.delivery/x/results.tar", True),
        ("https://storage.example.org/replicate.com/results.tar", False),
        ("https://notreplicate.com/results.tar", False),
    ],
)
def test_the_token_goes_to_replicate_alone(url, own):
    backend = ReplicateBackend({"trainer": "a/b", "destination": "a/c", "hardware": "cpu"})
    assert backend._is_own(url) is own


def test_the_image_contains_nothing_of_the_project():
    assert {path.name for path in REPOSITORY.iterdir()} == {"cog.yaml", "train.py"}
    assert yaml.safe_load((REPOSITORY / "cog.yaml").read_text())["train"] == "train.py:train"
