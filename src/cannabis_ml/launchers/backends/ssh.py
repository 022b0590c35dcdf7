"""Jobs on a machine that is reached by SSH, such as the one under somebody's desk.

Needs OpenSSH's client here, and on the machine a POSIX shell and Python 3.11 or newer. Everything
goes through `ssh`, with the keys and settings of one's own `~/.ssh/config`; scripts go through its
standard input, so that no list of processes shows a secret.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.backends.shell import ShellBackend
from cannabis_ml.launchers.job import Job

NOT_REACHED = 255
"""Exit code of `ssh` where it has no connection."""

OPTIONS = ("BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4")


class SshSettings(BaseModel):
    """`backends.ssh` of launcher.yml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(pattern=r"^[^-\s]\S*$", description="As `ssh` takes it: user@name")
    port: int | None = Field(default=None, ge=1, le=65535)
    identity_file: str | None = Field(default=None, description="Path of a private key")
    root: str = Field(default="~/.cannabis_ml/jobs", description="Folder there, for all jobs")


class SshBackend(ShellBackend):
    """Jobs in the background of another machine."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = SshSettings.model_validate(dict(settings))
        super().__init__("ssh", _Ssh(self.settings), self.settings.root)

    def check(self, job: Job) -> None:
        """Also refuse where there is no client."""
        if shutil.which("ssh") is None:
            raise LaunchError("There is no `ssh` on this machine: install OpenSSH's client.")
        super().check(job)


class _Ssh:
    def __init__(self, settings: SshSettings) -> None:
        self._host = settings.host
        self._command = ["ssh", *(part for option in OPTIONS for part in ("-o", option))]
        if settings.port is not None:
            self._command += ["-p", str(settings.port)]
        if settings.identity_file is not None:
            self._command += ["-i", str(Path(settings.identity_file).expanduser())]

    def run(self, script: str) -> str:
        done = subprocess.run(
            self._of("sh -s"), input=script, capture_output=True, text=True, check=False
        )
        self._check(done.returncode, done.stderr)
        return done.stdout

    def lines(self, script: str) -> Iterator[str]:
        with subprocess.Popen(
            self._of("sh -s"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            assert shell.stderr is not None
            try:
                shell.stdin.write(script.encode())
                shell.stdin.close()
                for line in shell.stdout:
                    yield line.decode("utf-8", "replace").rstrip("\n")
                self._check(shell.wait(), shell.stderr.read().decode("utf-8", "replace"))
            finally:
                shell.terminate()

    def push(self, path: Path, to: str) -> None:
        aside = shlex.quote(f"{to}.part")
        with path.open("rb") as file:
            done = subprocess.run(
                self._of(f"cat > {aside} && mv {aside} {shlex.quote(to)}"),
                stdin=file,
                capture_output=True,
                check=False,
            )
        self._check(done.returncode, done.stderr.decode("utf-8", "replace"))

    def pull(self, path: str, to: IO[bytes]) -> None:
        done = subprocess.run(
            self._of(f"cat {shlex.quote(path)}"),
            stdin=subprocess.DEVNULL,
            stdout=to,
            stderr=subprocess.PIPE,
            check=False,
        )
        self._check(done.returncode, done.stderr.decode("utf-8", "replace"))

    def sync(self, folder: Path, to: str) -> None:
        if not folder.is_dir():
            raise LaunchError(f"{folder}, whose photos are to be sent, is not a folder.")
        if shutil.which("rsync") and self.run("command -v rsync || true").strip():
            self.run(f"mkdir -p {shlex.quote(to)}")
            command = ["rsync", "--archive", "--delete", "-e", shlex.join(self._command)]
            done = subprocess.run(
                [*command, f"{folder}/", f"{self._host}:{to}/"],
                capture_output=True,
                text=True,
                check=False,
            )
            self._check(done.returncode, done.stderr)
            return
        aside, there = shlex.quote(f"{to}.part"), shlex.quote(to)
        script = (
            f"rm -rf {aside} && mkdir -p {aside} && tar -xf - -C {aside} && rm -rf {there}"
            f" && mv {aside} {there}"
        )
        with subprocess.Popen(
            self._of(script), stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as shell:
            assert shell.stdin is not None
            assert shell.stderr is not None
            try:
                with tarfile.open(fileobj=shell.stdin, mode="w|") as archive:
                    archive.add(folder, ".")
                shell.stdin.close()
            except BrokenPipeError:
                pass
            told = shell.stderr.read().decode("utf-8", "replace")
            self._check(shell.wait(), told)

    def _of(self, command: str) -> list[str]:
        return [*self._command, self._host, command]

    def _check(self, code: int, told: str) -> None:
        if code == NOT_REACHED:
            raise LaunchError(f"{self._host} cannot be reached by ssh: {told.strip()}")
        if code:
            raise LaunchError(f"{self._host}: {told.strip() or f'exit code {code}'}")
