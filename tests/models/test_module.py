import itertools
import math

import pytest
import torch

from cannabis_ml.errors import TrainingError
from cannabis_ml.models.losses import hierarchical_loss
from cannabis_ml.models.module import PhotoModule, count_right, parameter_groups, warmup_cosine
from cannabis_ml.models.network import HierarchicalNet
from cannabis_ml.models.params import TrainingParams
from cannabis_ml.models.weights import create_backbone


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    return HierarchicalNet(create_backbone("test_efficientnet", 64), taxonomy, image_size=64)


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert warmup_cosine(0, 1, 0) == 1


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_parameter_is_in_one_group(network, layer_decay):
    training = TrainingParams(layer_decay=layer_decay, learning_rate=1e-3, head_multiplier=4)
    groups = parameter_groups(network, training)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert rate[id(network.heads[0].weight)] == pytest.approx(4e-3)
    stem = rate[id(network.backbone.conv_stem.weight)]
    assert stem == 1e-3 if layer_decay == 1 else stem < 1e-4
    assert decay[id(network.heads[0].weight)] == training.weight_decay
    assert decay[id(network.heads[0].bias)] == decay[id(network.heads[1].first)] == 0
    assert decay[id(network.backbone.bn1.weight)] == 0


def test_frozen_layers_stay_exactly_as_they_are(network):
    training = TrainingParams()
    module = PhotoModule(network, training, frozen_layers=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(parameter_groups(network, training), lr=0.1)
    module.train()
    batch = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    sum(values.sum() for values in module.network(batch).values()).backward()
    optimizer.step()
    frozen = ("backbone.conv_stem", "backbone.bn1", "backbone.blocks.0.")
    for name, tensor in network.state_dict().items():
        same = torch.equal(tensor, before[name])
        assert same == name.startswith(frozen) or name.startswith("heads.1."), name


def test_nothing_is_frozen_unless_asked(network):
    assert PhotoModule(network, TrainingParams()).frozen == []
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_loss_that_is_no_number_stops_training(network):
    module = PhotoModule(network, TrainingParams())
    with torch.no_grad():
        network.heads[0].weight.fill_(math.nan)
    photos = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    targets = {
        "colour": torch.tensor([0, 1]),
        "shade": torch.tensor([-1, -1]),
        "marks": torch.full((2, 2), math.nan),
    }
    with pytest.raises(TrainingError, match="nan in epoch 1, step 1"):
        module.training_step((photos, targets), 0)


def test_hits_are_counted_over_known_labels(taxonomy):
    logits = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -2.0, -3.0]])
    truth = torch.tensor([2, -1])
    assert [int(x) for x in count_right(taxonomy["shade"], logits, truth)] == [1, 1]
    marks = torch.tensor([[1.0, math.nan], [1.0, 0.0]])
    hits = count_right(taxonomy["marks"], torch.tensor([[2.0, 2.0], [-1.0, -1.0]]), marks)
    assert [int(x) for x in hits] == [2, 3]


def test_one_batch_can_be_learnt_by_heart(network, taxonomy):
    torch.manual_seed(0)
    photos = torch.randint(0, 256, (12, 3, 64, 64), dtype=torch.uint8)
    targets = {
        "colour": torch.randint(0, 3, (12,)),
        "shade": torch.randint(0, 4, (12,)),
        "marks": torch.randint(0, 2, (12, 2)).float(),
    }
    training = TrainingParams(learning_rate=3e-3, weight_decay=0.0)
    optimizer = torch.optim.AdamW(parameter_groups(network, training))
    for _ in range(150):
        loss, _per_head = hierarchical_loss(network(photos), targets, taxonomy, {})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = network(photos)
    for head in taxonomy.heads:
        right, known = count_right(head, logits[head.name], targets[head.name])
        assert right == known, head.name
