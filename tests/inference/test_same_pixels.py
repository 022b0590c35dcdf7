"""Training's evaluation and inference show a network the same pixels of the same photo."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

from cannabis_ml.inference.predictor import open_model
from cannabis_ml.photos.decode import decode


@pytest.fixture(scope="module")
def stored(draw):
    """Files as a photo set stores them: upright RGB, JPEG or PNG, larger and smaller than S."""

    def file(seed, width, height, kind, **how):
        held = io.BytesIO()
        draw(seed, width, height).save(held, kind, **how)
        return held.getvalue()

    return [
        file(0, 64, 48, "PNG"),
        file(1, 33, 97, "PNG"),
        file(2, 9, 12, "PNG"),
        file(3, 16, 16, "PNG"),
        file(4, 120, 80, "JPEG", quality=90),
        file(5, 81, 121, "JPEG", quality=75, subsampling=0),
        file(6, 90, 90, "JPEG", progressive=True),
    ]


def seen_in_training(stored, taxonomy, size):
    """uint8 (N, S, S, 3) as the data module hands them to the network when it evaluates."""
    from cannabis_ml.photo_sets.photo_set import PhotoSet
    from cannabis_ml.training.data import EVALUATION, Photos
    from cannabis_ml.training.training_data import TrainingData

    rows = [
        {
            "photo_id": f"{i:064x}",
            "image": {"bytes": data, "path": None},
            "split": "test",
            **dict.fromkeys(taxonomy.columns),
        }
        for i, data in enumerate(stored)
    ]
    text = {c: datasets.Value("int8" if "." in c else "string") for c in taxonomy.columns}
    features = datasets.Features(
        {
            "photo_id": datasets.Value("string"),
            "image": datasets.Image(),
            "split": datasets.Value("string"),
            **text,
        }
    )
    photo_set = PhotoSet(datasets.Dataset.from_list(rows, features=features))
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(len(rows))), size)
    return [photos[EVALUATION, i][0].numpy().transpose(1, 2, 0) for i in range(len(rows))]


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_training_and_inference_show_the_same_pixels(small, model_file, stored, kind, monkeypatch):
    from cannabis_ml.taxonomy import Taxonomy

    plain = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    theirs = seen_in_training(stored, plain, small.size)
    tier, ours = open_model(model_file(kind)), []
    invoke = tier.invoke
    monkeypatch.setattr(tier, "invoke", lambda pixels: ours.extend(pixels) or invoke(pixels))
    tier.probs([decode(data) for data in stored])
    for i, (seen, expected) in enumerate(zip(ours, theirs, strict=True)):
        apart = np.abs(seen.astype(int) - expected).max()
        assert apart <= (0 if stored[i].startswith(b"\x89PNG") else 1), i


def test_reading_a_large_jpeg_smaller_changes_little():
    """What `predict` does for speed, measured against decoding the photo whole."""
    from cannabis_ml.inference.predictor import as_pixels
    from cannabis_ml.photos.resize import center_crop_resize

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    noise = random.normal(0, 4, (1800, 2400, 1))
    large = Image.fromarray(coarse).resize((2400, 1800), Image.Resampling.BICUBIC)
    held = io.BytesIO()
    Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8)).save(held, "JPEG")
    data = held.getvalue()
    reduced = as_pixels(data, 100)
    assert min(reduced.shape[:2]) < 1800
    apart = np.abs(
        center_crop_resize(decode(data), 100).astype(int) - center_crop_resize(reduced, 100)
    )
    assert apart.max() <= 2
    assert apart.mean() < 0.5
