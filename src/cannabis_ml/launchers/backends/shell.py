"""Jobs on a machine with a POSIX shell: this one, or another over SSH.

Every job has a folder there: `package.tar.gz`, `work`, `data`, `results`, `log.txt`, and small
files that tell how far it is. A supervisor in the background starts the job, again if it was
killed, and ends it when its time is over; nothing has to stay connected.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from pydantic import SecretStr

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    HourlyPrice,
    JobState,
    LaunchError,
)
from cannabis_ml.launchers.job import FolderPhotos, Job, Machine
from cannabis_ml.launchers.package import START, Places, variables

LOOK_SECONDS = 0.5
"""Between two looks at the log."""

SUPERVISE = f"""
attempt=0; code=1
while [ "$attempt" -lt "$ATTEMPTS" ]; do
    attempt=$((attempt + 1)); echo "$attempt" > attempt
    sh -c {shlex.quote(START)} & job=$!
    echo "$job" > pid
    ( sleep "$SECONDS_ALLOWED" & s=$!; trap 'kill $s' TERM; wait $s && kill -TERM "$job" \
      && sleep 60 && kill -KILL "$job" ) 2>/dev/null & watch=$!
    wait "$job"; code=$?
    kill "$watch" 2>/dev/null
    # Only what was killed from outside is started again.
    if [ -f cancelled ] || [ "$code" -lt 128 ]; then break; fi
done
date +%s > ended; echo "$code" > exit_code.part; mv exit_code.part exit_code
"""

FOLLOW = """
while :; do
    ended=; [ -f exit_code ] && ended=1
    lines=$(wc -l < log.txt)
    [ "$lines" -gt "$seen" ] && sed -n "$((seen + 1)),${lines}p" log.txt && seen=$lines
    [ -n "$ended" ] && break
    kill -0 "$(cat supervisor)" 2>/dev/null || [ -f exit_code ] || break
    sleep %(seconds)s
done
"""

LOOK = """
for name in exit_code attempt started ended; do
    echo "$name=$(cat $name 2>/dev/null)"
done
[ -f cancelled ] && echo cancelled=1
kill -0 "$(cat supervisor 2>/dev/null)" 2>/dev/null && echo alive=1
exit 0
"""


class Channel(Protocol):
    """How a shell is reached; what it prints on failure is in the `LaunchError`."""

    def run(self, script: str) -> str:
        """Run a script, sent on standard input so that nobody sees it in a list of processes."""

    def lines(self, script: str) -> Iterator[str]:
        """Run a script and yield what it prints, line by line."""

    def push(self, path: Path, to: str) -> None:
        """Copy a file there, atomically."""

    def pull(self, path: str, to: IO[bytes]) -> None:
        """Copy a file from there."""

    def sync(self, folder: Path, to: str) -> None:
        """Make a folder there the same as one here."""


class ShellBackend:
    """The methods of `Backend` over a channel.

    Args:
        name: Of the backend.
        channel: Reaches the shell.
        root: Folder there, below which each job has one; `~` is the home folder there.
    """

    def __init__(self, name: str, channel: Channel, root: str) -> None:
        self.name, self._channel = name, channel
        self._root_setting, self._root_there = root, ""

    def check(self, job: Job) -> None:
        """Refuse a name that is taken, and a shell without what is needed."""
        done = self._channel.run(
            f"[ -e {shlex.quote(self._folder(job.name))} ] && echo taken\n"
            "for name in tar sha256sum sed; do"
            ' command -v "$name" > /dev/null || echo "without $name"; done'
        ).split("\n")
        if "taken" in done:
            raise LaunchError(f"There is a job {job.name} in {self._root} already: --name another.")
        missing = [line.removeprefix("without ") for line in done if line.startswith("without ")]
        if missing:
            raise LaunchError(f"The machine has no {', '.join(missing)}: install it there.")

    def price(self, machine: Machine) -> HourlyPrice | None:
        return None

    def submit(self, job: Job, package: Path, secrets: Mapping[str, SecretStr]) -> str:
        folder = self._folder(job.name)
        self._channel.run(
            f"umask 077; mkdir -p {shlex.quote(self._root)} && mkdir {shlex.quote(folder)}"
            f" && cd {shlex.quote(folder)} && mkdir data results && touch log.txt"
        )
        self._channel.push(package, f"{folder}/package.tar.gz")
        if isinstance(job.photos, FolderPhotos):
            here = Path(job.photos.path).expanduser()
            self._channel.sync(here, f"{folder}/data/{job.photos.to}")
        places = Places(
            package=f"{folder}/package.tar.gz",
            work=f"{folder}/work",
            data=f"{folder}/data",
            results=f"{folder}/results",
        )
        exported = {
            "CANNABIS_ML_VENV": f"{PurePosixPath(self._root).parent}/venv",
            **variables(job, places, file_sha256(package)),
            **{name: secrets[name].get_secret_value() for name in job.secrets},
            "ATTEMPTS": str(job.attempts),
            "SECONDS_ALLOWED": str(job.seconds_allowed),
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
        self._channel.run(
            "\n".join(
                [
                    f"umask 077; cd {shlex.quote(folder)} || exit 1",
                    *lines,
                    "date +%s > started",
                    f"nohup sh -c {shlex.quote(SUPERVISE)} < /dev/null > log.txt 2>&1 &",
                    "echo $! > supervisor",
                ]
            )
        )
        return job.name

    def state(self, remote: str) -> JobState:
        found = dict(
            line.partition("=")[::2]
            for line in self._channel.run(f"{self._enter(remote)}\n{LOOK}").splitlines()
        )
        code = found.get("exit_code")
        times = {
            f"{name}_at": datetime.fromtimestamp(int(found[name]), UTC)
            for name in ("started", "ended")
            if found.get(name)
        }
        attempt = int(found.get("attempt") or 1)
        if code:
            if "cancelled" in found:
                return JobState(phase="cancelled", attempt=attempt, **times)
            phase = "succeeded" if code == "0" else "failed"
            return JobState(phase=phase, message=f"exit code {code}", attempt=attempt, **times)
        if "alive" in found:
            return JobState(phase="running", attempt=attempt, **times)
        message = "its supervisor is gone: the machine was restarted, or it was killed"
        return JobState(phase="failed", message=message, attempt=attempt, **times)

    def logs(self, remote: str, seen: int) -> Iterator[str]:
        follow = FOLLOW % {"seconds": LOOK_SECONDS}
        yield from self._channel.lines(f"{self._enter(remote)}\nseen={seen}\n{follow}")

    def cancel(self, remote: str) -> None:
        self._channel.run(f"{self._enter(remote)}\n: > cancelled\nkill -TERM $(cat pid) || true")

    def fetch(self, remote: str, to: Path) -> None:
        folder = f"{self._folder(remote)}/results"
        for name in (RESULT_FILE, RESULTS_FILE):
            with (to / name).open("wb") as file:
                self._channel.pull(f"{folder}/{name}", file)

    @property
    def _root(self) -> str:
        if not self._root_there:
            root = self._root_setting
            if root == "~" or root.startswith("~/"):
                root = self._channel.run('echo "$HOME"').strip() + root[1:]
            self._root_there = root
        return self._root_there

    def _folder(self, remote: str) -> str:
        return f"{self._root}/{remote}"

    def _enter(self, remote: str) -> str:
        folder = self._folder(remote)
        told = shlex.quote(f"There is no job {remote} in {self._root}.")
        return f"cd {shlex.quote(folder)} 2>/dev/null || {{ echo {told} >&2; exit 1; }}"
