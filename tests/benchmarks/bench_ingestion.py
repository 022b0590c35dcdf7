"""Ingestion against the obvious script, and its memory.

Run it by `python tests/benchmarks/bench_ingestion.py`.

Ours is the `index_photos` node: read, SHA-256, decode, every check, file properties, perceptual
hash and thumbnail. The obvious script opens each photo with Pillow to verify it, opens it again for
imagehash's pHash, and hashes its bytes. Both read the same files in one run, in turns; once on one
core, once on all. Phone photos are made from real ones, brought to 4000 x 3000 and saved as a
phone saves them. Memory is the peak of a process of its own over 1, 4 and 16 times as many photos.

With imagehash installed (`pip install imagehash`) the script uses it; else the same steps, which
take the same time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from machine import LIBRARIES, alternate, machine
from PIL import Image
from scipy import fftpack

os.environ["TQDM_DISABLE"] = "1"

from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.nodes import index_photos
from cannabis_ml.pipelines.ingestion.params import IndexParams
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}])
PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
PHONE = (4000, 3000)

try:
    import imagehash
except ImportError:
    imagehash = None


def phash(image: Image.Image) -> object:
    """imagehash 4.3's phash: the library where it is there, else its steps."""
    if imagehash is not None:
        return imagehash.phash(image)
    pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    low = fftpack.dct(fftpack.dct(pixels, axis=0), axis=1)[:8, :8]
    return low > np.median(low)


def obvious(path: Path) -> tuple[object, str]:
    """What the script does with one photo."""
    with Image.open(path) as image:
        image.verify()
    with Image.open(path) as image:
        hashed = phash(image)
    return hashed, hashlib.sha256(path.read_bytes()).hexdigest()


def theirs(paths: list[Path], workers: int) -> None:
    """The script, in threads where it may use several cores."""
    if workers == 1:
        for path in paths:
            obvious(path)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(obvious, paths))


def ours(paths: list[Path], workers: int | None) -> pd.DataFrame:
    """The node over these files."""
    source = pd.DataFrame({"path": [str(path) for path in paths]}, dtype="str")
    source["group"] = source["given_split"] = pd.Series(None, index=source.index, dtype="str")
    return index_photos(source, TAXONOMY, IndexParams(workers=workers), DefectParams())


def phone_photos(folder: Path, count: int, **save: object) -> list[Path]:
    """Real photos of leaves brought to 12 megapixels; as sharp as their enlargement lets them."""
    paths = []
    for i, source in enumerate(_large_photos(count)):
        with Image.open(source) as image:
            grown = image.convert("RGB").resize(PHONE, Image.Resampling.LANCZOS)
        noise = np.random.default_rng(i).normal(0, 3, (PHONE[1], PHONE[0], 1))
        pixels = (np.asarray(grown) + noise).clip(0, 255).astype(np.uint8)  # of the sensor
        paths.append(folder / f"phone {len(list(folder.iterdir()))}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90, **save)
    return paths


def _large_photos(count: int) -> list[Path]:
    known = ["naturally_bad/exif_rotated/20130610_110514.jpg", "naturally_bad/huge/RARZ4.jpg"]
    large = [PHOTOS_DIR / name for name in known]
    large += sorted((PHOTOS_DIR / "cannabis_leaf_condition").glob("*/*"))
    return [path for path in large if path.is_file()][:count]


def compare(title: str, paths: list[Path], repeats: int) -> None:
    """Print photos per second of both sides, on one core and on all."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    print(f"\n{title}: {len(paths)} photos of {megabytes:.2f} MB")
    assert ours(paths, 1)["defect"].isna().all()
    for workers in sorted({1, cores or 1}):
        sides = {
            "script": lambda n=workers: theirs(paths, n),
            "ours": lambda n=workers: ours(paths, n),
        }
        seconds = alternate(sides, repeats)
        rates = {name: len(paths) / taken for name, taken in seconds.items()}
        ratio = rates["ours"] / rates["script"]
        told = ", ".join(f"{name} {rate:,.1f} photos/s" for name, rate in rates.items())
        print(f"  {workers} thread{'' if workers == 1 else 's'}: {told}; {ratio:.1f} times")


PEAK = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from bench_ingestion import ours
paths = sorted(Path({folder!r}).iterdir())
ours((paths * ({count} // len(paths) + 1))[:{count}], 2)
status = Path("/proc/self/status").read_text().split()  # getrusage counts the parent in
print(status[status.index("VmHWM:") + 1])
"""


def memory(title: str, folder: Path, count: int) -> None:
    """Print the peak resident memory over N, 4N and 16N photos."""
    here = str(Path(__file__).parent)
    peaks = {}
    for factor in (1, 4, 16):
        code = PEAK.format(here=here, folder=str(folder), count=count * factor)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks[count * factor] = int(done.stdout.split()[-1]) / 1024
    told = ", ".join(f"{n:,} photos {peak:,.0f} MB" for n, peak in peaks.items())
    print(f"{title}: {told}; largest to smallest {max(peaks.values()) / min(peaks.values()):.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--phone", type=int, default=8, help="12 megapixel photos")
    parser.add_argument("--small", type=int, default=300, help="photos of 256 pixels")
    parser.add_argument("--memory", type=int, default=16, help="N of the memory table")
    arguments = parser.parse_args()
    print(machine((*LIBRARIES, "imagehash")))
    if imagehash is None:
        print("imagehash is not there: its own steps stand in for it (pip install imagehash)")
    with tempfile.TemporaryDirectory() as name:
        phones, progressive = Path(name) / "phone", Path(name) / "progressive"
        for folder in (phones, progressive):
            folder.mkdir()
        compare("12 megapixels", phone_photos(phones, arguments.phone), arguments.repeats)
        slow = phone_photos(progressive, 3, progressive=True)
        compare("12 megapixels, progressive", slow, arguments.repeats)
        small = sorted((PHOTOS_DIR / "plantdoc_256/train").glob("*/*"))[:: 2316 // arguments.small]
        compare("256 pixels", small[: arguments.small], arguments.repeats)
        print("\nPeak memory of indexing in 2 threads")
        memory("12 megapixels", phones, arguments.memory)
        memory("256 pixels", small[0].parent, 250)  # a class folder, over and over


if __name__ == "__main__":
    main()
