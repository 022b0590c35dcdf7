"""Photos whose true probabilities are known: drawn, then made wrong in a known way."""

from types import SimpleNamespace

import numpy as np
import pytest

from cannabis_ml.calibration.examples import Examples


def true_probs(photos, classes, seed=0, spread=2.0):
    logits = np.random.default_rng(seed).normal(scale=spread, size=(photos, classes))
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def labels_from(probs, seed=0):
    random = np.random.default_rng(seed + 10_000)
    picked = (probs.cumsum(axis=1) < random.random((len(probs), 1))).sum(axis=1)
    return np.minimum(picked, probs.shape[1] - 1)


def sharpened(probs, power):
    """What a model says whose temperature should be `power`."""
    raised = probs**power
    return raised / raised.sum(axis=1, keepdims=True)


def examples(photos=500, classes=4, power=1.0, seed=0):
    probs = true_probs(photos, classes, seed)
    labels = labels_from(probs, seed)
    said = sharpened(probs, power).astype(np.float32).astype(np.float64)
    return Examples(said, labels, np.arange(photos))


@pytest.fixture(scope="session")
def drawn():
    return SimpleNamespace(
        true_probs=true_probs, labels_from=labels_from, sharpened=sharpened, examples=examples
    )
