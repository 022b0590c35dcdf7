"""Jobs at Modal."""

import dataclasses
import hashlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("modal")
sys.path.insert(0, str(Path(__file__).parent))
from contract import PROJECT, SECRET, Contract, Place, check_photos_are_there_and_not_mirrored
from modal_proto import api_pb2
from modal_server import ModalServer

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.job import Job, Machine

LOCKS = ("requirements.lock", "requirements-tflite.lock")
QUICK = {"poll_seconds": 0.1, "commit_seconds": 1}


@pytest.fixture(scope="session")  # a test process comes back to a module
def server(tmp_path_factory):
    """One for all: the client of a process remembers where its server is."""
    server = ModalServer(tmp_path_factory.mktemp("modal"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODAL_SERVER_URL", server.url)
        patch.setenv("MODAL_TOKEN_ID", "ak-1")
        patch.setenv("MODAL_TOKEN_SECRET", "as-1")
        yield server
    server.close()


@pytest.fixture
def modal(server):
    server.service.forget()
    return server.service


class TestModal(Contract):
    @pytest.fixture
    def place(self, modal, tmp_path):
        def preempt(remote):
            call, name = remote.split("/")
            kept = modal.volumes["cannabis-ml-jobs"] / name / "data/mirrored.json"
            modal.calls[call].preempt_once_kept(kept)

        def packages():
            (tmp_path / "sent").mkdir(exist_ok=True)
            for files in modal.mounts.values():
                for name, sha256 in files.items():
                    if name == "/job/package.tar.gz":
                        (tmp_path / "sent" / sha256).write_bytes(modal.files[sha256])
            return list((tmp_path / "sent").iterdir())

        return Place(
            open_backend("modal", QUICK),
            preempt=preempt,
            wire=modal.wire,
            packages=packages,
            environment={"CANNABIS_ML_MIRROR_SECONDS": "0.2"},
            tells_attempts=False,
        )

    def test_what_modal_is_asked_for(self, place, counting, modal, tmp_path):
        machine = Machine(gpu="T4", fallbacks=("A10G",), gpus=2, cpus=8, memory_gb=32, minutes=90)
        place.submit(counting, place.job("1", machine=machine, attempts=3), tmp_path)
        asked = modal.asked(api_pb2.FunctionCreateRequest).function_data
        assert asked.timeout_secs == 90 * 60
        first, second = [one.function for one in asked.ranked_functions]
        for function, gpu in ((first, "T4"), (second, "A10")):
            resources = function.resources
            assert (resources.gpu_config.gpu_type, resources.gpu_config.count) == (gpu, 2)
            assert (resources.milli_cpu, resources.memory_mb) == (4000, 32 * 1024)
            assert function.retry_policy.retries == 2
            assert function.single_use_containers
            (volume,) = function.volume_mounts
            assert (volume.mount_path, volume.allow_background_commits) == ("/job/kept", True)
        app = modal.asked(api_pb2.AppCreateRequest)
        assert app.app_state == api_pb2.APP_STATE_DETACHED

    def test_the_image_is_made_from_the_lock_and_the_package_comes_last(
        self, place, counting, modal, tmp_path
    ):
        job = place.job("1")
        variables = {k: v for k, v in job.environment.items() if k != "CANNABIS_ML_PYTHON"}
        remote = place.submit(counting, job.model_copy(update={"environment": variables}), tmp_path)
        layers = [r.image for r in modal.requests if isinstance(r, api_pb2.ImageGetOrCreateRequest)]
        files = {f.filename: f.data for layer in layers for f in layer.context_files}
        locks = {name: (PROJECT / name).read_bytes() for name in LOCKS}
        assert files == {f"/.0_{name}": data for name, data in locks.items()}
        commands = "\n".join(command for layer in layers for command in layer.dockerfile_commands)
        assert "FROM python:3.12-slim" in commands
        assert commands.count("uv pip install") == 2
        sent = {name for files in modal.mounts.values() for name in files}
        assert sent == {"/job/package.tar.gz", "/root/modal_entry.py"}
        # And `python` of the image runs the job.
        assert "line 0" in list(place.backend.logs(remote, 0))

    def test_a_folder_of_photos_is_there_and_is_not_mirrored(
        self, place, counting, modal, tmp_path
    ):
        check_photos_are_there_and_not_mirrored(
            place, counting, tmp_path, lambda: modal.volumes["cannabis-ml-jobs"]
        )

    def test_a_secret_of_modal_is_used_by_its_name(self, place, counting, modal, tmp_path):
        backend = open_backend("modal", QUICK | {"secrets": {"plants": ["PLANT_TOKEN"]}})
        place = dataclasses.replace(place, backend=backend)
        job = place.job("1")
        with pytest.raises(LaunchError, match="PLANT_TOKEN"):
            place.submit(counting, job, tmp_path)
        modal.named_secrets["plants"] = {"PLANT_TOKEN": SECRET}
        remote = place.submit(counting, job, tmp_path)
        expected = hashlib.sha256(SECRET.encode()).hexdigest()
        assert f"secret {expected}" in list(backend.logs(remote, 0))

    def test_a_warning_before_the_machine_is_taken_saves_what_there_is(
        self, place, counting, modal, tmp_path
    ):
        job = place.job("100000", environment={"CANNABIS_ML_MIRROR_SECONDS": "3600"})
        remote = place.submit(counting, job, tmp_path)
        logs = place.backend.logs(remote, 0)
        assert "line 5" in logs
        modal.calls[remote.split("/")[0]].preempt(signal.SIGINT)
        assert "told to end" in logs
        (went_on,) = itertools.islice((line for line in logs if "went on" in line), 1)
        assert int(went_on.rpartition(" ")[2]) >= 5
        place.backend.cancel(remote)
        place.until(remote, "cancelled")

    def test_a_job_that_takes_too_long_is_ended_by_modal(self, place, counting, modal, tmp_path):
        remote = place.submit(counting, place.job("100000"), tmp_path)
        modal.calls[remote.split("/")[0]].run_out_of_time()
        assert "time-out" in place.until(remote, "failed").message

    def test_a_job_that_is_killed_each_time_fails(self, place, counting, modal, tmp_path):
        killed = place.job("1", environment={"CANNABIS_ML_PYTHON": str(tmp_path / "killed")})
        (tmp_path / "killed").write_text("#!/bin/sh\nkill -9 $$\n")
        (tmp_path / "killed").chmod(0o755)
        remote = place.submit(counting, killed, tmp_path)
        state = place.until(remote, "failed")
        assert "ended by signal 9" in state.message
        with pytest.raises(LaunchError, match=r"left no result\.json"):
            place.home(remote, tmp_path)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"machine": Machine(minutes=1500)}, "at most 1440"),
        ({"attempts": 12}, "at most 11 times"),
    ],
)
def test_what_modal_cannot_do_is_refused(job, told):
    backend = open_backend("modal", {})
    with pytest.raises(LaunchError, match=told):
        backend.check(Job(name="leaf", backend="modal", command=("run",), **job))


def test_without_credentials_one_sentence_tells_how_to_get_them(tmp_path):
    """In a process of its own: a client remembers its credentials."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
    variables["MODAL_CONFIG_PATH"] = str(tmp_path / "none.toml")
    code = (
        "from cannabis_ml.launchers.backend import open_backend\n"
        "open_backend('modal', {}).state('fc-1/leaf')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False
    )
    assert "LaunchError: Modal does not know you: run `modal token new`" in done.stderr


def test_without_the_extra_one_sentence_tells_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "cannabis_ml.launchers.backends.modal", raising=False)
    monkeypatch.setitem(sys.modules, "modal", None)
    with pytest.raises(LaunchError, match=r"pip install 'cannabis_ml\[modal\]'"):
        open_backend("modal", {})
