"""Latency and memory of model files, each run in its own process, files in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.scores import Record
from cannabis_ml.inference.model_file import FLOAT, QUANTIZED, ModelFile

JPEG_QUALITY = 95

THREADS = {"one_thread": 1, "all_threads": 0}
"""Number of threads by name in the report; 0 is all."""

_TIMES = ("invoke_ms", "pixels_ms", "jpeg_ms")


class LatencyParams(BaseModel):
    """How latency and memory are measured."""

    model_config = ConfigDict(extra="forbid")

    photos: int = Field(default=8, gt=0, description="Test photos that are timed one by one")
    repeats: int = Field(default=5, gt=0, description="Times that each photo is timed in a round")
    rounds: int = Field(default=2, gt=0, description="Processes per file, files taking turns")


class Percentiles(Record):
    """Of times in milliseconds."""

    p50: float
    p95: float


class Timing(Record):
    """Latency and memory of one file with so many threads."""

    invoke_ms: Percentiles = Field(description="The model alone")
    pixels_ms: Percentiles = Field(description="From pixels to probabilities")
    jpeg_ms: Percentiles = Field(description="From JPEG bytes to probabilities")
    open_ms: float
    memory_before_mb: float | None = Field(description="None where the system does not report it")
    peak_memory_mb: float | None


class FileLatency(Record):
    """Latency and memory of one file."""

    quantization: str
    format: str
    bytes: int
    one_thread: Timing
    all_threads: Timing


class LatencyReport(Record):
    """Latency and memory of the files of a tier."""

    machine: dict[str, str | int | float | None]
    photos: int
    files: dict[str, FileLatency]
    quantized_to_float: dict[str, float] = Field(
        description="Ratios of bytes and of median times; empty unless there are both"
    )


def measure(
    models: Mapping[str, ModelFile], photos: Sequence[np.ndarray], latency: LatencyParams
) -> LatencyReport:
    """Measure latency and memory of every file, one photo at a time.

    Args:
        models: Files by name.
        photos: uint8 RGB (height, width, 3).
        latency: How many repetitions and rounds.

    Raises:
        ExportError: If a file cannot be timed, with the last line of the process's error output.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.{m.suffix}" for name, m in models.items()}
        for name, path in paths.items():
            path.write_bytes(models[name].data)
        jpegs = [_write_jpeg(Path(folder) / f"{i}.jpg", photo) for i, photo in enumerate(photos)]
        runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for _ in range(latency.rounds):
            for threads, count in THREADS.items():
                for name, path in paths.items():
                    runs[name, threads].append(_timed(path, jpegs, count, latency.repeats))
    files = {
        name: FileLatency(
            quantization=model.quantization,
            format=model.format,
            bytes=len(model.data),
            one_thread=_pooled(runs[name, "one_thread"]),
            all_threads=_pooled(runs[name, "all_threads"]),
        )
        for name, model in models.items()
    }
    return LatencyReport(
        machine=next(iter(runs.values()))[0]["machine"],
        photos=len(photos),
        files=files,
        quantized_to_float=_ratios(files),
    )


def _write_jpeg(path: Path, photo: np.ndarray) -> Path:
    import cv2

    done, encoded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def _timed(model: Path, photos: Sequence[Path], threads: int, repeats: int) -> dict[str, Any]:
    options = ["--threads", str(threads), "--repeats", str(repeats)]
    command = [sys.executable, "-m", "cannabis_ml.inference.latency", *options]
    done = subprocess.run(
        [*command, str(model), *map(str, photos)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ExportError(f"{model.name} could not be timed: {last}")
    times: dict[str, Any] = json.loads(done.stdout)
    return times


def _pooled(runs: list[dict[str, Any]]) -> Timing:
    """Percentiles over all runs of one file; for memory and opening, the median of the runs."""
    timing: dict[str, object] = {}
    for name in _TIMES:
        times = [value for run in runs for value in run[name]]
        p50, p95 = np.percentile(times, [50, 95])
        timing[name] = Percentiles(p50=p50, p95=p95)
    timing["open_ms"] = float(np.median([value for run in runs for value in run["open_ms"]]))
    for name in ("memory_before_mb", "peak_memory_mb"):
        known = [run[name] for run in runs if run[name] is not None]
        timing[name] = float(np.median(known)) if known else None
    return Timing.model_validate(timing)


def _ratios(files: Mapping[str, FileLatency]) -> dict[str, float]:
    if not {FLOAT, QUANTIZED} <= set(files):
        return {}
    before, after = files[FLOAT], files[QUANTIZED]
    ratios = {"bytes": after.bytes / before.bytes}
    for threads in THREADS:
        for name in _TIMES:
            medians = [getattr(getattr(file, threads), name).p50 for file in (after, before)]
            ratios[f"{threads}_{name.removesuffix('_ms')}"] = medians[0] / medians[1]
    return ratios
