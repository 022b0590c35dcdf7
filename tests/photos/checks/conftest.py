"""What the checks find in the bytes of a file."""

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photos.checks import CHECKS
from cannabis_ml.photos.checks.examined_file import examine_bytes
from cannabis_ml.photos.checks.params import DefectParams


@pytest.fixture(scope="session")
def told():
    """What each check says: `told(data, "x.jpg", dark_below=90)` -> {"dark": "Its brightest…"}."""

    def told(data, path="photo.jpg", **params):
        params = DefectParams(**params)
        file = examine_bytes(path, data, params)
        answers = {c.name: c.find(file, params) for c in CHECKS}
        return {name: answer for name, answer in answers.items() if answer}

    return told


@pytest.fixture(scope="session")
def draw():
    """Draw blobs of eight pixels: sharp at any size."""

    def draw(seed=0, width=48, height=40):
        cells = (max(1, height // 8), max(1, width // 8), 3)
        blobs = np.random.default_rng(seed).integers(0, 256, cells, dtype=np.uint8)
        return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)

    return draw
