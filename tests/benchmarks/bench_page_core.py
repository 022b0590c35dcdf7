"""What the page's core weighs, and what resizing and reports cost under node, beside Python.

    python tests/benchmarks/bench_page_core.py [BUNDLE] [--times 15]

BUNDLE is the folder that `kedro run` ends with, or else the newest one; `make page` comes first.
CPU milliseconds, the median of all and the first, which a page sees once. Resizing makes the
model's input and the copy that the checks of photos look at, from rows in strips; both sides leave
decoding out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.local_tier import tier_answer
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.photos.checks.examined_file import WORKING_SIDE
from cannabis_ml.photos.resize import center_crop_resize, shrink

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "src" / "cannabis_ml" / "serving" / "page"
CORE = PAGE / "source" / "core"

SIZE = "const z=require('zlib');process.stdin.pipe(z.createBrotliCompress()).pipe(process.stdout)"


def newest_bundle() -> Path:
    found = sorted((HERE.parents[1] / "data" / "06_models" / "bundle").glob("*/bundle"))
    return found[-1] if found else sys.exit("There is no bundle yet: make run.")


def compiled(entry: Path, script: Path, *options: str) -> Path:
    esbuild = PAGE / "node_modules" / ".bin" / "esbuild"
    command = [esbuild, entry, "--bundle", "--format=esm", f"--alias:CORE={CORE}", *options]
    subprocess.run([*command, f"--outfile={script}", "--log-level=warning"], check=True)
    return script


def weights(folder: Path) -> None:
    entry = folder / "all.ts"
    entry.write_text('export * from "CORE/index"; export * from "CORE/decode";')
    script = compiled(entry, folder / "all.js", "--minify", "--charset=utf8").read_bytes()
    brotli = subprocess.run(["node", "-e", SIZE], input=script, capture_output=True, check=True)
    print(
        f"bytes: {len(script):,} minified, {len(gzip.compress(script, 9)):,} gzip,"
        f" {len(brotli.stdout):,} brotli"
    )


def median_cpu(work, times: int) -> float:
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start))
    return statistics.median(spent)


def of_python(bundle: Bundle, tier: str, times: int) -> dict[str, float]:
    predictor = bundle.predictor(tier, threads=1)
    reporter, rules, rule = (
        Reporter(predictor, bundle.rules(tier)),
        bundle.rules(tier),
        bundle.routing,
    )
    side = predictor.image_size
    outputs = predictor.outputs(bundle.golden_photos()[:1])
    black = np.zeros((512, 512, 3), np.uint8)

    def resize(height: int, width: int):
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return lambda: (center_crop_resize(photo, side), shrink(photo, WORKING_SIDE))

    def report() -> None:
        found = reporter.report_on(black, outputs, language="es")
        found.as_json()
        if rule is not None:
            tier_answer(found, outputs, rules.decision, rule, rules.unknown)

    return {
        "resize 512 px": median_cpu(resize(512, 512), times),
        "resize 12 MP": median_cpu(resize(3000, 4000), times),
        "report and routing": median_cpu(report, times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=15)
    options = parser.parse_args()
    if not (PAGE / "node_modules").exists():
        sys.exit("The page's tools are missing: make page.")
    bundle = Bundle.open(options.bundle or newest_bundle())
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights(folder)
        script = compiled(HERE / "page_core.ts", folder / "bench.mjs", "--platform=node")
        done = subprocess.run(
            ["node", script, bundle.path, str(options.times)],
            capture_output=True,
            text=True,
            check=True,
        )
    print("\nCPU ms                          node, first   node   Python")
    for tier, parts in json.loads(done.stdout).items():
        python = of_python(bundle, tier, options.times)
        for part, spent in parts.items():
            print(
                f"{tier}  {part:22} {spent['first']:12.1f} {spent['median']:7.1f}"
                f" {python[part]:8.1f}"
            )


if __name__ == "__main__":
    main()
