"""What runs on the other machine: `python -m cannabis_ml.launchers.there` in the unpacked package.

Runs the job's command as a child, passes its output on, ends it when told to (SIGTERM) or when the
time or money is used up, and writes the results. Started again over the same folder of data, it
goes on: training resumes by its own key, time and money count on, and a command that has ended is
not run again. Variables: see `package.variables`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cannabis_ml.launchers.job import PROGRESS, FolderPhotos, Job
from cannabis_ml.launchers.ledger import Ledger, Stopped
from cannabis_ml.launchers.mirror import Mirror
from cannabis_ml.launchers.outcome import write_results
from cannabis_ml.launchers.vault import secrets_of

EXIT_STOPPED = 3
"""Exit code where time or money was used up."""

GRACE_SECONDS = 30
"""How long a child that was told to end may take."""

BEAT_SECONDS = 1.0
"""Between looks at the clock, and notes of the time that was used."""

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Control sequences of terminals (ECMA-48)."""

PROGRESS_SECONDS = 2.0
"""At least this long between two lines of a progress bar."""


def main() -> int:
    """Run the job once; its exit code."""
    job = Job.model_validate_json(Path(os.environ["CANNABIS_ML_JOB"]).read_bytes())
    data, results = (Path(os.environ[f"CANNABIS_ML_{name}"]) for name in ("DATA", "RESULTS"))
    data.mkdir(parents=True, exist_ok=True)
    sent = job.photos.to if isinstance(job.photos, FolderPhotos) else None
    mirror = Mirror(data, os.environ.get("CANNABIS_ML_MIRROR"), without=sent)
    mirror.restore()
    link_data(Path.cwd(), data)
    ledger = Ledger(data / ".launch" / f"{job.name}.json", job)
    ledger.begin(float(os.environ.get("CANNABIS_ML_STARTED") or time.time()))
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    stopped: Stopped = ledger.used_up()
    if stopped is None and not ledger.ended:
        stopped = run(job, ledger, mirror, told)
    ledger.end(stopped)
    mirror.copy()
    write_results(job, ledger, data, results)
    if stopped in ("time", "limit"):
        print(f"Stopped: {why(job, stopped)}.", flush=True)
        return EXIT_STOPPED
    return ledger.exit_status


def why(job: Job, stopped: Stopped) -> str:
    """In words, what of the job is used up."""
    if stopped == "limit":
        return f"the limit of ${job.limit_usd:.2f} is reached at ${job.usd_per_hour:.2f} an hour"
    return f"the {job.machine.minutes:g} minutes that the job may take are over"


def link_data(project: Path, data: Path) -> None:
    """Let the project's data/ be the folder that survives."""
    link = project / "data"
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(data.absolute(), target_is_directory=True)


def run(job: Job, ledger: Ledger, mirror: Mirror, told: threading.Event) -> Stopped:
    """Run the command until it ends, is told to, or time or money is used up."""
    environment = {**os.environ, **job.environment, **secrets_of(os.environ)}
    errors, screen = small_terminal()
    interpreter = os.environ.get("CANNABIS_ML_PYTHON") or sys.executable
    child = subprocess.Popen(
        [interpreter, "-m", "cannabis_ml", *job.command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=screen,
        env=environment,
        start_new_session=True,
        # No other thread has been started yet.
        preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )
    os.close(screen)
    assert child.stdout is not None
    printing = [
        threading.Thread(target=pass_on, args=(output, show), daemon=True)
        for output in (child.stdout.fileno(), errors)
    ]
    for thread in printing:
        thread.start()
    stopped: Stopped = None
    while child.poll() is None and stopped is None:
        told.wait(BEAT_SECONDS if ledger.seconds > 10 else 0.1)
        ledger.note()
        stopped = ledger.used_up() or ("signal" if told.is_set() else None)
        mirror.copy_sometimes()
    if stopped is not None:
        end(child)
    code = child.wait()
    for thread in printing:
        thread.join(5)
    os.close(errors)
    if stopped is None:
        ledger.command_ended(code)
    return stopped


def die_with_parent() -> None:
    """Let this process be killed when the one that started it is, so that no two train at once."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started: SIGTERM, then SIGKILL."""
    for number, wait in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(wait)
        except subprocess.TimeoutExpired:
            continue
        return


def small_terminal() -> tuple[int, int]:
    """Both ends of a terminal of 100 columns, as progress bars are drawn on terminals alone."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    return ours, theirs


def show(line: str) -> None:
    """Print a line at once; two threads do."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def pass_on(
    output: int, show: Callable[[str], None], now: Callable[[], float] = time.monotonic
) -> None:
    r"""Pass output on line by line; a progress bar, which ends in \r, only now and then.

    Args:
        output: File descriptor of the child's output.
        show: Called with each line, without its end.
        now: Clock, in seconds.
    """
    rest, last = b"", -PROGRESS_SECONDS
    while data := some(output):
        text = (rest + data).replace(b"\r\n", b"\n")
        *whole, rest = re.split(rb"(?<=[\r\n])(?!\Z)|(?<=\n)", text)
        for piece in whole:
            line = plain(piece)
            if piece.endswith(b"\n"):
                show(line)
            elif line and now() - last >= PROGRESS_SECONDS:
                last = now()
                show(PROGRESS + line)
    if rest.strip():
        show(plain(rest))


def some(output: int) -> bytes:
    """What has come; nothing at the end, which a terminal tells by an error."""
    try:
        return os.read(output, 65536)
    except OSError:
        return b""


def plain(line: bytes) -> str:
    """A line without its end, colours and movements of the cursor."""
    return ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip()


if __name__ == "__main__":
    sys.exit(main())
