"""What decoding a JPEG at a reduced scale does to the answer, and what it saves.

    python tests/benchmarks/bench_reduced_decode.py BUNDLE --photos FOLDER [--count 40]

Photos of a folder are enlarged to 12 megapixels with the noise of a sensor, and saved as a phone
saves them (quality 90, 4:2:0). Each is then decoded whole and at the smallest of 1/2, 1/4 and 1/8
that leaves so many times the model's side, `predictor.FINER` being the one in use, and answered by
every tier. Printed are the largest difference of what the model sees in grey levels, the
largest and the 99th percentile of differences of calibrated probabilities, how many answers change,
and CPU milliseconds to decode and resize. 1e-3 is what golden answers may differ by.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.predictor import FINER, Predictor
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize

TIMES = (None, 12, 8, 6, 4, 2)
SIZE = (4000, 3000)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    paths = sorted(options.photos.rglob("*.jpg")) + sorted(options.photos.rglob("*.JPG"))
    chosen = np.random.default_rng(0).permutation(len(paths))[: options.count]
    files = [_enlarged(paths[i], seed) for seed, i in enumerate(chosen)]
    print(machine(("numpy", "pillow", "opencv-python-headless")))
    print(f"{len(files)} photos of {options.photos.name}, {SIZE[0]}x{SIZE[1]}\n")
    print("| tier | side | decoded to | CPU ms | grey levels | largest | 99% | answers changed |")
    print("|---|---|---|---|---|---|---|---|")
    for tier in bundle.tiers:
        _compare(bundle.predictor(tier, threads=1), files)


def _compare(predictor: Predictor, files: list[bytes]) -> None:
    whole: list[tuple[np.ndarray, dict[str, np.ndarray], dict[str, object]]] = []
    for times in TIMES:
        reduce_to = None if times is None else times * predictor.image_size
        start = time.process_time()
        seen = [center_crop_resize(decode(f, reduce_to=reduce_to), predictor.image_size) for f in files]  # fmt: skip  # noqa: E501
        taken = 1000 * (time.process_time() - start) / len(files)
        answers = [predictor.answer(predictor.outputs([pixels])) for pixels in seen]
        found = [
            (
                pixels.astype(np.int16),
                {name: head.probs for name, head in answer.items()},
                {name: head.decided for name, head in answer.items()},
            )
            for pixels, answer in zip(seen, answers, strict=True)
        ]
        whole = whole or found
        levels = max(int(np.abs(a[0] - b[0]).max()) for a, b in zip(whole, found, strict=True))
        apart = np.concatenate(
            [np.abs(a[1][n] - b[1][n]) for a, b in zip(whole, found, strict=True) for n in a[1]]
        )
        changed = sum(a[2][n] != b[2][n] for a, b in zip(whole, found, strict=True) for n in a[2])
        to = "whole" if times is None else f"{times} x side{' (in use)' if times == FINER else ''}"
        print(
            f"| {predictor.tier} | {predictor.image_size} | {to} | {taken:.0f} | {levels} |"
            f" {apart.max():.1e} | {np.quantile(apart, 0.99):.1e} |"
            f" {changed} of {len(files) * len(predictor.taxonomy.heads)} |",
            flush=True,
        )


def _enlarged(path: Path, seed: int) -> bytes:
    with Image.open(path) as image:
        large = image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 5, (SIZE[1], SIZE[0], 1))
    pixels = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()
