import numpy as np
import pytest
import torch

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.backbones import create_backbone, layer_groups, normalization
from cannabis_ml.networks.building import build_network, restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import (
    Architecture,
    ExportNet,
    HierarchicalNet,
    OrdinalHead,
    marginals,
    probabilities,
)
from cannabis_ml.networks.params import LossParams, ModelParams
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.training.losses import hierarchical_loss

SIZE = 64


MEMBERS = 3


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", SIZE)
    return HierarchicalNet(
        backbone,
        taxonomy,
        Architecture(dropout=0.5, image_size=SIZE, ensemble=MEMBERS, attention=True),
    )


def photos(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, SIZE, SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("training", [True, False])
def test_logits_of_every_kind_of_head(network, n, training):
    logits = network.train(training)(photos(n))
    shapes = {name: tuple(values.shape) for name, values in logits.items()}
    assert shapes == {
        "colour": (n, MEMBERS, 3),
        "shade": (n, MEMBERS, 3),
        "marks": (n, MEMBERS, 2),
    }
    assert all(values.dtype == torch.float32 for values in logits.values())
    assert network.embed(photos(n)).shape == (n, network.backbone.num_features)


@pytest.mark.parametrize("hidden", [0, 8])
def test_members_differ_from_the_start(taxonomy, hidden):
    backbone = create_backbone("test_efficientnet", SIZE)
    network = HierarchicalNet(
        backbone, taxonomy, Architecture(image_size=SIZE, ensemble=2, hidden=hidden)
    )
    for logits in network.eval()(photos(2)).values():
        assert not torch.allclose(logits[:, 0], logits[:, 1])


@pytest.mark.parametrize("hidden", [0, 64])
@pytest.mark.parametrize("members", [2, 5])
def test_members_begin_apart_around_a_mean_of_nothing(hidden, members):
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "kind", "classes": [str(k) for k in range(40)]},
                {"name": "grade", "kind": "ordinal", "classes": ["a", "b", "c"]},
            ]
        }
    )
    torch.manual_seed(0)
    params = ModelParams(
        backbone="test_efficientnet",
        image_size=SIZE,
        weights=["random"],
        ensemble=members,
        hidden=hidden,
        spread=3.0,
    )
    network, _ = build_network(params, taxonomy)
    width = hidden or network.num_features
    kind, grade = (torch.stack([_weights(member) for member in head]) for head in network.heads)
    torch.testing.assert_close(kind.mean(dim=0), torch.zeros(40, width), atol=1e-5, rtol=0)
    torch.testing.assert_close(grade.mean(dim=0), torch.zeros(1, width), atol=1e-5, rtol=0)
    # A sum over features of unit variance has the norm of the weights for standard deviation.
    found = kind.norm(dim=2).square().mean().sqrt().item()
    assert found == pytest.approx(3, rel=0.1)


def _weights(member):
    last = list(member.children())[-1]
    return (last.weight if isinstance(last, torch.nn.Linear) else last.weight.weight).detach()


def test_a_lone_member_prefers_no_class_at_first(taxonomy):
    params = {"backbone": "test_efficientnet", "image_size": SIZE, "weights": ["random"]}
    torch.manual_seed(0)
    network, _ = build_network(ModelParams(**params, ensemble=1, spread=9.0), taxonomy)
    for head in network.heads:
        assert _weights(head[0]).norm(dim=1).max() < 0.2


def test_members_drop_different_features(network):
    network.train()
    for head in network.heads:
        head[1].load_state_dict(head[0].state_dict())
    features = torch.rand(4, network.num_features)
    torch.manual_seed(0)
    for logits in network.classify(features).values():
        assert not torch.allclose(logits[:, 0], logits[:, 1])
    for logits in network.eval().classify(features).values():
        torch.testing.assert_close(logits[:, 0], logits[:, 1])


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(
    "backbone", ["test_efficientnet", "test_vit", ["test_vit", "test_efficientnet"]]
)
def test_mirrored_network_answers_from_both_images(taxonomy, backbone, attention):
    torch.manual_seed(0)
    made = create_backbone(backbone, SIZE)
    parts = {"image_size": SIZE, "attention": attention}
    plain = HierarchicalNet(made, taxonomy, Architecture(**parts)).eval()
    with torch.no_grad():
        for parameter in plain.attention.parameters():
            parameter.normal_()
    both = HierarchicalNet(made, taxonomy, Architecture(**parts, mirrored=True)).eval()
    both.load_state_dict(plain.state_dict())
    batch = photos(3)
    features, seen = both.embed_with_attention(batch)
    (own, own_seen), (image, image_seen) = (
        plain.embed_with_attention(one) for one in (batch, batch.flip(-1))
    )
    torch.testing.assert_close(features, (own + image) / 2)
    torch.testing.assert_close(both.embed(batch.flip(-1)), features)
    if seen is not None:
        torch.testing.assert_close(seen, (own_seen + image_seen.flip(-1)) / 2)
    both.train(), plain.train()
    torch.manual_seed(0)
    expected = plain.embed(batch)
    torch.manual_seed(0)
    torch.testing.assert_close(both.embed(batch), expected)


@pytest.mark.parametrize("mirrored", [False, True])
def test_checkpoint_knows_whether_both_images_are_looked_at(taxonomy, mirrored):
    params = ModelParams(
        backbone="test_efficientnet", image_size=SIZE, weights=["random"], mirrored=mirrored
    )
    network, _ = build_network(params, taxonomy)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(state=state, card=network.card("test_efficientnet"))
    assert restore(checkpoint).mirrored is mirrored
    assert ("mirror" in checkpoint.card.backbone_in_words) is mirrored
    assert build_network(params, taxonomy, checkpoint)[0].mirrored is mirrored


def test_fused_backbones_see_pixels_as_each_expects_them(taxonomy):
    torch.manual_seed(0)
    names = ["test_efficientnet", "test_vit", "test_mambaout"]  # of different means and widths
    fused = create_backbone(names, SIZE)
    mean, std = normalization(fused)
    network = HierarchicalNet(
        fused, taxonomy, Architecture(image_size=SIZE, mean=mean, std=std)
    ).eval()
    batch = photos(2)
    apart = []
    for branch in network.backbone.branches:
        mean, std = (torch.tensor(v)[:, None, None] for v in normalization(branch))
        apart.append(branch((batch / 255 - mean) / std))
    widths = [features.shape[1] for features in apart]
    assert network.num_features == sum(widths) > max(widths)
    torch.testing.assert_close(network.embed(batch), torch.cat(apart, dim=1), rtol=1e-3, atol=1e-4)
    assert network(batch)["colour"].shape == (2, 1, 3)


def test_fused_layers_are_counted_from_the_top():
    fused = create_backbone(["test_efficientnet", "test_vit"], SIZE)
    groups = layer_groups(fused)
    assert sorted(name for group in groups for name in group) == sorted(
        name for name, _ in fused.named_parameters()
    )
    for index, branch in enumerate(fused.branches):
        own = layer_groups(branch)
        for fused_group, group in zip(reversed(groups), reversed(own), strict=False):
            prefix = f"branches.{index}."
            names = {n.removeprefix(prefix) for n in fused_group if n.startswith(prefix)}
            assert names == set(group)
    assert fused.no_weight_decay() == {
        f"branches.1.{name}" for name in fused.branches[1].no_weight_decay()
    }


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_ordinal_logits_never_cross(classes):
    head = OrdinalHead(4, classes)
    for _ in range(20):
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.normal_(std=5)
        logits = head(torch.randn(8, 4))
        assert logits.shape == (8, classes - 1)
        assert (logits.diff(dim=1) <= 0).all()


def test_fresh_ordinal_head_prefers_no_class():
    head = OrdinalHead(4, 5)
    probs = probabilities(
        Head(name="h", kind="ordinal", classes=list("abcde")), head(torch.zeros(1, 4))
    )
    torch.testing.assert_close(probs, torch.full((1, 5), 0.2))


def test_ordinal_probabilities_by_hand():
    # P(y > 0) = 3/4, P(y > 1) = 1/3, hence classes 1/4, 3/4 - 1/3, 1/3.
    logits = torch.tensor([[np.log(3), np.log(0.5)]], dtype=torch.float32)
    probs = probabilities(Head(name="h", kind="ordinal", classes=list("abc")), logits)
    torch.testing.assert_close(probs, torch.tensor([[1 / 4, 5 / 12, 1 / 3]]))


def test_probabilities_are_probabilities(network, taxonomy):
    exported = ExportNet(network.eval())
    probs = exported(photos(6).permute(0, 2, 3, 1))
    assert list(probs) == exported.outputs
    assert exported.outputs[:4] == ["colour", "shade", "marks", "embedding"]
    assert probs["embedding"].shape == (6, network.num_features)
    for head in taxonomy.heads:
        for part in ("aleatoric", "epistemic"):
            assert probs[f"{head.name}.{part}"].shape == (6,)
    assert exported.shapes() == {name: tuple(v.shape[1:]) for name, v in probs.items()}
    for head in taxonomy.heads:
        values = probs[head.name]
        assert values.shape == (6, len(head.classes))
        assert values.dtype == torch.float32
        assert (values >= 0).all()
        assert (values <= 1).all()
        if head.kind != "multilabel":
            torch.testing.assert_close(values.sum(dim=1), torch.ones(6))


def test_pixels_are_normalised_inside(taxonomy):
    class Means(torch.nn.Module):
        num_features = 3

        def forward(self, pixels):
            return pixels.mean(dim=(2, 3))

    network = HierarchicalNet(
        Means(), taxonomy, Architecture(mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    )
    white = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(network.embed(white), torch.tensor([[1.0, 3.0, 7.0]]))


def test_a_photo_does_not_depend_on_its_batch(network):
    network.eval()
    batch = photos(4)
    together, alone = network(batch), network(batch[2:3])
    for name in together:
        torch.testing.assert_close(together[name][2:3], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize(
    "backbone", ["test_efficientnet", "test_vit", "test_resnet", ["test_resnet", "test_vit"]]
)
def test_restored_network_answers_alike(taxonomy, backbone, hidden):
    network = HierarchicalNet(
        create_backbone(backbone, SIZE),
        taxonomy,
        Architecture(
            image_size=SIZE,
            dropout=0.1,
            mean=(0.485, 0.456, 0.406),
            ensemble=2,
            attention=True,
            hidden=hidden,
        ),
    ).eval()
    with torch.no_grad():
        for parameter in network.attention.parameters():
            parameter.normal_()
    card = NetworkCard.model_validate_json(network.card(backbone).model_dump_json())
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    other = restore(Checkpoint(state=state, card=card))
    assert not other.training
    assert other.card(backbone) == network.card(backbone) == card
    batch = photos(2)
    for name, logits in network(batch).items():
        assert torch.equal(logits, other(batch)[name])


def test_smallest_heads_learn_from_a_lone_photo():
    """Two grades, one attribute. One class to choose from is refused: there is nothing to tell."""
    small = {
        "heads": [
            {"name": "grade", "kind": "ordinal", "classes": ["good", "bad"]},
            {"name": "look", "kind": "multilabel", "classes": ["shiny"]},
            {"name": "type", "classes": ["a", "b"]},
        ]
    }
    taxonomy = Taxonomy.model_validate(small)
    params = ModelParams(
        backbone="test_vit", image_size=SIZE, weights=["random"], ensemble=2, dropout=0
    )
    network, _ = build_network(params, taxonomy)
    lone = photos(1)
    targets = {
        "grade": torch.tensor([1]),
        "look": torch.tensor([[1.0]]),
        "type": torch.tensor([0]),
    }
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(80):
        logits = network.train()(lone)
        loss, _ = hierarchical_loss(logits, targets, taxonomy, LossParams(label_smoothing=0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        "grade": (1, 2, 1),
        "look": (1, 2, 1),
        "type": (1, 2, 2),
    }
    probs = marginals(network.eval()(lone), taxonomy)
    assert probs["grade"][0, 1] > 0.9
    assert probs["look"][0, 0] > 0.9
    assert probs["type"][0, 0] > 0.9
    with pytest.raises(TaxonomyError, match="single class"):
        Taxonomy.model_validate({"heads": [{"name": "type", "classes": ["a"]}]})


def test_network_is_built_as_the_parameters_say(taxonomy):
    params = ModelParams(
        backbone={"fusion": ["test_efficientnet", "test_vit"]},
        image_size=SIZE,
        weights=["random"],
        ensemble=5,
        hidden=7,
        dropout=0.25,
    )
    network, provenance = build_network(params, taxonomy)
    assert provenance["source"] == "random"
    card = network.card(params.backbone)
    assert (card.ensemble, card.hidden, card.dropout) == (5, 7, 0.25)
    assert card.attention is True
    assert card.backbones == ["test_efficientnet", "test_vit"]
    assert network(photos(2))["shade"].shape == (2, 5, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "has_map"),
    [
        ("tf_efficientnet_lite0", True),
        ("tf_efficientnet_lite1", True),
        ("tf_efficientnet_lite2", True),
        ("tf_efficientnetv2_l", True),
        ("efficientnet_b0", True),
        ("mobilenetv2_100", True),
        ("mobilenetv3_large_100", True),
        ("vit_tiny_patch16_384", False),
        ("vit_base_patch16_224", False),
        ("resnet18", True),
        ("convnext_atto", True),
        ("swin_tiny_patch4_window7_224", True),
        (["tf_efficientnet_lite0", "vit_tiny_patch16_384"], True),
    ],
)
def test_every_family_that_we_name(taxonomy, backbone, has_map):
    """One step forth and back, a fresh attention that changes nothing, layers in order."""
    params = ModelParams(backbone=backbone, image_size=SIZE, weights=["random"], ensemble=2)
    network, _ = build_network(params, taxonomy)
    batch = photos(2)
    with torch.no_grad():
        features, where = network.eval().embed_with_attention(batch)
        pixels = (batch - network.mean) / network.std
        torch.testing.assert_close(features, network.backbone(pixels), rtol=1e-3, atol=1e-4)
    assert (where is not None) == has_map
    assert features.shape == (2, network.num_features)
    logits = network.train()(batch)
    sum(values.square().sum() for values in logits.values()).backward()
    untouched = [name for name, p in network.backbone.named_parameters() if p.grad is None]
    assert not untouched
    groups = layer_groups(network.backbone)
    assert len(groups) > 3
    assert sum(map(len, groups)) == len(list(network.backbone.parameters()))


def grown(taxonomy, classes, hidden=0, head=0):
    """A network with other classes of a head, begun from one of the small taxonomy."""
    params = ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=["random"],
        ensemble=2,
        hidden=hidden,
        attention=False,
    )
    torch.manual_seed(1)
    before, _ = build_network(params, taxonomy)
    state = {name: tensor.numpy() for name, tensor in before.state_dict().items()}
    start = Checkpoint(state, before.card("test_efficientnet"))
    heads = taxonomy.model_dump()["heads"]
    heads[head]["classes"] = [{"name": name} for name in classes]
    after, _ = build_network(params, Taxonomy.model_validate({"heads": heads}), start)
    return before.eval(), after.eval()


@pytest.mark.parametrize("hidden", [0, 3, 8])
def test_a_head_that_grows_keeps_what_it_knew_of_old_classes(taxonomy, hidden):
    before, after = grown(taxonomy, ["grey", "blue", "red", "green"], hidden)
    features = torch.randn(5, before.num_features)
    old, new = before.classify(features), after.classify(features)
    torch.testing.assert_close(new["colour"][:, :, [2, 3, 1]], old["colour"])
    torch.testing.assert_close(new["shade"], old["shade"])
    torch.testing.assert_close(new["colour"][:, :, 0], old["colour"].mean(dim=2))
    # Ties are possible: of three hidden units none may be active.
    assert (new["colour"][:, :, 0] <= new["colour"][:, :, 1:].amax(dim=2)).all()


def test_a_class_that_goes_takes_its_weights_along(taxonomy):
    before, after = grown(taxonomy, ["blue", "red"])
    features = torch.randn(5, before.num_features)
    old, new = before.classify(features), after.classify(features)
    torch.testing.assert_close(new["colour"], old["colour"][:, :, [2, 0]])


def test_attributes_grow_as_classes_do(taxonomy):
    before, after = grown(taxonomy, ["dot", "ring", "line"], head=2)
    features = torch.randn(5, before.num_features)
    old, new = before.classify(features), after.classify(features)
    torch.testing.assert_close(new["marks"][:, :, [2, 0]], old["marks"])
