"""Jobs on another machine by SSH: by a stand-in for the client, and by a real server."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.job import FolderPhotos

sys.path.insert(0, str(Path(__file__).parent))
from contract import Contract, Place, kill_group_of

CLIENT = """#!/bin/sh
# As OpenSSH's client: options, a host, and a command that the other shell gets as one text.
echo "$*" >> "$SSH_LOG"
while :; do
    case "$1" in
        -o|-p|-i) shift 2 ;;
        -*) echo "unknown option $1" >&2; exit 255 ;;
        *) break ;;
    esac
done
host="$1"; shift
[ "$host" = grower@desk ] || { echo "ssh: Could not resolve hostname $host" >&2; exit 255; }
cd "$SSH_HOME" && exec env -i HOME="$SSH_HOME" PATH="$SSH_PATH" sh -c "$*"
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    """`ssh` on PATH; its log of arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    program = tmp_path / "bin/ssh"
    program.write_text(CLIENT)
    program.chmod(0o755)
    monkeypatch.setenv("SSH_PATH", os.environ["PATH"])
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "ssh.log"))
    return tmp_path / "ssh.log"


def place_of(backend, jobs, log):
    return Place(
        backend,
        preempt=lambda job: kill_group_of(int((jobs / job / "pid").read_text())),
        wire=lambda: b"".join(p.read_bytes() for p in [*jobs.glob("*/*"), log] if p.is_file()),
        packages=lambda: list(jobs.glob("*/package.tar.gz")),
    )


def end_jobs(jobs):
    for pid in jobs.glob("*/supervisor"):
        if not (pid.parent / "exit_code").exists():
            kill_group_of(int(pid.read_text()))


class TestSsh(Contract):
    @pytest.fixture
    def place(self, client, tmp_path):
        jobs = tmp_path / "home/.cannabis_ml/jobs"
        yield place_of(open_backend("ssh", {"host": "grower@desk"}), jobs, client)
        end_jobs(jobs)

    def test_photos_of_a_folder_are_there(self, place, counting, tmp_path, write_photo):
        write_photo(tmp_path / "photos/leaf/1.jpg")
        write_photo(tmp_path / "photos/it's a bud/2.png")
        photos = FolderPhotos(path=str(tmp_path / "photos"), to="01_raw/mine")
        remote = place.submit(counting, place.job("1", photos=photos), tmp_path)
        data = tmp_path / f"home/.cannabis_ml/jobs/{remote}/data/01_raw/mine"
        for name in ("leaf/1.jpg", "it's a bud/2.png"):
            assert (data / name).read_bytes() == (tmp_path / "photos" / name).read_bytes()


def test_a_machine_that_is_not_there_is_named(client):
    backend = open_backend("ssh", {"host": "nobody@nowhere"})
    with pytest.raises(LaunchError, match=r"nobody@nowhere cannot be reached by ssh.*resolve"):
        backend.state("job")


def test_an_unknown_job_is_named(client):
    with pytest.raises(LaunchError, match=r"grower@desk: There is no job other in .*jobs"):
        open_backend("ssh", {"host": "grower@desk"}).state("other")


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "a b", ""])
def test_a_host_that_ssh_would_take_for_an_option_is_refused(host):
    with pytest.raises(LaunchError, match=r"launcher.yml, backends.ssh: host"):
        open_backend("ssh", {"host": host})


@pytest.fixture
def server(tmp_path):
    """A real server on this machine, with a key of its own; its settings."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd is installed")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nStrictModes no\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\nPidFile {tmp_path}/pid\nUsePAM no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "config"])
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert process.poll() is None
        time.sleep(0.05)
    yield {
        "host": f"{getpass.getuser()}@127.0.0.1",
        "port": port,
        "identity_file": str(tmp_path / "user"),
        "root": str(tmp_path / "jobs"),
    }
    process.terminate()
    process.wait()


def test_a_real_server_runs_a_job(server, tmp_path, monkeypatch):
    from contract import COUNT, private_project

    (tmp_path / "client").write_text(
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    )
    monkeypatch.setattr(
        "cannabis_ml.launchers.backends.ssh.OPTIONS",
        ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"),
    )
    (tmp_path / "project").mkdir()
    project = private_project(tmp_path / "project")
    (project / "src/cannabis_ml/__main__.py").write_text(COUNT)
    place = place_of(open_backend("ssh", server), tmp_path / "jobs", tmp_path / "client")
    remote = place.submit(project, place.job("3"), tmp_path)
    assert "line 2" in list(place.backend.logs(remote, 0))
    assert place.home(remote, tmp_path)[0]["exit_code"] == 0
    end_jobs(tmp_path / "jobs")
