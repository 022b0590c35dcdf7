"""LiteRT.js, which the page runs, beside onnxruntime-web, with the same tier of a bundle.

    python tests/benchmarks/bench_page_runtimes.py BUNDLE [--tier tier2] [--times 30] [--rounds 5]

The tier needs a TFLite file for pages and an ONNX file. Each side is a worker on one thread in
Chromium, opened anew in every round; sides take turns. onnxruntime-web is fetched by npm for the
time of the measurement, as the page does not use it. Sizes are what a first visit takes of the
runtime (gzip) and of the model (as it is).
"""

from __future__ import annotations

import argparse
import functools
import gzip
import http.server
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from chromium import chromium
from machine import machine
from playwright.sync_api import Page, sync_playwright

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.serving.page.files import BUILT

HERE = Path(__file__).parent
PAGE = BUILT.parent
ONNXRUNTIME = "onnxruntime-web@1.30.0"
ORT_FILES = ("ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LITERT_FILES = ("litert_wasm_internal.js", "litert_wasm_internal.wasm")

ASK = """
([script, asked, kind]) => new Promise((resolve, reject) => {
  const worker = new Worker(script, {type: kind});
  worker.onmessage = ({data}) => { worker.terminate(); resolve(data); };
  worker.onerror = event => reject(new Error(event.message));
  worker.postMessage(asked);
})
"""


class Side(NamedTuple):
    """A runtime with its model: what the worker is, and what a visit fetches."""

    name: str
    script: str
    kind: str
    model: Path
    runtime: list[Path]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--tier", default="tier2")
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    found = chromium()
    if found is None or not (PAGE / "node_modules").exists():
        sys.exit("Chromium is missing." if found is None else "The page is not built: make page.")
    print(machine())
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        sides = prepared(folder, bundle, options.tier)
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        print(f"Chromium {browser.version}, {options.tier}")
        page = browser.new_page()
        page.goto(f"{served(folder)}/index.html")
        side = bundle.tier_file(options.tier).image_size
        told: dict[str, list[dict[str, object]]] = {each.name: [] for each in sides}
        for _ in range(options.rounds):
            for each in sides:
                told[each.name].append(ask(page, each, side, options.times))
        browser.close()
        for each in sides:
            print(in_words(each, told[each.name]))


def prepared(folder: Path, bundle: Bundle, tier: str) -> list[Side]:
    """Build the workers, and lay out what they fetch."""
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", ONNXRUNTIME],
        cwd=folder, check=True,
    )  # fmt: skip
    ort = folder / "node_modules" / "onnxruntime-web" / "dist"
    litert = PAGE / "node_modules" / "@litertjs" / "core" / "wasm"
    for name in LITERT_FILES:
        shutil.copy(litert / name, folder)
    for name in ORT_FILES:
        shutil.copy(ort / name, folder)
    (folder / "index.html").write_text("<!doctype html><title>runtimes</title>")
    files = bundle.manifest.tiers[tier]
    if files.page is None:
        raise SystemExit(f"{tier} of {bundle.path} has no file for pages.")
    models = {".tflite": files.page.file, ".onnx": bundle.tier_file(tier).file}
    for suffix, file in models.items():
        (folder / f"model{suffix}").write_bytes(bundle.read(file))
    build(HERE / "page_litert.ts", folder / "litert.js", "iife", PAGE / "node_modules")
    build(HERE / "page_onnxruntime.ts", folder / "ort.js", "esm", folder / "node_modules")
    return [
        Side(
            "LiteRT.js", "litert.js", "classic", folder / "model.tflite",
            [*(folder / name for name in LITERT_FILES), folder / "litert.js"],
        ),
        Side(
            "onnxruntime-web", "ort.js", "module", folder / "model.onnx",
            [*(folder / name for name in ORT_FILES), folder / "ort.js"],
        ),
    ]  # fmt: skip


def build(entry: Path, to: Path, form: str, modules: Path) -> None:
    """Bundle a worker."""
    esbuild = PAGE / "node_modules" / ".bin" / "esbuild"
    environment = {"NODE_PATH": str(modules), "PATH": "/usr/bin:/bin"}
    node = shutil.which("node")
    subprocess.run(
        [str(node), str(esbuild.resolve()), str(entry), "--bundle", "--minify", f"--format={form}",
         f"--outfile={to}", '--define:LITERT_FOLDER="/"', "--log-level=error"],
        env=environment, check=True,
    )  # fmt: skip


def served(folder: Path) -> str:
    """The address of the folder's files, as long as this process lives."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def ask(page: Page, side: Side, pixels: int, times: int) -> dict[str, object]:
    """One worker's times."""
    origin = page.url.rpartition("/")[0]
    asked = {
        "model": f"/{side.model.name}", "side": pixels, "times": times, "folder": f"{origin}/",
    }  # fmt: skip
    found: dict[str, object] = page.evaluate(ASK, [f"/{side.script}", asked, side.kind])
    return found


def in_words(side: Side, told: list[dict[str, object]]) -> str:
    """A line of the table."""
    opened = statistics.median(float(str(each["opened"])) for each in told)
    first = statistics.median(float(str(each["first"])) for each in told)
    times = [float(time) for each in told for time in each["times"]]  # type: ignore[attr-defined]
    runtime = sum(len(gzip.compress(path.read_bytes())) for path in side.runtime)
    return (
        f"{side.name:16} runtime {runtime / 1e6:.2f} MB, {side.model.name} "
        f"{side.model.stat().st_size / 1e6:.2f} MB; open {opened:.0f} ms, first answer"
        f" {first:.0f} ms, then {statistics.median(times):.1f} ms"
        f" ({min(times):.1f} to {max(times):.1f})"
    )


if __name__ == "__main__":
    main()
