"""What the parameters say can be chosen goes through every stage, to an opened bundle.

`kedro run --env test` takes the defaults. Two more runs take the rest between them: each changes
as many parameters as can be changed at once, on fewer and smaller photos. A third trains one tier.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from cannabis_ml.inference import Bundle
from cannabis_ml.networks.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

PHASES = [
    {"name": "heads", "epochs": 1, "learning_rate": 1.0e-3, "train": "heads"},
    {"name": "all", "epochs": 2, "learning_rate": 3.0e-3, "train": "all"},
]

FUSED = {
    "balancing": {"strategy": "effective_number", "heads": ["product_type", "quality_grade"]},
    "augmentation": {"copies": 2},
    "training": {
        "ema_decay": 0.9,
        "cache_features": False,
        "mixup": 0.2,
        "cutmix": 1.0,
        "layer_decay": 0.8,
        "loss": {"balance": "learned", "multilabel": "asymmetric", "weights": {"appearance": 2.0}},
    },
    "tier3": {
        "model": {
            "backbone": {"fusion": ["test_efficientnet", "test_vit"]},
            "ensemble": 2,
            "hidden": 16,
        },
        "schedule": {
            "phases": [
                PHASES[0],
                {"name": "top", "epochs": 1, "learning_rate": 1.0e-3, "train": {"last_blocks": 2}},
                PHASES[1],
            ]
        },
        "export": {"quantizations": ["static_int8"]},
    },
    "tier2": {
        "model": {"backbone": "test_vit", "attention": False, "dropout": 0.0},
        "schedule": {
            "phases": PHASES,
            "distillation": {"weight": 0.7, "compare_without_teacher": True},
        },
        "export": {"quantizations": ["float16"], "page": ["weight_only_int8"]},
    },
    "tier1": {
        "model": {"backbone": "test_resnet", "ensemble": 3},
        "schedule": {"phases": PHASES, "batch_size": 8},
        "export": {"format": "tflite", "quantizations": ["static_int8"]},
    },
}
"""A teacher of two networks; weights from balancing; everything that training can be told on."""

PLAIN = {
    # Networks that learn so little tell photos apart by less than rounding: chosen thresholds would
    # lie in between.
    "reports": {"threshold_photos": 1000},
    "balancing": {"strategy": "undersample"},
    "augmentation": {"copies": 0},
    "training": {
        "batch_size": 4,
        "ema_decay": 0.0,
        "augment": False,
        "class_weights": "inverse_frequency",
        "precision": "bf16-mixed",
    },
    "tier3": {
        "model": {"backbone": "test_resnet", "attention": False},
        "schedule": {"phases": PHASES},
        "export": {"quantizations": ["mixed"]},
    },
    "tier2": {
        "model": {"backbone": "test_efficientnet", "ensemble": 1},
        "schedule": {"phases": PHASES, "distillation": {"weight": 0.0}},
        "export": {"quantizations": [], "page": ["float16"]},
    },
    "tier1": {
        "model": {"backbone": "test_efficientnet", "hidden": 16},
        "schedule": {"phases": PHASES},
        "export": {"format": "onnx", "quantizations": ["weight_only_int8", "dynamic_int8"]},
    },
}
"""No running average, no copies, rows left out; a tier without teacher, in float alone."""


def _merged(below, above):
    if not isinstance(below, dict) or not isinstance(above, dict) or "fusion" in above:
        return above
    return {
        key: _merged(below.get(key), above[key]) if key in above else below[key] for key in below
    } | {key: value for key, value in above.items() if key not in below}


def _configure(project, variant):
    """Write a variant into the environment `test` of a copied project."""
    folder = project / "conf/test"
    told = {}
    for path in folder.glob("parameters*.yml"):
        told = _merged(told, yaml.safe_load(path.read_text("utf-8")))
        path.unlink()
    told = _merged(told, variant)
    for tier in ("tier1", "tier2", "tier3"):
        told[tier]["model"] |= {"image_size": 64, "weights": ["random"]}
    told["augmentation"]["policy"] = {"size": 64}
    (folder / "parameters.yml").write_text(yaml.safe_dump(told), "utf-8")
    catalog = folder / "catalog_ingestion.yml"
    entries = yaml.safe_load(catalog.read_text("utf-8"))
    entries["source_photos"]["source"] |= {"count": 64, "size": 64}
    catalog.write_text(yaml.safe_dump(entries), "utf-8")


@pytest.mark.parametrize("variant", [FUSED, PLAIN], ids=["fused", "plain"])
def test_what_can_be_chosen_ends_in_a_bundle(variant, copy_project, kedro, tmp_path):
    project = copy_project(tmp_path / "project")
    _configure(project, variant)
    kedro(project, "run", "--env", "test")
    (path,) = (project / "data/envs/test/06_models/bundle").glob("*/bundle.zip")
    bundle = Bundle.open(path)
    assert bundle.check_golden().passed
    photo = np.full((70, 90, 3), 90, np.uint8)
    for tier in bundle.tiers:
        answer = bundle.predict(photo, tier)
        assert answer["product_type"].decided in answer["product_type"].classes
        # What was asked for is what was trained and exported.
        asked, card = variant[tier], bundle.model_file(tier, quantized=False).card
        backbone = asked["model"]["backbone"]
        names = backbone["fusion"] if isinstance(backbone, dict) else backbone
        assert card.backbone == names
        weight = asked["schedule"].get("distillation", {"weight": 0.5})["weight"]
        assert card.taught is (tier != "tier3" and weight > 0)
        assert " + ".join([names] if isinstance(names, str) else names) in bundle.model_card
        tried = json.loads(
            next(
                project.glob(f"data/envs/test/08_reporting/{tier}/parity.json/*/*.json")
            ).read_text()
        )
        assert set(tried["files"]) == {"float", *asked["export"]["quantizations"]}
        pages = asked["export"].get("page", [])
        assert set(tried["page"]["files"] if pages else ()) == set(pages)
        assert (bundle.manifest.tiers[tier].page is not None) is bool(pages)


def test_one_tier_goes_on_from_a_checkpoint_on_other_rows(finished, kedro, tmp_path):
    """The stages that it takes, of a project that has the rest."""
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    data = project / "data/envs/test"
    checkpoints = data / "06_models/tier3/checkpoint.safetensors"
    (start,) = checkpoints.glob("*/*")
    chosen = f"balancing.strategy=oversample,start.tier3={start.relative_to(project)}"
    stages = ("--pipelines=balancing,training", "--to-outputs=tier3.checkpoint")
    kedro(project, "run", "--env=test", *stages, f"--params={chosen}")
    (made,) = set(checkpoints.glob("*/*")) - {start}
    assert Checkpoint.read(made).card.weights["source"] == "checkpoint"
    rows = pd.read_parquet(max(data.glob("05_model_input/balanced_rows.parquet/*/*")))["row"]
    assert rows.duplicated().any()
    assert len(list(data.glob("06_models/tier2/checkpoint.safetensors/*"))) == 1
