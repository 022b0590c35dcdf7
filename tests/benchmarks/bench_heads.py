"""Ten epochs of the head phase against timm's training script with a frozen backbone.

    python tests/benchmarks/bench_heads.py [--photos DIR] [--train 384] [--timm-script train.py]

From JPEG files in class folders to the last epoch, validation after every epoch included. Ours
stores the photo set, computes features of a cold cache and trains on them; timm's loop takes every
photo through the frozen backbone in every epoch, augmented. What each side is made of:
training_sides.py. Each runs in a process of its own, in turns; on two cores that other work shares,
`--threads 1` is steadier.
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

WANTED = 10


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--train", type=int, default=384, help="photos, a multiple of 32")
    parser.add_argument("--validation", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(machine(LIBRARIES))
    print(
        f"\n{BACKBONE}, {SIZE} px, batch {BATCH}, {options.train} + {options.validation} photos,"
        f" {options.epochs} epochs, backbone frozen, {options.threads or 'all'} threads"
    )
    theirs = {"timm_script": options.timm_script, "workers": options.timm_workers}
    sides = {"timm": theirs, "ours": {}, "ours, our defaults": {"defaults": True}}
    taken = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as scratch:
        folder = lay_out(options.photos, Path(scratch, "photos"), options.train, options.validation)
        weights = save_weights(Path(scratch, "weights.pth"))
        for _ in range(options.rounds):
            for name, extra in sides.items():
                side = name.split(",")[0]
                told = measure(side, folder, weights, epochs=options.epochs, frozen=True, **extra)
                taken[name].append(told)
    print(f"{'':20}{'wall, s':>10}{'CPU, s':>10}{'ratio':>9}{'ratio of CPU':>15}")
    wall, cpu = (
        {name: median(told[what] for told in taken[name]) for name in sides}
        for what in ("wall", "cpu")
    )
    for name in sides:
        by, by_cpu = wall["timm"] / wall[name], cpu["timm"] / cpu[name]
        print(f"{name:20}{wall[name]:10.1f}{cpu[name]:10.1f}{by:8.1f}x{by_cpu:14.1f}x")
    print(f"wanted: {WANTED}x. timm's side: {options.timm_script or 'its parts in a loop'}")


if __name__ == "__main__":
    main()
