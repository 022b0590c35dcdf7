import numpy as np
import pytest
import torch
from PIL import Image

from cannabis_ml.errors import CheckpointError, TaxonomyError
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.grad_cam import embed_with_map, grad_cam, main
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy

SIZE = 64


def make(taxonomy, backbone="test_resnet", attention=False, ensemble=1, mirrored=False):
    torch.manual_seed(0)
    names = [backbone] if isinstance(backbone, str) else backbone
    made = create_backbone(backbone if len(names) > 1 else names[0], SIZE)
    sizes = Architecture(image_size=SIZE, attention=attention, ensemble=ensemble, mirrored=mirrored)
    network = HierarchicalNet(made, taxonomy, sizes).eval()
    with torch.no_grad():
        for parameter in network.attention.parameters():
            parameter.normal_()
    return network


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)


def multilabel(taxonomy):
    head = next(h for h in taxonomy.heads if h.kind == "multilabel")
    return taxonomy.heads.index(head), head


def test_of_a_linear_head_on_averaged_features_it_is_cam(taxonomy, photo):
    """Zhou et al. 2016: the map is the sum of the channels, weighted by the class."""
    network = make(taxonomy, "test_resnet")
    position, head = multilabel(taxonomy)
    square = torch.from_numpy(center_crop_resize(photo, SIZE)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        seen = network.backbone.forward_features((square - network.mean) / network.std)[0]
    weights = network.heads[position][0][-1].weight[1].detach()
    expected = torch.relu(torch.einsum("c,chw->hw", weights, seen))
    found = grad_cam(network, photo, head.name, head.class_names[1])
    np.testing.assert_allclose(found, (expected / expected.max()).numpy(), atol=1e-5)
    assert found.max() == 1


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(
    "backbone", ["test_efficientnet", "test_mambaout", ["test_vit", "test_resnet"]]
)
def test_what_is_explained_is_what_the_heads_see(taxonomy, backbone, attention, mirrored):
    network = make(taxonomy, backbone, attention, ensemble=2, mirrored=mirrored)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    features, seen, channels_last = embed_with_map(network, pixels)
    torch.testing.assert_close(features, network.embed(pixels))
    assert seen.ndim == 4
    assert channels_last == (backbone == "test_mambaout")
    (gradient,) = torch.autograd.grad(features.sum(), seen)
    assert gradient.any()


@pytest.mark.parametrize("backbone", ["test_resnet", "test_mambaout"])
def test_every_kind_of_head_is_explained(taxonomy, photo, backbone):
    network = make(taxonomy, backbone, attention=True)
    for head in taxonomy.heads:
        maps = [grad_cam(network, photo, head.name, name) for name in head.class_names]
        assert {found.dtype for found in maps} == {np.dtype(np.float32)}
        assert {float(found.min()) >= 0 for found in maps} == {True}
        assert 1 in {float(found.max()) for found in maps}


def test_two_classes_are_explained_by_opposite_evidence(photo):
    """What speaks for the only alternative speaks against a class: nowhere do both have a place."""
    two = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    network = make(two)
    one, other = (grad_cam(network, photo, "kind", name) for name in ("a", "b"))
    assert one.any() or other.any()
    assert not (one * other).any()


def test_a_sure_answer_is_explained_too(taxonomy, photo):
    network = make(taxonomy)
    position, head = next((i, h) for i, h in enumerate(taxonomy.heads) if h.kind == "multiclass")
    before = [grad_cam(network, photo, head.name, name) for name in head.class_names]
    k = int(np.argmax([m.any() for m in before]))
    with torch.no_grad():
        network.heads[position][0][-1].bias[k] += 20  # 1 - P is about 1e-9: nothing in float32
    assert grad_cam(network, photo, head.name, head.class_names[k]).any()


def test_a_transformer_has_no_map(taxonomy, photo):
    head = taxonomy.heads[0]
    with pytest.raises(CheckpointError, match="no feature map"):
        grad_cam(make(taxonomy, "test_vit"), photo, head.name, head.class_names[0])


def test_a_head_or_class_that_is_not_there_is_named(taxonomy, photo):
    network, head = make(taxonomy), taxonomy.heads[0]
    with pytest.raises(TaxonomyError, match="no head 'size'"):
        grad_cam(network, photo, "size", "large")
    with pytest.raises(TaxonomyError, match=f"'{head.name}' has no class 'large'"):
        grad_cam(network, photo, head.name, "large")


def test_from_the_command_line(taxonomy, photo, tmp_path, capsys):
    network = make(taxonomy, "test_resnet", attention=True)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    file = tmp_path / "checkpoint.safetensors"
    Checkpoint(state=state, card=network.card("test_resnet")).write(file)
    Image.fromarray(photo).save(tmp_path / "leaf.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    _, head = multilabel(taxonomy)
    name = head.class_names[1]
    asked = ["--folder", str(tmp_path / "maps"), "--head", head.name, "--class", name]
    assert main([str(file), str(tmp_path / "bad.png"), str(tmp_path / "leaf.png"), *asked]) == 1
    told = capsys.readouterr()
    assert "bad.png" in told.err
    assert f"shows what speaks for {head.name} {name}" in told.out
    (written,) = (tmp_path / "maps").iterdir()
    assert written.name == f"leaf.{head.name}.{name}.grad_cam.png"
    assert Image.open(written).size == (96, 80)


def test_a_checkpoint_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "x").write_bytes(b"nothing")
    assert main([str(tmp_path / "x"), "leaf.png", "--folder", str(tmp_path)]) == 2
    assert "not a safetensors file" in capsys.readouterr().err
