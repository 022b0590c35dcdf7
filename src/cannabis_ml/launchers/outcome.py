"""Writes `results.tar.gz` and `result.json` on the other machine."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from cannabis_ml._io.files import file_sha256, written_aside
from cannabis_ml.launchers.backend import RESULT_FILE, RESULTS_FILE, Result
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.ledger import Ledger
from cannabis_ml.launchers.mirror import copy_sound

NOT_FETCHED = {"workspace", "champion"}
"""Folders below 06_models: states to resume from, and which bundle is in production there."""


def write_results(job: Job, ledger: Ledger, data: Path, results: Path) -> None:
    """Pack the folders of `job.fetch` and describe how the job ended; each file is whole or absent.

    Args:
        job: Names the folders.
        ledger: What was used.
        data: Folder of data of the job.
        results: Folder for both files.
    """
    archive = results / RESULTS_FILE
    with written_aside(archive) as aside, tarfile.open(aside, "w:gz", compresslevel=1) as packed:
        for path in sorted(_fetched(job, data)):
            name = path.relative_to(data).as_posix()
            if path.suffix != ".db":
                packed.add(path, name, recursive=False)
                continue
            copy = results / f".{path.name}.part"  # a run that was killed may have left it open
            copy_sound(path, copy)
            packed.add(copy, name)
            copy.unlink()
    result = Result(
        exit_code=ledger.exit_status,
        seconds=round(ledger.seconds, 1),
        cost_usd=ledger.cost_usd,
        stopped=ledger.stopped,
        attempts=ledger.attempts,
        sha256=file_sha256(archive),
    )
    with written_aside(results / RESULT_FILE) as aside:
        aside.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _fetched(job: Job, data: Path) -> Iterator[Path]:
    roots = [data, *(path for path in data.glob("envs/*") if path.is_dir())]
    for root in roots:
        for name in job.fetch:
            for folder, names, files in os.walk(root / name):
                if "06_models" in Path(folder).relative_to(data).parts:
                    names[:] = [n for n in names if n not in NOT_FETCHED]
                names[:] = [n for n in names if not n.startswith(".")]
                yield from (Path(folder, file) for file in files if not file.startswith("."))
