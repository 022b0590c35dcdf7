"""Full fine-tuning against timm's training script: photos per second and peak memory.

    python tests/benchmarks/bench_fine_tuning.py [--photos DIR] [--train 128]

Everything learns; photos are read from disk and augmented. `ours` is `fit` with what the script
has: one multiclass head, no attention, no average of the weights; a second line has our defaults,
a third takes memory from the kernel and gives it back as glibc does by itself.
Photos per second are those of the passes over the training photos after the first. What each side
is made of: training_sides.py. Each runs in a process of its own, in turns; on two cores that other
work shares, `--threads 1` is steadier.

Peak resident memory is that of the process that trains, plus the largest of its workers once per
worker. timm is taken at `--timm-workers` (0 is the least memory, and on two cores as fast as any)
and, for its memory, once at the script's default of 4.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine
from training_sides import (
    BACKBONE,
    BATCH,
    LIBRARIES,
    SIZE,
    lay_out,
    measure,
    parser_of,
    save_weights,
)

SCRIPT_WORKERS = 4
"""timm's default."""


def peak(told, workers):
    return told["rss"] + workers * told["worker_rss"]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--train", type=int, default=128, help="photos, a multiple of 32")
    parser.add_argument("--validation", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(machine(LIBRARIES))
    print(
        f"\n{BACKBONE}, {SIZE} px, batch {BATCH}, {options.train} photos, everything learns,"
        f" {options.threads or 'all'} threads"
    )
    theirs = {"timm_script": options.timm_script, "workers": options.timm_workers}
    sides = {"timm": theirs, "ours": {}, "ours, our defaults": {"defaults": True}}
    sides["ours, memory mapped"] = {"mapped": True}
    taken = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as scratch:
        folder = lay_out(options.photos, Path(scratch, "photos"), options.train, options.validation)
        weights = save_weights(Path(scratch, "weights.pth"))

        def run(name, epochs, **extra):
            return measure(name.split(",")[0], folder, weights, epochs=epochs, **extra)

        for _ in range(options.rounds):
            for name, extra in sides.items():
                taken[name].append(run(name, options.epochs, **extra))
        default = run("timm", 1, **{**theirs, "workers": SCRIPT_WORKERS})
    passes = {name: [p for told in taken[name] for p in told["passes"][1:]] for name in sides}
    wall = {name: options.train / median(p[0] for p in passes[name]) for name in sides}
    cpu = {name: options.train / median(p[1] for p in passes[name]) for name in sides}
    print(f"{'':20}{'photos/s':>10}{'ratio':>9}{'per CPU s':>12}{'ratio':>9}{'peak, MB':>11}")
    for name, extra in sides.items():
        memory = median(peak(told, extra.get("workers", 0)) for told in taken[name])
        print(
            f"{name:20}{wall[name]:10.2f}{wall[name] / wall['timm']:8.2f}x"
            f"{cpu[name]:12.2f}{cpu[name] / cpu['timm']:8.2f}x{memory:11,.0f}"
        )
    by_default = peak(default, SCRIPT_WORKERS)
    print(f"timm at its default of {SCRIPT_WORKERS} workers: {by_default:,.0f} MB,", end=" ")
    print(f"shared pages counted in each; {default['rss']:,.0f} MB of them its main process")
    print("wanted: at least timm's photos/s, at most its memory.", end=" ")
    print(f"timm's side: {options.timm_script or 'its parts in a loop'}")


if __name__ == "__main__":
    main()
