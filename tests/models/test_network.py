import numpy as np
import pytest
import torch

from cannabis_ml.datasets.checkpoint import Checkpoint
from cannabis_ml.models.network import (
    ExportNet,
    HierarchicalNet,
    OrdinalHead,
    probabilities,
    restore,
)
from cannabis_ml.models.weights import create_backbone
from cannabis_ml.taxonomy import Head

SIZE = 64


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", SIZE)
    return HierarchicalNet(backbone, taxonomy, dropout=0.5, image_size=SIZE)


def photos(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, SIZE, SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("training", [True, False])
def test_logits_of_every_kind_of_head(network, n, training):
    logits = network.train(training)(photos(n))
    shapes = {name: tuple(values.shape) for name, values in logits.items()}
    assert shapes == {"colour": (n, 3), "shade": (n, 3), "marks": (n, 2)}
    assert network.embed(photos(n)).shape == (n, network.backbone.num_features)


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
    assert list(probs) == ["colour", "shade", "marks"]
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

    network = HierarchicalNet(Means(), taxonomy, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    white = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(network.embed(white), torch.tensor([[1.0, 3.0, 7.0]]))


def test_a_photo_does_not_depend_on_its_batch(network):
    network.eval()
    batch = photos(4)
    together, alone = network(batch), network(batch[2:3])
    for name in together:
        torch.testing.assert_close(together[name][2:3], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "test_resnet"])
def test_restored_network_answers_alike(taxonomy, backbone):
    network = HierarchicalNet(create_backbone(backbone, SIZE), taxonomy, image_size=SIZE).eval()
    card = {
        "backbone": backbone,
        "image_size": SIZE,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "dropout": 0.1,
        "taxonomy": taxonomy.model_dump(mode="json"),
    }
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    other = restore(Checkpoint(state=state, card=card))
    assert not other.training
    batch = photos(2)
    for name, logits in network(batch).items():
        assert torch.equal(logits, other(batch)[name])
