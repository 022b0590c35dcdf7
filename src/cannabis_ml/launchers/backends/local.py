"""Jobs on this machine, in a process of their own: to see that a job works before it costs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.backends.shell import ShellBackend


class LocalSettings(BaseModel):
    """`backends.local` of launcher.yml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str = Field(default="~/.cannabis_ml/jobs", description="A folder per job lies below it")


class LocalBackend(ShellBackend):
    """Jobs as processes of this machine."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__("local", _Here(), LocalSettings.model_validate(dict(settings)).root)


class _Here:
    def run(self, script: str) -> str:
        done = subprocess.run(
            ["sh", "-s"], input=script, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LaunchError(done.stderr.strip() or f"sh ended with exit code {done.returncode}.")
        return done.stdout

    def lines(self, script: str) -> Iterator[str]:
        command = ["sh", "-c", script]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as shell:
            assert shell.stdout is not None
            try:
                for line in shell.stdout:
                    yield line.decode("utf-8", "replace").rstrip("\n")
            finally:
                shell.terminate()

    def push(self, path: Path, to: str) -> None:
        with written_aside(Path(to)) as aside:
            shutil.copyfile(path, aside)

    def pull(self, path: str, to: IO[bytes]) -> None:
        try:
            with Path(path).open("rb") as file:
                shutil.copyfileobj(file, to)
        except FileNotFoundError as error:
            raise LaunchError(f"The job has written no {Path(path).name} (yet).") from error

    def sync(self, folder: Path, to: str) -> None:
        if not folder.is_dir():
            raise LaunchError(f"{folder}, whose photos are to be sent, is not a folder.")
        with written_aside(Path(to)) as aside:
            shutil.copytree(folder, aside)
