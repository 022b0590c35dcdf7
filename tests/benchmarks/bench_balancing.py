"""Balancing a million rows: seconds per strategy, and proof that no pixel is read.

python tests/benchmarks/bench_balancing.py [--rows 1000000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
from datasets import Dataset
from machine import machine, median_seconds

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.balancing.nodes import balance_classes
from cannabis_ml.pipelines.balancing.params import BalancingParams
from cannabis_ml.taxonomy import Taxonomy

CLASSES = [f"class_{i}" for i in range(30)]
TAXONOMY = Taxonomy(
    heads=[{"name": "kind", "classes": CLASSES}, {"name": "grade", "classes": list("abcde")}]
)


def photo_set(rows, folder):
    """A set of `rows` photos whose images are no images: reading one would fail."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, len(CLASSES) + 1)
    table = pa.table(
        {
            "photo_id": [random.bytes(32).hex() for _ in range(rows)],
            "image": pa.array([b"not a photo"] * rows),
            "split": random.choice(["train", "test"], rows, p=[0.8, 0.2]),
            "kind": random.choice(CLASSES, rows, p=shares / shares.sum()),
            "grade": random.choice(list("abcde"), rows),
        }
    )
    Dataset(table).save_to_disk(folder)
    return PhotoSet(Dataset.load_from_disk(folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine(("numpy", "pandas", "pyarrow", "datasets")))
    print(f"\n{options.rows:,} rows; wanted: under a second")
    with tempfile.TemporaryDirectory() as folder:
        photos = photo_set(options.rows, folder)
        for heads in (["kind"], ["kind", "grade"]):
            for strategy in ("none", "oversample", "undersample", "weighted", "effective_number"):
                params = BalancingParams(strategy=strategy, heads=heads)
                seconds = median_seconds(lambda p=params: balance_classes(photos, TAXONOMY, p))
                print(f"{' + '.join(heads):15}{strategy:20}{seconds:8.3f} s")


if __name__ == "__main__":
    main()
