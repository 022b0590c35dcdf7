"""`kedro run --env quick` on a folder of few and tiny photos: from class folders to the bundle."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.slow

CLASSES = ("blue", "green", "red")


def draw_folders(root, photos=36):
    """Photos of noise in which one channel, that of the class, is brighter."""
    random = np.random.default_rng(0)
    for number in range(photos):
        pixels = random.integers(0, 90, (12, 12, 3), dtype=np.uint8)
        pixels[..., 2 - number % 3] += np.uint8(150)
        path = root / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((48, 48), Image.Resampling.NEAREST).save(path)
    return root


@pytest.fixture(scope="module")
def project(copy_project, kedro, backbone_file, tmp_path_factory):
    """A project in which it ran, with a tiny backbone and as few photos as the checks allow."""
    folder = copy_project(tmp_path_factory.mktemp("quick") / "project")
    path = folder / "conf/quick/parameters_training.yml"
    params = yaml.safe_load(path.read_text())
    for tier in ("tier1", "tier2", "tier3"):
        params[tier]["model"] |= {
            "backbone": "test_efficientnet",
            "weights": [{"file": str(backbone_file)}],
            "image_size": 32,
        }
    path.write_text(yaml.safe_dump(params))
    loose = {
        "agreement": {"photos": 20, "fewest": 20, "min_same_decisions": 0.5},
        "max_accuracy_loss": {"multiclass": 0.9},
    }
    export = folder / "conf/quick/parameters_export.yml"
    written = yaml.safe_load(export.read_text())
    written["export"] |= loose
    export.write_text(yaml.safe_dump(written))
    photos = draw_folders(tmp_path_factory.mktemp("photos"))
    kedro(folder, "run", "--env=quick", f"--params=photos={photos}")
    return folder


def newest(project, pattern):
    return max((project / "data/envs/quick").glob(pattern))


def test_all_three_tiers_are_in_a_bundle_that_answers(project):
    from cannabis_ml.inference.bundle import Bundle

    bundle = Bundle.open(newest(project, "06_models/bundle/*/bundle.zip"))
    assert bundle.tiers == ["tier1", "tier2", "tier3"]
    assert bundle.check_golden().passed
    red = np.full((48, 48, 3), (200, 40, 40), np.uint8)
    for tier in bundle.tiers:
        (probs,) = bundle.predictor(tier).probs([red])["label"]
        assert probs.shape == (3,)
        assert probs.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("tier", ["tier1", "tier2", "tier3"])
def test_heads_are_solved_and_nothing_else_is_trained(project, tier):
    history = pd.read_csv(newest(project, f"08_reporting/{tier}/training_history.csv/*/*.csv"))
    assert history[["epoch", "phase"]].to_dict("records") == [{"epoch": 0, "phase": "heads"}]
    metrics = json.loads(newest(project, f"*/{tier}/test_metrics.json/*/*.json").read_text())
    assert metrics["heads"]["label"]["accuracy"] > 1 / 3


def test_photos_are_looked_at_once_per_tier(project):
    workspace = project / "data/envs/quick/06_models/tier2/workspace"
    (features,) = (workspace / "features").iterdir()
    assert len(np.load(features)) == 36
