"""A small photo set in which colour tells the class, and a network that is small enough to test."""

from __future__ import annotations

import cv2
import datasets
import numpy as np
import pytest

from cannabis_ml.taxonomy import Taxonomy

BACKBONE = "test_efficientnet"
SIDE = 64


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    """One head of each kind."""
    return Taxonomy.model_validate(
        {
            "heads": [
                {"name": "colour", "classes": ["red", "green", "blue"]},
                {"name": "shade", "kind": "ordinal", "classes": ["pale", "middle", "deep", "dark"]},
                {"name": "marks", "kind": "multilabel", "classes": ["line", "dot"]},
            ]
        }
    )


@pytest.fixture(scope="session")
def photo_set(taxonomy: Taxonomy) -> datasets.Dataset:
    """24 training and 8 validation photos; every fifth lacks a label of some head."""
    random = np.random.default_rng(0)
    rows = [_row(i, random, taxonomy) for i in range(32)]
    features = {
        "photo_id": datasets.Value("string"),
        "image": datasets.Image(),
        "split": datasets.Value("string"),
        "colour": datasets.Value("string"),
        "shade": datasets.Value("string"),
        "marks.line": datasets.Value("int8"),
        "marks.dot": datasets.Value("int8"),
    }
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def _row(i: int, random: np.random.Generator, taxonomy: Taxonomy) -> dict:
    colour, shade, line, dot = i % 3, (i // 3) % 4, i % 2, (i // 2) % 2
    pixels = random.integers(0, 40, (SIDE, SIDE + 8, 3), dtype=np.uint8)
    pixels[..., colour] += np.uint8(200 - 45 * shade)
    if line:
        pixels[28:34] = 255
    if dot:
        pixels[5:20, 5:20] = 0
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    return {
        "photo_id": f"{i:064x}",
        "image": {"bytes": data, "path": None},
        "split": "validation" if i % 4 == 3 else "train",
        "colour": None if i % 5 == 0 else taxonomy["colour"].class_names[colour],
        "shade": None if i % 5 == 1 else taxonomy["shade"].class_names[shade],
        "marks.line": None if i % 5 == 2 else line,
        "marks.dot": None if i % 5 == 3 else dot,
    }
