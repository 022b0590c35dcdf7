"""Runs one job of `cannabis_ml launch replicate`, as Cog's `train`.

https://github.com/replicate/cog/blob/main/docs/reference/training.md
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from cog import BaseModel, Input, Path, Secret

GRACE_SECONDS = 60
"""How long a job that is told to end may take to write its results."""


class Output(BaseModel):
    """What Replicate keeps.

    Attributes:
        weights: A .tar with `results.tar.gz` and `result.json`.
    """

    weights: Path


def train(
    package: Path = Input(description="Archive of code, configuration and job"),
    start: str = Input(description="Shell command that unpacks and runs it"),
    variables: str = Input(description="JSON: variables of the command"),
    seconds: float = Input(description="Longest duration of the job", ge=1),
    secrets: Secret = Input(description="JSON: secret variables of the command"),
) -> Output:
    """Run a job and return its results, of one that failed too.

    Raises:
        RuntimeError: It ended before it could write any.
    """
    folder = tempfile.mkdtemp(prefix="cannabis-ml-")
    here = {name: f"{folder}/{name.lower()}" for name in ("WORK", "DATA", "RESULTS")}
    given = {
        **json.loads(variables),
        **json.loads(secrets.get_secret_value()),
        "CANNABIS_ML_PACKAGE": str(package),
        "CANNABIS_ML_JOB": f"{here['WORK']}/job.json",
        **{f"CANNABIS_ML_{name}": path for name, path in here.items()},
    }
    job = subprocess.Popen(
        ["sh", "-c", start],
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Timer(seconds, _end, [job])
    late.start()
    try:
        for line in _lines(job):
            print(line, end="", flush=True)
        code = job.wait()
    except BaseException:  # Cog cancels by an exception
        _end(job)
        raise
    finally:
        late.cancel()
    results = Path(here["RESULTS"])
    if not (results / "result.json").is_file():
        raise RuntimeError(f"The job ended with exit code {code} before it could write results.")
    with tarfile.open(f"{folder}/results.tar", "w") as archive:
        for name in ("results.tar.gz", "result.json"):
            archive.add(results / name, name)
    print(f"The job ended with exit code {code}.", flush=True)
    return Output(weights=Path(f"{folder}/results.tar"))


def _lines(job: "subprocess.Popen[str]") -> Iterator[str]:
    """Lines of the job's output: Cog logs what this process prints, not what its children write.

    Never waits for long, because Cog's exception comes between two instructions of Python.
    """
    lines: queue.Queue[str] = queue.Queue()
    assert job.stdout is not None
    threading.Thread(target=_read, args=(job.stdout, lines), daemon=True).start()
    while True:
        ended = job.poll() is not None
        try:
            yield lines.get(timeout=0.2)
        except queue.Empty:
            if ended:  # what it left running may hold its output open
                return


def _read(output: IO[str], lines: "queue.Queue[str]") -> None:
    for line in output:
        lines.put(line)


def _end(job: "subprocess.Popen[str]") -> None:
    """Tell a job to end, and end all that it started."""
    job.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(timeout=GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
