"""What a job has used of its time and money, over all attempts: kept in its folder of data."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from cannabis_ml._io.files import written_aside
from cannabis_ml.launchers.job import Job

Stopped = Literal["time", "limit", "signal"] | None

NOTE_SECONDS = 5.0
"""Between two notes of the time: what a machine that is switched off can forget."""


class _Kept(BaseModel):
    attempts: int = 0
    seconds: float = 0.0
    exit_code: int | None = None
    stopped: Stopped = None


class Ledger:
    """Counts attempts and seconds of a job.

    Args:
        path: JSON file that survives a preemption.
        job: Gives what may be used.
        now: Clock, in seconds since 1970.
    """

    def __init__(self, path: Path, job: Job, now: Callable[[], float] = time.time) -> None:
        self._path, self._job, self._now = path, job, now
        self._kept = _Kept()
        if path.is_file():
            self._kept = _Kept.model_validate_json(path.read_bytes())
        self._before, self._started, self._noted = self._kept.seconds, now(), 0.0

    def begin(self, started: float) -> None:
        """Note that an attempt began, at `started` seconds since 1970."""
        self._started = min(started, self._now())
        self._kept.attempts += 1
        self._kept.stopped = None
        self._write()

    def note(self) -> None:
        """Write the time down, every few seconds."""
        if self._now() - self._noted >= NOTE_SECONDS:
            self._write()

    def command_ended(self, code: int) -> None:
        """Note that the command ended by itself; negative: it was killed, as for memory."""
        self._kept.exit_code = code
        self._write()

    def end(self, stopped: Stopped) -> None:
        """Note the end of the attempt."""
        self._kept.stopped = stopped
        self._write()

    @property
    def ended(self) -> bool:
        """Whether the command has ended; not if it was killed, which may go well next time."""
        return self._kept.exit_code is not None and self._kept.exit_code >= 0

    @property
    def exit_status(self) -> int:
        """As a shell has it: the command's, or 128 + the signal that ended it."""
        code = self._kept.exit_code
        if code is None:
            return 128 + signal.SIGTERM
        return code if code >= 0 else 128 - code

    @property
    def attempts(self) -> int:
        return self._kept.attempts

    @property
    def stopped(self) -> Stopped:
        return self._kept.stopped

    @property
    def seconds(self) -> float:
        """Of all attempts until now."""
        return self._before + self._now() - self._started

    @property
    def cost_usd(self) -> float | None:
        """Of all attempts until now; None where the job has no price."""
        per_hour = self._job.usd_per_hour
        return None if per_hour is None else self.seconds * per_hour / 3600

    def used_up(self) -> Stopped:
        """`limit` or `time` when so much is used that results must be written now."""
        if self.seconds < self._job.seconds_of_work:
            return None
        in_time = self._job.seconds_allowed >= int(self._job.machine.minutes * 60)
        return "time" if in_time else "limit"

    def _write(self) -> None:
        self._noted = self._now()
        kept = self._kept.model_copy(update={"seconds": self.seconds})
        with written_aside(self._path) as aside:
            aside.write_text(kept.model_dump_json(indent=2) + "\n", encoding="utf-8")
