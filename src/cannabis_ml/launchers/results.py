"""Results of a job into this project's data: new versions beside old ones, nothing overwritten."""

from __future__ import annotations

import filecmp
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import (
    RESULT_FILE,
    RESULTS_FILE,
    LaunchError,
    Result,
)
from cannabis_ml.launchers.job import Job
from cannabis_ml.text import counted

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
"""Name of the folder of a version in Kedro's catalog."""

TRACKING = "09_tracking"
DATABASE = f"{TRACKING}/mlflow.db"
ARTIFACTS = f"{TRACKING}/artifacts"


@dataclass
class Installed:
    """What was put where.

    Attributes:
        new: Files and folders of versions below data/ that were not there.
        kept: Those that were there with the same content.
        aside: Those that were there with another content: the local ones stay, these lie in the
            job's record.
    """

    new: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)


def check_result(folder: Path) -> Result:
    """The result that was fetched into a folder, whose archive is whole.

    Raises:
        LaunchError: A file is missing or altered.
    """
    try:
        result = Result.model_validate_json((folder / RESULT_FILE).read_bytes())
        found = file_sha256(folder / RESULTS_FILE)
    except (OSError, ValueError) as error:
        raise LaunchError(f"The job's results did not come whole: {error}") from error
    if found != result.sha256:
        raise LaunchError(
            f"{RESULTS_FILE} has SHA-256 {found[:12]}…, and the job wrote {result.sha256[:12]}…: it"
            " was cut off or altered. Fetch again."
        )
    return result


def unpack(archive: Path, job: Job, to: Path) -> None:
    """Unpack the archive of results into a new folder.

    Raises:
        LaunchError: A member is a link or device, or lies outside the folders of `job.fetch`.
            Nothing is unpacked then.
    """
    allowed = {PurePosixPath(name).parts for name in job.fetch}
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
        strange = [m.name for m in members if not m.isfile() or not _allowed(m.name, allowed)]
        if strange:
            raise LaunchError(
                f"{counted(len(strange), 'member')} of {archive.name} cannot be a result, such as"
                f" {strange[0]!r}: nothing was unpacked."
            )
        packed.extractall(to, members, filter="data")


def install(unpacked: Path, data: Path, aside: Path) -> Installed:
    """Move results into the data of this project; MLflow's runs are left where they are.

    What is already there stays; to install the same again changes nothing.

    Args:
        unpacked: Folder on the file system of `data`.
        data: The project's data/.
        aside: Folder for what is there already with another content.
    """
    done = Installed()
    for unit in sorted(_units(unpacked)):
        name = unit.relative_to(unpacked).as_posix()
        target = data / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            unit.rename(target)
            done.new.append(name)
        elif _same(unit, target):
            done.kept.append(name)
        else:
            kept = aside / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            if kept.is_dir():
                shutil.rmtree(kept)
            unit.rename(kept)
            done.aside.append(name)
    return done


def _units(folder: Path) -> Iterator[Path]:
    """What is moved as a whole: a folder of a version, else a file."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        name = inside.as_posix()
        if name == DATABASE or name.startswith(f"{ARTIFACTS}/"):
            continue
        if any(VERSION.fullmatch(part) for part in inside.parent.parts):
            continue
        if path.is_file() or VERSION.fullmatch(path.name):
            yield path


def _same(one: Path, other: Path) -> bool:
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    if not (one.is_dir() and other.is_dir()):
        return False
    ours, theirs = (
        {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        for root in (one, other)
    )
    return ours == theirs and all(
        filecmp.cmp(one / name, other / name, shallow=False) for name in ours
    )


def _allowed(name: str, folders: set[tuple[str, ...]]) -> bool:
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or ".." in parts or not parts:
        return False
    if parts[0] == "envs":
        parts = parts[2:]
    return any(parts[: len(folder)] == folder and len(parts) > len(folder) for folder in folders)
