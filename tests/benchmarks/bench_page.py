"""What the page costs a phone: bytes of a visit, and time from a photo to the first answer.

    python tests/benchmarks/bench_page.py BUNDLE [--photos 15] [--slower 4]

Bytes are bodies as the service sent them, compressed where they are; the first visit ends when the
page works without a network, larger tiers included. Times are medians in Chromium, from the chosen
file to the answer on the screen, first as this machine is and then with the page's process stopped
for most of the time, as a mid-range phone is slower. Beside them stand the same photos asked of the
service by curl's way, from sending the photo to the report: what a page without models would cost
on a network without delay.
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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from chromium import chromium
from machine import machine
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2}
SIZES = {"512 px": (512, 512), "12 MP": (4032, 3024)}
RUN = 0.005
"""Seconds that a slowed process runs before it is stopped."""

# Resolves with the milliseconds until the photo that is chosen next has an answer on the screen.
FIRST_ANSWER = """
() => {
  window.answered = new Promise(resolve => {
    const began = performance.now();
    const before = location.hash;
    const look = () => location.hash !== before && document.querySelector("main .answer-name")
      ? resolve(performance.now() - began) : requestAnimationFrame(look);
    requestAnimationFrame(look);
  });
}
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--photos", type=int, default=15, help="of each size; default: 15")
    parser.add_argument("--slower", type=float, default=4, help="times; default: 4")
    options = parser.parse_args()
    found = chromium()
    if found is None:
        raise SystemExit("There is no Chromium.")
    print(machine())
    with service(options.bundle) as (address, sent), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        print(f"Chromium {browser.version}")
        page = visits(browser, address, sent)
        for name, size in SIZES.items():
            photos = [photo(size, seed) for seed in range(options.photos)]
            times = [first_answer(page, each) for each in photos]
            with slowed(renderers_of(browser), options.slower):
                slow = [first_answer(page, each) for each in photos]
            server = [asked(address, each) for each in photos]
            print(
                f"{name}: first answer {told(times)}; {options.slower:g}x slower {told(slow)};"
                f" by the service {told(server)}"
            )
        browser.close()


def visits(browser: Browser, address: str, sent: list[dict[str, object]]) -> Page:
    """Visit twice, and print what came; returns the page."""
    page = browser.new_context(**PHONE).new_page()
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(".state.good", timeout=120_000)
    ready = time.perf_counter() - began
    first = [*sent]
    page.get_by_text("Works without a network").wait_for(timeout=120_000)
    page.wait_for_timeout(5_000)
    whole = [*sent]
    page.reload()
    page.wait_for_selector(".state.good", timeout=120_000)
    page.wait_for_timeout(2_000)
    print(
        f"first visit: ready after {ready:.1f} s and {megabytes(first)};"
        f" without a network after {megabytes(whole)} in all"
    )
    for route, size in sorted(by_route(whole).items(), key=lambda item: -item[1]):
        print(f"    {size / 1e6:7.3f} MB  {route}")
    print(f"second visit: {sum(map(size_of, sent[len(whole) :])):,} bytes")
    return page


def first_answer(page: Page, data: bytes) -> float:
    """Milliseconds from choosing a photo to its answer on the screen."""
    with page.expect_file_chooser() as chooser:
        page.locator(".bottom .choose").click()
    page.evaluate(FIRST_ANSWER)
    chooser.value.set_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data})
    took = float(page.evaluate("() => window.answered"))
    page.wait_for_selector(".banner.asking.busy", state="detached")
    return took


def asked(address: str, data: bytes) -> float:
    """Milliseconds until the service has answered for a photo."""
    began = time.perf_counter()
    httpx.post(
        f"{address}/v2/analyze", content=data, headers={"content-type": "image/jpeg"}
    ).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def photo(size: tuple[int, int], seed: int) -> bytes:
    """A JPEG as cameras write it, of coarse shapes with noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    noisy = pixels + random.integers(-6, 7, pixels.shape, dtype=np.int16)
    held = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(held, "JPEG", quality=90)
    return held.getvalue()


@contextmanager
def slowed(processes: list[int], times: float) -> Iterator[None]:
    """Processes that run for one part of `times` of every period, threads and all."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.is_set():
            began = time.perf_counter()
            time.sleep(RUN)
            tell(signal.SIGSTOP)
            # Where others use the machine, a short sleep takes longer than asked for.
            time.sleep((time.perf_counter() - began) * (times - 1))
            tell(signal.SIGCONT)

    def tell(sent: signal.Signals) -> None:
        for process in processes:
            os.kill(process, sent)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def renderers_of(browser: Browser) -> list[int]:
    """The processes that pages and their workers run in."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return [int(each["id"]) for each in found if each["type"] == "renderer"]


@contextmanager
def service(bundle: Path) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A service in a process of its own: its address, and the log as it grows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cannabis_ml.serving", str(bundle), "--port", str(port)]
    lines: list[dict[str, object]] = []
    with tempfile.TemporaryFile("w+") as errors:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)

        def read() -> None:
            told = (line for line in running.stdout or [] if line.startswith('{"request_id"'))
            lines.extend(json.loads(line) for line in told)

        reader = threading.Thread(target=read)
        reader.start()
        address = f"http://127.0.0.1:{port}"
        try:
            while not is_ready(address):
                if running.poll() is not None:
                    errors.seek(0)
                    raise SystemExit(errors.read())
                time.sleep(0.1)
            lines.clear()
            yield address, lines
        finally:
            running.terminate()
            running.wait()
            reader.join()


def is_ready(address: str) -> bool:
    """Whether the service answers as it should."""
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def size_of(line: dict[str, object]) -> int:
    """Bytes of a response's body."""
    return int(str(line["bytes"]))


def megabytes(lines: list[dict[str, object]]) -> str:
    """As "8.21 MB"."""
    return f"{sum(map(size_of, lines)) / 1e6:.2f} MB"


def by_route(lines: list[dict[str, object]]) -> dict[str, int]:
    """Bytes by the route's template."""
    found: dict[str, int] = {}
    for line in lines:
        route = str(line["route"])
        found[route] = found.get(route, 0) + size_of(line)
    return found


def told(times: list[float]) -> str:
    """As "120 ms (90 to 300)": median, smallest and largest."""
    return f"{statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})"


if __name__ == "__main__":
    main()
