"""How much of the bare model's speed the service keeps, and what it does under overload.

    python tests/benchmarks/bench_service.py BUNDLE [--seconds 6] [--soak 20000] [--only load]

One side is the largest tier in a loop, from a JPEG's bytes to probabilities, in one thread; the
other a service with one worker in a process of its own, asked by clients in a third process. Sides
take turns. Where others use the machine too, CPU time per photo tells more than requests per
second: of the whole service, and of its busiest thread, which alone limits it where a core is to
spare.

Wanted: at 512 px at least 0.9 of the bare model's photos per second; memory flat over 20,000
requests; refusals within 50 ms, and accepted requests as slow as their queue is long and no slower.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from http_load import Load
from machine import machine

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.models import LoadedBundle

SIDES = {"512 px": (512, 512), "12 MP": (4000, 3000)}
CLIENTS = (1, 8, 32, 128)
ROUTES = ("/api/v1/classify", "/v2/analyze")
RETRY_AFTER = 1.0
"""Seconds that refused clients wait, as they are told."""
TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """A service in a process of its own."""

    pid: int
    port: int

    def cpu_seconds(self) -> dict[str, float]:
        """By thread."""
        found = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            fields = (task / "stat").read_text("utf-8").rpartition(")")[2].split()
            found[task.name] = (int(fields[11]) + int(fields[12])) / TICKS
        return found

    @property
    def megabytes(self) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--soak", type=int, default=20_000, help="requests; 0 leaves it out")
    parser.add_argument("--only", default="load,overload,soak", help="parts, with commas")
    options = parser.parse_args()
    bundle, parts = Bundle.open(options.bundle), options.only.split(",")
    print(machine(("numpy", "onnxruntime", "fastapi", "uvicorn")))
    print(f"{bundle.tiers[-1]} of {bundle.manifest.name}, one thread, one worker\n")
    with tempfile.TemporaryDirectory() as folder:
        photos = {name: _photo(Path(folder) / f"{w}.jpg", w, h) for name, (w, h) in SIDES.items()}
        if "load" in parts:
            _load(bundle, photos, options.seconds)
        if "overload" in parts:
            _overload(bundle, photos["512 px"], options.seconds)
        if "soak" in parts and options.soak:
            _soak(bundle, photos["512 px"], options.soak)


def _load(bundle: Bundle, photos: dict[str, Path], seconds: float) -> None:
    print("| photo | route | clients | bare /s | service /s | ratio | bare CPU ms | service CPU ms | ratio | its worker | ratio | p50 ms | p99 ms |")  # fmt: skip  # noqa: E501
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    loaded = LoadedBundle(bundle, 10**9)
    with _served(bundle, waiting=max(CLIENTS)) as server:
        for name, photo in photos.items():
            for route in ROUTES:
                for clients in CLIENTS:
                    if name != "512 px" and clients == CLIENTS[-1]:
                        continue  # minutes of waiting that tell nothing more
                    bare, bare_cpu = _bare(loaded, photo.read_bytes(), route, seconds / 2)
                    before = server.cpu_seconds()
                    found = _asked(server, route, photo, clients, seconds)
                    after = server.cpu_seconds()
                    used = [after[name] - before.get(name, 0) for name in after]
                    rate = len(found.accepted) / found.seconds
                    cpu, worker = (1000 * s / found.answered for s in (sum(used), max(used)))
                    again, again_cpu = _bare(loaded, photo.read_bytes(), route, seconds / 2)
                    bare, bare_cpu = (bare + again) / 2, (bare_cpu + again_cpu) / 2
                    middle, late = _quantiles(found.accepted)
                    print(
                        f"| {name} | {route} | {clients} | {bare:.1f} | {rate:.1f} |"
                        f" {rate / bare:.2f} | {bare_cpu:.1f} | {cpu:.1f} | {bare_cpu / cpu:.2f} |"
                        f" {worker:.1f} | {bare_cpu / worker:.2f} |"
                        f" {middle:.0f} | {late:.0f} |{_others(found)}",
                        flush=True,
                    )
    print()


def _overload(bundle: Bundle, photo: Path, seconds: float) -> None:
    print("| clients | accepted /s | p50 ms | p99 ms | refused /s | p50 ms | p99 ms | largest ms |")
    print("|---|---|---|---|---|---|---|---|")
    with _served(bundle, waiting=16) as server:
        for clients in (8, 17, 64, 256):
            found = _asked(server, "/api/v1/classify", photo, clients, 2 * seconds)
            cells = [str(clients)]
            for took in (found.accepted, found.refused):
                middle, late = _quantiles(took)
                cells += [f"{len(took) / found.seconds:.1f}", f"{middle:.1f}", f"{late:.1f}"]
            cells.append(f"{max(found.refused, default=0):.1f}")
            print(f"| {' | '.join(cells)} |{_others(found)}", flush=True)
    print()


def _soak(bundle: Bundle, photo: Path, requests: int) -> None:
    print("| requests | resident MB |")
    print("|---|---|")
    with _served(bundle, waiting=16) as server:
        done = 0
        while done < requests:
            print(f"| {done:,} | {server.megabytes:.1f} |", flush=True)
            found = _asked(server, "/v2/analyze-mobile", photo, 8, max(10.0, requests / 1_000))
            done += found.answered
        print(f"| {done:,} | {server.megabytes:.1f} |")


def _bare(loaded: LoadedBundle, photo: bytes, route: str, seconds: float) -> tuple[float, float]:
    """Photos per second and CPU milliseconds per photo, of what a route answers with."""
    tier = loaded.tiers[-1]
    predictor = loaded.bundle.predictor(tier, threads=1)

    def once() -> None:
        if route == ROUTES[0]:
            predictor.predict(photo)
        else:
            loaded.report(photo, tier, "en")

    once()
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        once()
        count += 1
    used = time.process_time() - cpu
    return count / (time.perf_counter() - start), 1000 * used / count


def _asked(server: Server, route: str, photo: Path, clients: int, seconds: float) -> Load:
    command = [sys.executable, str(Path(__file__).with_name("http_load.py"))]
    given = [str(server.port), route, str(photo), str(clients), str(seconds), str(RETRY_AFTER)]
    done = subprocess.run(
        [*command, *given], check=True, capture_output=True, text=True, start_new_session=True
    )
    return Load(**json.loads(done.stdout))


@contextmanager
def _served(bundle: Bundle, waiting: int) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"limits": {"waiting": waiting, "deadline_seconds": 300}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(settings, config)
        config.flush()
        command = [sys.executable, "-m", "cannabis_ml.serving", str(bundle.path)]
        running = subprocess.Popen(
            [*command, "--port", str(port), "--config", config.name],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Linux shares cores between sessions, then within them
        )
        try:
            while not _is_ready(port):
                time.sleep(0.1)
            yield Server(running.pid, port)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _photo(path: Path, width: int, height: int) -> Path:
    """A JPEG as a phone writes it: smooth, with some noise, quality 90, 4:2:0."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 4, (height, width, 1))
    pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    path.write_bytes(file.getvalue())
    return path


def _quantiles(milliseconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile; 0 where there is nothing."""
    if len(milliseconds) < 2:
        return (milliseconds or [0.0])[0], (milliseconds or [0.0])[0]
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _others(found: Load) -> str:
    return f" {len(found.other)} failed: {found.other[0]}" if found.other else ""


if __name__ == "__main__":
    main()
