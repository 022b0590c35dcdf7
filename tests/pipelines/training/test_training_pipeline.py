"""The tiers as they are wired."""

import pytest

from cannabis_ml.pipelines import export, training
from cannabis_ml.tiers import TIERS


@pytest.fixture(scope="module")
def pipeline():
    return training.create_pipeline()


def test_every_tier_makes_the_same_things(pipeline):
    def made(tier):
        names = {name for name in pipeline.all_outputs() if name.startswith(f"{tier}.")}
        return {name.removeprefix(f"{tier}.") for name in names}

    assert {"checkpoint", "predictions", "test_metrics", "training_history"} <= made("tier3")
    assert made("tier2") == made("tier1") == made("tier3") | {"distillation"}


def test_students_learn_from_what_the_teacher_says_of_every_split(pipeline):
    for tier in ("tier2", "tier1"):
        (node,) = pipeline.filter(node_names=[f"{tier}.train_student"]).nodes
        assert "tier3.predictions" in node.inputs
    (node,) = pipeline.filter(node_names=["tier3.train_model"]).nodes
    assert not any("predictions" in name for name in node.inputs)


def test_parameters_of_a_tier_are_its_own_and_shared_ones_are_shared(pipeline):
    taken = {name for name in pipeline.inputs() if name.startswith("params:")}
    own = {f"params:{tier.name}.{part}" for tier in TIERS for part in ("model", "recipe")}
    assert taken == own | {"params:training", "params:reports"}


def test_every_tier_is_exported():
    made = export.create_pipeline().all_outputs()
    assert {f"{tier.name}.models" for tier in TIERS} <= made
