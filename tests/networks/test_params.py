import pytest
import yaml
from pydantic import ValidationError

from cannabis_ml.networks.params import LossParams, ModelParams, WeightSource
from cannabis_ml.tiers import TIERS
from cannabis_ml.training.schedule import TrainingParams


def test_sources_may_be_written_short():
    params = ModelParams.model_validate(
        yaml.safe_load("weights: [package, {file: a/b.pth}, {kind: hub, timeout: 3}, random]")
    )
    assert [source.kind for source in params.weights] == ["package", "file", "hub", "random"]
    assert str(params.weights[1].path) == "a/b.pth"
    assert params.weights[2].timeout == 3


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("one", ["one"]),
        ("[one, two]", ["one", "two"]),
        ("{fusion: [one, two, three]}", ["one", "two", "three"]),
    ],
)
def test_backbones_may_be_one_or_several(written, names):
    params = ModelParams.model_validate({"backbone": yaml.safe_load(written)})
    assert params.backbones == names
    again = ModelParams.model_validate(params.model_dump(mode="json"))
    assert again == params


@pytest.mark.parametrize("backbone", [[], ["one"], {"fusion": ["one"]}, {"fused": ["a", "b"]}, 3])
def test_a_fusion_of_fewer_than_two_is_refused(backbone):
    with pytest.raises(ValidationError):
        ModelParams(backbone=backbone)


@pytest.mark.parametrize("source", ["internet", {"kind": "file"}, {"kind": "hub", "path": "x"}])
def test_wrong_sources_are_refused(source):
    with pytest.raises(ValidationError):
        ModelParams(weights=[source])


@pytest.mark.parametrize("params", [ModelParams, LossParams, TrainingParams, WeightSource])
def test_fields_are_documented_and_misspelt_ones_refused(params):
    assert all(field.description for field in params.model_fields.values())
    with pytest.raises(ValidationError, match="Extra inputs"):
        params.model_validate(
            {"kind": "hub", "epoch": 3} if params is WeightSource else {"epoch": 3}
        )


def test_configuration_of_the_project_is_valid(request):
    path = request.config.rootpath / "conf/base/parameters_training.yml"
    written = yaml.safe_load(path.read_text())
    TrainingParams.model_validate(written["training"])
    for tier in TIERS:
        ModelParams.model_validate(written[tier.name]["model"])


def test_the_same_backbone_twice_is_no_fusion():
    with pytest.raises(ValidationError, match="must differ, got resnet18 more than once"):
        ModelParams(backbone={"fusion": ["resnet18", "resnet50", "resnet18"]})
