"""Jobs on another machine by SSH: by a stand-in for the client, and by a real server."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.backends import ssh
from cannabis_ml.launchers.job import FolderPhotos

sys.path.insert(0, str(Path(__file__).parent))
from contract import Contract, Place, kill_group_of

CLIENT = """#!/bin/sh
# As OpenSSH's client: options, a host, and a command that the other shell gets as one text.
echo "$*" >> "$SSH_LOG"
while :; do
    case "$1" in
        -l) login="$2@"; shift 2 ;;  # as rsync asks for a user
        -o|-p|-i) shift 2 ;;
        -*) echo "unknown option $1" >&2; exit 255 ;;
        *) break ;;
    esac
done
host="$login$1"; shift
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
    monkeypatch.delenv("login", raising=False)
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


def path_without(program, folder):
    """A PATH of all programs but one: links in a folder."""
    folder.mkdir()
    for place in os.environ["PATH"].split(":"):
        for path in Path(place).glob("*"):
            with contextlib.suppress(FileExistsError):  # the first of a name is the one
                (folder / path.name).symlink_to(path)
    (folder / program).unlink()
    return str(folder)


class TestSsh(Contract):
    @pytest.fixture
    def jobs(self, tmp_path):
        return tmp_path / "home/.cannabis_ml/jobs"

    @pytest.fixture
    def place(self, client, jobs):
        yield place_of(open_backend("ssh", {"host": "grower@desk"}), jobs, client)
        end_jobs(jobs)

    @pytest.mark.parametrize("program", ["rsync", "tar"])
    def test_photos_of_a_folder_are_there(
        self, place, jobs, tmp_path, write_photo, monkeypatch, program
    ):
        """By `rsync` or, as where one of the machines has none, by `tar`."""
        if not shutil.which("rsync"):
            if program == "rsync":
                pytest.skip("no rsync is installed")
        elif program == "tar":
            monkeypatch.setenv("PATH", path_without("rsync", tmp_path / "without"))
        write_photo(tmp_path / "photos/leaf/1.jpg")
        write_photo(tmp_path / "photos/it's a bud/2.png")
        photos = FolderPhotos(path=str(tmp_path / "photos"), to="01_raw/all mine")
        (tmp_path / "package").touch()
        job = place.job("1", photos=photos)
        place.backend.check(job)
        remote = place.backend.submit(job, tmp_path / "package", {})
        data, here = jobs / remote / "data/01_raw/all mine", tmp_path / "photos"
        there = {path.relative_to(data): path.read_bytes() for path in data.rglob("*.*")}
        assert there == {path.relative_to(here): path.read_bytes() for path in here.rglob("*.*")}
        assert not list(data.parent.glob("*.part"))


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


class TestRealServer(TestSsh):
    """The same by OpenSSH's own client and server, where this machine has them."""

    @pytest.fixture
    def jobs(self, tmp_path):
        return tmp_path / "jobs"

    @pytest.fixture
    def place(self, server, jobs, monkeypatch):
        known = f"UserKnownHostsFile={server.folder / 'known'}"
        monkeypatch.setattr(ssh, "OPTIONS", (*ssh.OPTIONS, known))  # not those of this account
        settings = {**server.settings, "root": str(jobs)}
        yield place_of(open_backend("ssh", settings), jobs, server.folder / "log")
        end_jobs(jobs)


@dataclass
class Server:
    """A real server on this machine, with a key of its own, which logs every command."""

    folder: Path
    settings: dict


@pytest.fixture(scope="class")
def server(tmp_path_factory):
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd is installed")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(key, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPidFile {folder}/pid\nUsePAM no\n"
        f"LogLevel DEBUG3\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stderr=log)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    identity = str(folder / "user")
    host = f"{getpass.getuser()}@127.0.0.1"
    yield Server(folder, {"host": host, "port": port, "identity_file": identity})
    process.terminate()
    process.wait()
