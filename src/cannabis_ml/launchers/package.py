"""What goes up: one archive of the project's code and configuration, the same bytes every time."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cannabis_ml._io.files import file_sha256, written_aside
from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.text import counted

SENT = ("src", "conf", "pyproject.toml", "requirements.lock", "requirements-tflite.lock")
"""Files and folders of the project that a run needs."""

NEVER_SENT = ("conf/local", "data", ".git", ".venv")
"""Not even where they are tracked by git."""

JOB_FILE = "job.json"

START = (
    'mkdir -p "$CANNABIS_ML_WORK" && export CANNABIS_ML_STARTED="$(date +%s)"'
    ' && echo "$CANNABIS_ML_SHA256  $CANNABIS_ML_PACKAGE" | sha256sum -c --status -'
    ' && tar -xzf "$CANNABIS_ML_PACKAGE" -C "$CANNABIS_ML_WORK"'
    ' && exec sh "$CANNABIS_ML_WORK/src/cannabis_ml/launchers/bootstrap.sh"'
)
"""Shell command that does everything on the other machine: `sh -c START`, with `variables` set.

To run it again over the same folder of data resumes; where the command has ended, or the time or
money is used up, that does nothing but write the results again.
"""


@dataclass(frozen=True)
class Places:
    """Paths on the other machine.

    Attributes:
        package: The archive, once it is there.
        work: Where it is unpacked; may be gone at the next attempt.
        data: Becomes the project's data/. On a disk that can hold a SQLite database; survives a
            preemption, or `mirror` does.
        results: Folder that gets `results.tar.gz` and `result.json`.
        mirror: Folder of a bucket that survives where `data` does not: files are copied there
            while the job runs, and back at the next attempt. Empty: there is none.
    """

    package: str
    work: str
    data: str
    results: str
    mirror: str = ""


def variables(job: Job, places: Places, sha256: str) -> dict[str, str]:
    """Variables to set on the other machine; secrets come besides, by the provider's mechanism."""
    return {
        **job.environment,
        "CANNABIS_ML_PACKAGE": places.package,
        "CANNABIS_ML_SHA256": sha256,
        "CANNABIS_ML_WORK": places.work,
        "CANNABIS_ML_JOB": f"{places.work}/{JOB_FILE}",
        "CANNABIS_ML_DATA": places.data,
        "CANNABIS_ML_RESULTS": places.results,
        **({"CANNABIS_ML_MIRROR": places.mirror} if places.mirror else {}),
    }


def pack(project: Path, job: Job, to: Path) -> str:
    """Write the archive of the project and the job.

    Contains the files of `SENT` that git tracks, as they are now, and `job.json`. The same files
    and job give the same bytes.

    Args:
        project: Root of the git checkout.
        job: What the other machine is to do.
        to: The archive, `….tar.gz`; an older one is replaced.

    Returns:
        Its SHA-256.

    Raises:
        LaunchError: The project is not a git checkout, or a link leads out of it.
    """
    names = sent_files(project)
    with (
        written_aside(to) as aside,
        aside.open("wb") as file,
        # No name and no time, which would differ in every archive.
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            path = project / name
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            _add(archive, name, path.read_bytes(), mode)
        _add(archive, JOB_FILE, job.model_dump_json(indent=2).encode() + b"\n", 0o644)
    return file_sha256(to)


def sent_files(project: Path) -> list[str]:
    """Names of the project's files that go up, sorted; see `pack`."""
    tracked = [name for name in _git(project, "ls-files", "-z") if not _never(name)]
    names = sorted(name for name in tracked if (project / name).is_file())
    out = [name for name in names if not _inside(project / name, project)]
    if out:
        raise LaunchError(
            f"{counted(len(out), 'file')} of {project} cannot be sent: {', '.join(out[:3])} leads"
            " out of what is sent. Put a copy in its place."
        )
    return names


def files_left_out(project: Path) -> list[str]:
    """Files among those of `SENT` that git neither tracks nor ignores: they do not go up."""
    others = _git(project, "ls-files", "-z", "--others", "--exclude-standard")
    return sorted(name for name in others if not _never(name))


def commit_of(project: Path) -> str:
    """Git commit of the project, with `+` where its files differ from it; `unknown` without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(project), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _never(name: str) -> bool:
    path = PurePosixPath(name)
    return any(path.is_relative_to(never) for never in NEVER_SENT)


def _inside(path: Path, project: Path) -> bool:
    real = path.resolve()
    root = project.resolve()
    return real.is_relative_to(root) and not _never(real.relative_to(root).as_posix())


def _git(project: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(project), *arguments, "--", *SENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        raise LaunchError(
            f"{project} is not a git checkout ({told.strip()}), and what git tracks is"
            " what is sent.\nIn the project's folder: git init && git add -A"
        ) from error
    return [name for name in done.stdout.split("\0") if name]
