import pytest
import torch

from cannabis_ml.networks.attention import SpatialAttention
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.network import Architecture, HierarchicalNet

SIZE = 64


def photos(n):
    return torch.randint(0, 256, (n, 3, SIZE, SIZE), dtype=torch.uint8)


def make(taxonomy, backbone, attention=True):
    torch.manual_seed(0)
    made = create_backbone(backbone, SIZE)
    return HierarchicalNet(
        made, taxonomy, Architecture(image_size=SIZE, attention=attention)
    ).eval()


def unsettle(network):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.attention.parameters():
            parameter.normal_()


@pytest.mark.parametrize("channels_last", [False, True])
def test_fresh_attention_weighs_all_places_alike(channels_last):
    shape = (2, 5, 7, 8) if channels_last else (2, 8, 5, 7)
    features = torch.randn(shape)
    attended, weight = SpatialAttention(8, channels_last=channels_last)(features)
    torch.testing.assert_close(attended, features)
    torch.testing.assert_close(weight, torch.full((2, 5, 7), 0.5))


def test_attention_moves_features_to_where_it_looks():
    """By hand: weights 0.75 and 0.25 have the mean 0.5, so features are scaled by 1.5 and 0.5."""
    attend = SpatialAttention(1)
    with torch.no_grad():
        attend.squeeze.weight.zero_()
        attend.squeeze.bias.zero_()
        attend.squeeze.weight[0] = 1  # the ReLU lets the first place's 1 pass, not the other's -1
        logit = torch.logit(torch.tensor(0.75))
        attend.weigh.weight.zero_()
        attend.weigh.weight[0, 0] = 2 * logit
        attend.weigh.bias.fill_(-logit)
    attended, weight = attend(torch.tensor([[[[1.0, -1.0]]]]))
    torch.testing.assert_close(weight, torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(attended, torch.tensor([[[[1.5, -0.5]]]]))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_mambaout"])
def test_map_has_the_shape_of_the_feature_map(taxonomy, backbone, n):
    network = make(taxonomy, backbone)
    unsettle(network)
    features, where = network.embed_with_attention(photos(n))
    assert where.shape == (n, 2, 2)
    assert ((where > 0) & (where < 1)).all()
    assert len(where.unique()) > 1
    assert features.shape == (n, network.num_features)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_mambaout"])
def test_fresh_attention_keeps_the_features_of_the_backbone(taxonomy, backbone):
    batch = photos(2)
    plain = make(taxonomy, backbone, attention=False)
    attending = make(taxonomy, backbone)
    assert plain.embed_with_attention(batch)[1] is None
    torch.testing.assert_close(attending.embed(batch), plain.embed(batch))


def test_attention_is_off_without_a_map(taxonomy):
    network = make(taxonomy, "test_vit")
    assert len(network.attention) == 0
    features, where = network.embed_with_attention(photos(2))
    assert where is None
    assert features.shape == (2, network.num_features)
    assert network.card("x").attention is False


def test_fusion_attends_where_there_is_a_map(taxonomy):
    network = make(taxonomy, ["test_vit", "test_efficientnet"])
    batch = photos(2)
    features, where = network.embed_with_attention(batch)
    assert where.shape == (2, 2, 2)
    torch.testing.assert_close(features, network.backbone((batch - network.mean) / network.std))
    unsettle(network)
    moved, _ = network.embed_with_attention(batch)
    tokens = network.backbone.branches[0].num_features
    assert torch.equal(moved[:, :tokens], features[:, :tokens])
    assert not torch.allclose(moved[:, tokens:], features[:, tokens:])


def test_gradient_reaches_all_of_attention_from_the_second_step_on(taxonomy):
    network = make(taxonomy, "test_efficientnet").train()
    optimizer = torch.optim.SGD(network.attention.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(photos(4))["colour"].square().sum().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in network.attention.parameters())
