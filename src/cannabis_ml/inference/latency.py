"""Latency and peak memory of a model file for one photo.

Memory can only be measured of a process that does nothing else, so this is run as one:

    python -m cannabis_ml.inference.latency MODEL --threads 1 --repeats 5 PHOTO…

It prints one JSON object with every single time, for the caller to pool over several runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cannabis_ml._io.parallel import available_workers
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize

MEGABYTE = 1e6


def timed(model: Path, photos: Sequence[bytes], threads: int, repeats: int) -> dict[str, object]:
    """Time every photo alone, the three ways in turns.

    Args:
        model: The file.
        photos: Encoded.
        threads: CPU threads; 0: all.
        repeats: Times per photo.

    Returns:
        `invoke_ms`, the model alone on pixels of its size; `pixels_ms`, cut and resized before;
        `jpeg_ms`, decoded before as well: lists of milliseconds. `open_ms`, until the first answer
        can be asked for. `memory_before_mb` and `peak_memory_mb` of the process, before the model
        was opened and in all; None where the system does not report it.
    """
    before = peak_memory()
    opened: list[float] = []
    predictor = _taking(opened, open_model, model, threads)
    pixels = [decode(photo) for photo in photos]
    fitted = [center_crop_resize(photo, predictor.image_size)[None] for photo in pixels]
    times: dict[str, list[float]] = {"invoke_ms": [], "pixels_ms": [], "jpeg_ms": []}
    for repeat in range(-1, repeats):
        # The first round warms up: memory is taken, code is loaded.
        into = times if repeat >= 0 else {name: [] for name in times}
        for encoded, photo, square in zip(photos, pixels, fitted, strict=True):
            _taking(into["invoke_ms"], predictor.invoke, square)
            _taking(into["pixels_ms"], predictor.probs, [photo])
            _taking(into["jpeg_ms"], lambda data: predictor.probs([decode(data)]), encoded)
    return {
        **times,
        "open_ms": opened,
        "memory_before_mb": before,
        "peak_memory_mb": peak_memory(),
    }


def peak_memory() -> float | None:
    """Largest resident memory of this process so far, in MB; None where it is unknown."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: there a process starts with the peak of the one that started it.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


def machine() -> dict[str, object]:
    """What a latency means nothing without: processor, cores, system, runtimes."""
    return {
        "processor": _processor(),
        "cores": available_workers(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": _version("onnxruntime"),
        "ai-edge-litert": _version("ai-edge-litert"),
    }


def _taking(times: list[float], work: Callable[..., Any], *arguments: object) -> Any:
    """Do it, and note how many milliseconds that took."""
    start = time.perf_counter()
    result = work(*arguments)
    times.append(1000 * (time.perf_counter() - start))
    return result


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Time what the command line names, and print it as JSON."""
    parser = argparse.ArgumentParser(description="Time one photo at a time.")
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    if given.threads == 1:
        import cv2

        cv2.setNumThreads(1)
    photos = [path.read_bytes() for path in given.photos]
    times = timed(given.model, photos, given.threads, given.repeats)
    json.dump({**times, "machine": machine()}, sys.stdout)


if __name__ == "__main__":
    main()
