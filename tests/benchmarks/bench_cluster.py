"""Indexing photos by threads, and by Dask on one and two nodes; and with a node that is killed.

    python tests/benchmarks/bench_cluster.py [--photos 600] [--repeats 3]

Nodes are network namespaces of this machine, a worker of one thread each (root and `ip netns`
needed). Both share its cores and disk: what is measured is the cost of the cluster, not of a
network. Photos have 1024 x 768 pixels. All sides take turns in one run; beside wall time stands
processor time of all processes together, which other load on the machine changes little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from dask_cluster import two_namespaces, why_no_namespaces
from dask_node import enter

TESTS = Path(__file__).parents[1]
NODE = TESTS / "dask_node.py"
PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
DISTINCT = 100
"""Photos that are drawn; each is listed several times."""


@contextmanager
def node(*command: str, namespace: str) -> Iterator[subprocess.Popen[str]]:
    """A process of Dask in a namespace."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(NODE), *command, "--namespace", namespace],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def arrange(options: argparse.Namespace) -> None:
    """Start the nodes, and the process that measures on the first of them."""
    with tempfile.TemporaryDirectory() as folder, two_namespaces() as nodes, ExitStack() as stack:
        draw(Path(folder))

        def cluster(*workers: tuple[int, str]) -> dict[str, object]:
            (host, first), _ = nodes
            scheduler = stack.enter_context(node("scheduler", host, namespace=first))
            address, processes = first_line(scheduler), [scheduler]
            for at, dies in workers:
                there, name = nodes[at]
                extra = ("--dies-in-task", dies) if dies else ()
                command = ("worker", address, there, *extra)
                processes.append(stack.enter_context(node(*command, namespace=name)))
            for process in processes[1:]:
                first_line(process)
            return {"address": address, "pids": [process.pid for process in processes]}

        half = str(options.photos // 32 // 4)  # chunks of this worker before it is killed
        clusters = {
            "Dask, 1 worker": cluster((1, "")),
            "Dask, 2 workers": cluster((0, ""), (1, "")),
            "Dask, 1 of 2 killed": cluster((0, ""), (1, half)),
        }
        given = {**vars(options), "folder": folder, "clusters": clusters, "namespace": nodes[0][1]}
        subprocess.run([sys.executable, __file__, "--measure", json.dumps(given)], check=True)


def draw(folder: Path) -> None:
    """Write photos: real ones where they are there, else smooth noise."""
    import numpy as np
    from PIL import Image

    found = sorted((PHOTOS_DIR / "plantdoc_256").rglob("*.jpg"))[:DISTINCT]
    rng = np.random.default_rng(0)
    for i in range(DISTINCT):
        small = (
            Image.open(found[i % len(found)]).convert("RGB")
            if found
            else Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        )
        photo = np.asarray(small.resize((1024, 768), Image.Resampling.BICUBIC)).astype(np.int16)
        noise = rng.normal(0, 6, photo.shape[:2])[..., None]  # of a sensor
        pixels = np.clip(photo + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.jpg", quality=90)


def measure(given: dict[str, object]) -> None:
    """Index the photos on every side in turns, and print the table."""
    enter(str(given["namespace"]))
    os.environ["TQDM_DISABLE"] = "1"
    import pandas as pd
    from machine import machine

    from cannabis_ml._io.engine import THREADS, Engine
    from cannabis_ml._io.parallel import map_in_order
    from cannabis_ml.photos.checks.params import DefectParams
    from cannabis_ml.pipelines.ingestion.nodes import index_photos
    from cannabis_ml.pipelines.ingestion.one_photo import index_row
    from cannabis_ml.pipelines.ingestion.params import IndexParams
    from cannabis_ml.taxonomy import Taxonomy

    taxonomy = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}])
    files = sorted(map(str, Path(given["folder"]).glob("*.jpg")))
    count, clusters = int(given["photos"]), given["clusters"]
    listed = pd.DataFrame({"path": (files * (count // len(files) + 1))[:count], "kind": "a"})
    listed = listed.assign(group=None, source="bench", given_split=None)

    def index(engine: Engine, workers: int | None = None) -> pd.DataFrame:
        return index_photos(listed, taxonomy, IndexParams(workers=workers), DefectParams(), engine)

    addresses = {name: Engine(dask=c["address"]) for name, c in clusters.items()}

    def bare() -> list[object]:
        """Threads without the seam: what mapping by threads costs at least."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(partial(index_row, defects=DefectParams()), listed["path"]))

    def seam() -> list[object]:
        call = partial(index_row, defects=DefectParams())
        return list(map_in_order(call, listed["path"], 2, THREADS))

    sides = {
        "ThreadPoolExecutor, 2": bare,
        "map_in_order, 2": seam,
        "threads, 1": lambda: index(THREADS, 1),
        "Dask, 1 worker": lambda: index(addresses["Dask, 1 worker"]),
        "threads, 2": lambda: index(THREADS, 2),
        "Dask, 2 workers": lambda: index(addresses["Dask, 2 workers"]),
    }
    expected = index(THREADS)
    for name in clusters:
        if "killed" not in name:
            pd.testing.assert_frame_equal(sides[name](), expected)
    wall: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(int(given["repeats"])):
        for name, run in sides.items():
            pids = clusters.get(name, {"pids": []})["pids"]
            begun, cpu = time.perf_counter(), processor_seconds(pids)
            run()
            wall[name].append(time.perf_counter() - begun)
            busy[name].append(processor_seconds(pids) - cpu)
    begun = time.perf_counter()
    killed = index(addresses["Dask, 1 of 2 killed"])
    lost = time.perf_counter() - begun
    pd.testing.assert_frame_equal(killed, expected)
    started = time.perf_counter()
    index_photos(listed[:1], taxonomy, IndexParams(), DefectParams(), addresses["Dask, 1 worker"])
    first = time.perf_counter() - started

    print(machine())
    print(f"{count} photos of 1024 x 768, medians of {given['repeats']}\n")
    print(f"{'':22}{'photos/s':>10}{'ms of CPU per photo':>22}")
    for name in sides:
        print(
            f"{name:22}{count / median(wall[name]):10.0f}{1e3 * median(busy[name]) / count:22.2f}"
        )
    print(f"{'Dask, 1 of 2 killed':22}{count / lost:10.0f}   the same table")
    for one, other in (
        ("ThreadPoolExecutor, 2", "map_in_order, 2"),
        ("threads, 1", "Dask, 1 worker"),
        ("threads, 2", "Dask, 2 workers"),
    ):
        print(
            f"\n{other} against {one}: wall {median(wall[other]) / median(wall[one]) - 1:+.0%},"
            f" CPU {median(busy[other]) / median(busy[one]) - 1:+.0%}",
            end="",
        )
    print(f"\nConnecting and one photo: {first:.2f} s")


def processor_seconds(pids: list[int]) -> float:
    """Of this process and others, so far."""
    total = sum(os.times()[:2])
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(json.loads(options.measure))
    elif reason := why_no_namespaces():
        print(f"Not measured: {reason}.")
    else:
        del options.measure
        arrange(options)


if __name__ == "__main__":
    main()
