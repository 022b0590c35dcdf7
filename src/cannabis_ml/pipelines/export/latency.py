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

from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.pipelines.export.params import LatencyParams

JPEG_QUALITY = 95

THREADS = {"one_thread": 1, "all_threads": 0}
"""Number of threads by name in the report; 0 is all."""

_TIMES = ("invoke_ms", "pixels_ms", "jpeg_ms")


def measure(
    models: Mapping[str, ModelFile], photos: Sequence[np.ndarray], latency: LatencyParams
) -> dict[str, Any]:
    """Measure latency and memory of every file, one photo at a time.

    Args:
        models: Files by name.
        photos: uint8 RGB (height, width, 3).
        latency: How many repetitions and rounds.

    Returns:
        See `nodes.measure_latency`.

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
        name: {
            "recipe": model.recipe,
            "format": model.format,
            "bytes": len(model.data),
            **{threads: _pooled(runs[name, threads]) for threads in THREADS},
        }
        for name, model in models.items()
    }
    found = {"machine": next(iter(runs.values()))[0]["machine"], "photos": len(photos)}
    return {**found, "files": files, **_ratios(files)}


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
    return json.loads(done.stdout)


def _pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Percentiles over all runs of one file; for memory and opening, the median of the runs."""
    found: dict[str, Any] = {}
    for name in _TIMES:
        times = [value for run in runs for value in run[name]]
        p50, p95 = np.percentile(times, [50, 95])
        found[name] = {"p50": float(p50), "p95": float(p95)}
    found["open_ms"] = float(np.median([value for run in runs for value in run["open_ms"]]))
    for name in ("memory_before_mb", "peak_memory_mb"):
        known = [run[name] for run in runs if run[name] is not None]
        found[name] = float(np.median(known)) if known else None
    return found


def _ratios(files: Mapping[str, Any]) -> dict[str, Any]:
    if not {FLOAT, "quantised"} <= set(files):
        return {}
    before, after = files[FLOAT], files["quantised"]
    ratios = {
        f"{threads}_{name.removesuffix('_ms')}": after[threads][name]["p50"]
        / before[threads][name]["p50"]
        for threads in THREADS
        for name in _TIMES
    }
    return {"quantised_to_float": {"bytes": after["bytes"] / before["bytes"], **ratios}}
