"""A photo set with a hierarchy and attributes, and made-up predictions for it."""

import io

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy


@pytest.fixture(scope="session")
def taxonomy():
    return Taxonomy.model_validate(
        {
            "heads": [
                {"name": "crop", "classes": ["apple", "maize"]},
                {
                    "name": "state",
                    "classes": ["healthy", "scab", "rust"],
                    "parent": "crop",
                    "allowed": {"apple": ["healthy", "scab"], "maize": ["healthy", "rust"]},
                },
                {"name": "age", "kind": "ordinal", "classes": ["young", "grown", "old"]},
                {"name": "marks", "kind": "multilabel", "classes": ["spots", "holes"]},
            ]
        }
    )


@pytest.fixture(scope="session")
def photo_set(taxonomy):
    """60 photos, every second for validation, the others for test; a label in ten unknown."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(60):
        crop = i // 2 % 2
        state = random.choice([0, 1 + crop])
        held = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (20, 24, 3), np.uint8)).save(held, "PNG")
        labels = {
            "crop": taxonomy["crop"].class_names[crop],
            "state": taxonomy["state"].class_names[state],
            "age": taxonomy["age"].class_names[random.integers(3)],
            "marks.spots": int(random.integers(2)),
            "marks.holes": int(random.integers(2)),
        }
        known = {name: None if random.random() < 0.1 else v for name, v in labels.items()}
        image = {"bytes": held.getvalue(), "path": None}
        split = "test" if i % 2 else "validation"
        rows.append({"photo_id": f"{i:064x}", "image": image, "split": split, **known})
    numbers = {name: datasets.Value("int8") for name in taxonomy["marks"].columns}
    texts = ["photo_id", "split", "crop", "state", "age"]
    features = {name: datasets.Value("string") for name in texts}
    features |= {"image": datasets.Image(), **numbers}
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


@pytest.fixture(scope="session")
def predictions(photo_set, taxonomy):
    """Better than chance, and far from right."""
    return predict(photo_set, taxonomy, skill=1.0)


@pytest.fixture(scope="session")
def better_predictions(photo_set, taxonomy):
    return predict(photo_set, taxonomy, skill=30.0)


def predict(photo_set, taxonomy, skill):
    random = np.random.default_rng(1)
    table = photo_set.labels()
    found = table[["photo_id", "split"]].copy()
    for name, truth in taxonomy.encode(table).items():
        classes = len(taxonomy[name].classes)
        if taxonomy[name].kind == "multilabel":
            logits = random.normal(size=truth.shape) + skill * (2 * np.nan_to_num(truth) - 1)
            probs = 1 / (1 + np.exp(-logits))
        else:
            logits = random.normal(size=(len(truth), classes))
            logits += skill * (truth[:, None] == np.arange(classes))
            probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found[name] = pd.Series(list(probs.astype(np.float32)), dtype=object)
    return found
