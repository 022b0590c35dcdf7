"""How OpenMP threads should wait: training steps on a quiet machine and beside other work.

    python tests/benchmarks/bench_waiting.py [--steps 6] [--rounds 5] [--busy 2]

PyTorch's OpenMP (GNU's libgomp in the CPU wheel) lets threads that have nothing to do spin, so that
the next parallel region begins at once. Beside other work a spinning thread takes the core that the
thread it waits for would need. Each side is a process of its own, as the policy is read when the
library loads; the sides take turns, step by step, first alone, then beside processes that keep the
cores busy. Printed are medians of wall and CPU seconds of a step, and the median of the ratios to
the library's default within each round.

Wanted of what we set (passive): at most 5% slower alone, at least 3 times faster beside two busy
processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

SIDES = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
OURS = "passive"
OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "KMP_BLOCKTIME")


def work(size, batch):
    """Train a step for each line of standard input, and print how long it took."""
    from cannabis_ml.models.compat import ready_torchvision

    ready_torchvision()
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    photos = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    for line in sys.stdin:
        start, before = time.perf_counter(), spent()
        for _ in range(int(line)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(photos), labels).backward()
            optimizer.step()
        print(json.dumps([time.perf_counter() - start, spent() - before]), flush=True)


def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Side:
    """A process that trains a few steps when asked."""

    def __init__(self, extra, options):
        environment = {k: v for k, v in os.environ.items() if k not in OPENMP}
        command = [sys.executable, __file__, "--work", str(options.size), str(options.batch)]
        self.process = subprocess.Popen(
            command,
            env=environment | extra,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steps(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        wall, cpu = json.loads(self.process.stdout.readline())
        return wall / count, cpu / count


def measure(sides, options):
    taken = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            taken[name].append(side.steps(options.steps))
    return taken


def show(title, taken):
    print(f"\n{title}\n{'':14}{'wall, s':>9}{'ratio':>8}{'CPU, s':>9}{'ratio':>8}")
    for name, found in taken.items():
        ratios = [
            median(
                mine[i] / theirs[i] for mine, theirs in zip(found, taken["default"], strict=True)
            )
            for i in (0, 1)
        ]
        wall, cpu = (median(values) for values in zip(*found, strict=True))
        mark = "  <- ours" if name == OURS else ""
        print(f"{name:14}{wall:9.3f}{ratios[0]:7.2f}x{cpu:9.3f}{ratios[1]:7.2f}x{mark}")


def main():
    if sys.argv[1:2] == ["--work"]:
        work(*map(int, sys.argv[2:]))
        return
    from machine import machine

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--steps", type=int, default=4, help="of a side, before the next has its turn"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", type=int, default=2, help="processes that keep cores busy")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    print(machine(("torch", "timm")))
    sides = {name: Side(extra, options) for name, extra in SIDES.items()}
    busy = []
    try:
        for side in sides.values():
            side.steps(1)
        show("alone", measure(sides, options))
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(options.busy)
        ]
        show(f"beside {options.busy} busy processes", measure(sides, options))
    finally:
        for process in [*busy, *(side.process for side in sides.values())]:
            process.kill()


if __name__ == "__main__":
    main()
