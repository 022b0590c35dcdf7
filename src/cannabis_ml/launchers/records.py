"""The jobs that this checkout has started, a folder each: what attach, cancel and fetch go by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.backend import JobState, LaunchError, Result
from cannabis_ml.launchers.estimate import Estimate
from cannabis_ml.launchers.job import Job
from cannabis_ml.text import did_you_mean

M = TypeVar("M", bound=BaseModel)


class Progress(BaseModel):
    """`state.json`: how far a job is, as far as this machine knows.

    Attributes:
        remote: The provider's id; None until it has taken the job.
        state: As the provider told last.
        estimate: Made before the start; None where no throughput was measured.
        result: Once results are here.
        commit: Git commit of the code that was sent; `+` after it: files differed from it.
    """

    model_config = ConfigDict(frozen=True)

    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    remote: str | None = None
    state: JobState | None = None
    estimate: Estimate | None = None
    result: Result | None = None
    commit: str = "unknown"


class Record:
    """One job's folder: `job.json`, `state.json`, `log.txt`; neither has a secret.

    Args:
        folder: Below data/09_tracking/launches; named after the job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def log(self) -> Path:
        """Lines of its output that came here."""
        return self.folder / "log.txt"

    @property
    def job(self) -> Job:
        """The job as it was sent."""
        return self._read(Job, "job.json")

    @property
    def progress(self) -> Progress:
        """The newest that is known."""
        return self._read(Progress, "state.json")

    def update(self, **changed: object) -> Progress:
        """Write some fields of `progress` anew."""
        progress = self.progress.model_copy(update=changed)
        self._write("state.json", progress)
        return progress

    def lines(self) -> int:
        """How many lines of its output are here; a line that was cut off is removed."""
        if not self.log.exists():
            return 0
        data = self.log.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            self.log.write_bytes(whole)
        return whole.count(b"\n")

    def _write(self, name: str, content: BaseModel) -> None:
        with written_aside(self.folder / name) as aside:
            aside.write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _read(self, model: type[M], name: str) -> M:
        try:
            return model.model_validate_json((self.folder / name).read_bytes())
        except (OSError, ValidationError) as error:
            raise LaunchError(f"{self.folder / name} cannot be read: {error}") from error


class Records:
    """All jobs of a checkout.

    Args:
        folder: data/09_tracking/launches of the project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, job: Job, progress: Progress) -> Record:
        """Write a job down, before anything is sent.

        Raises:
            LaunchError: There is one of this name.
        """
        record = Record(self.folder / job.name)
        if record.folder.exists():
            raise LaunchError(f"There is a job {job.name} already: take another --name.")
        record._write("job.json", job)
        record._write("state.json", progress)
        return record

    def find(self, name: str) -> Record:
        """The job of this name, or the newest for `last`.

        Raises:
            LaunchError: There is none.
        """
        records = list(self)
        if name == "last" and records:
            return records[-1]
        for record in records:
            if record.name == name:
                return record
        known = [record.name for record in records]
        raise LaunchError(
            f"There is no job {name}{did_you_mean(name, known)}."
            " `cannabis_ml launch list` shows those of this folder."
        )

    def __iter__(self) -> Iterator[Record]:
        """Oldest first."""
        records = [Record(path.parent) for path in self.folder.glob("*/state.json")]
        return iter(sorted(records, key=lambda record: (record.progress.created, record.name)))
