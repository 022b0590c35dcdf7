"""The tiers as they are wired."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import CatalogConfigResolver

from cannabis_ml.datasets.checkpoint import StartDataset
from cannabis_ml.pipelines import export, training
from cannabis_ml.tiers import TIERS

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pipeline():
    return training.create_pipeline()


def test_every_tier_makes_the_same_things(pipeline):
    def made(tier):
        names = {name for name in pipeline.all_outputs() if name.startswith(f"{tier}.")}
        return {name.removeprefix(f"{tier}.") for name in names}

    assert {"checkpoint", "predictions", "test_metrics", "training_history"} <= made("tier3")
    assert made("tier2") == made("tier1") == made("tier3") | {"distillation"}


def test_students_learn_from_the_teachers_predictions_of_every_split(pipeline):
    for tier in ("tier2", "tier1"):
        (node,) = pipeline.filter(node_names=[f"{tier}.train_student"]).nodes
        assert "tier3.predictions" in node.inputs
    (node,) = pipeline.filter(node_names=["tier3.train_model"]).nodes
    assert not any("predictions" in name for name in node.inputs)


def test_parameters_of_a_tier_are_its_own_and_shared_ones_are_shared(pipeline):
    taken = {name for name in pipeline.inputs() if name.startswith("params:")}
    own = {f"params:{tier.name}.{part}" for tier in TIERS for part in ("model", "schedule")}
    assert taken == own | {"params:training", "params:reports", "params:engine"}


def test_what_a_tier_starts_from_is_an_entry_of_its_own(pipeline):
    for tier in TIERS:
        (node,) = (n for n in pipeline.nodes if f"{tier.name}.single_checkpoint" in n.outputs)
        assert f"{tier.name}.start" in node.inputs
        assert "training_data" in node.inputs


@pytest.mark.parametrize(
    ("given", "tier3"), [({}, None), ({"start": {"tier3": "a.safetensors"}}, "a.safetensors")]
)
def test_the_checkpoint_to_start_from_is_set_for_a_run(given, tier3):
    loader = OmegaConfigLoader(
        conf_source=str(PROJECT / "conf"),
        base_env="base",
        default_run_env="test",
        custom_resolvers={"project_path": lambda: str(PROJECT)},
        runtime_params=given,
    )
    entries = CatalogConfigResolver(loader["catalog"])
    entry = entries.resolve_pattern("tier3.start")
    del entry["type"]
    assert StartDataset(**entry)._describe() == {"tier": "tier3", "path": tier3}
    entry = entries.resolve_pattern("tier1.start")
    del entry["type"]
    assert StartDataset(**entry).load() is None


def test_every_tier_is_exported():
    made = export.create_pipeline().all_outputs()
    assert {f"{tier.name}.models" for tier in TIERS} <= made
