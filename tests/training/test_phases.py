"""Progressive unfreezing does what it says."""

import itertools

import pytest
import torch

from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.training.module import PhotoModule
from cannabis_ml.training.phases import parameter_groups, set_trainable, warmup_cosine
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams

TOP = [f"backbone.{layer}" for layer in ("blocks.3.", "blocks.4.", "conv_head", "bn2")]
PHASES = {
    "heads": ("heads.",),
    "top": ("heads.", "attention.", *TOP),
    "all": ("",),
}


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", 64)
    return HierarchicalNet(
        backbone, taxonomy, Architecture(image_size=64, attention=True, ensemble=2)
    )


def phase(name):
    train = {"last_blocks": 2} if name == "top" else name
    return Phase(name=name, epochs=1, learning_rate=1e-2, train=train)


def learns(name, tensor):
    """Whether a tensor of the network belongs to what learns in a phase."""
    return tensor.startswith(PHASES[name])


@pytest.mark.parametrize("name", PHASES)
def test_gradient_reaches_what_is_unfrozen_and_nothing_else(network, name):
    set_trainable(network, phase(name))
    network.train()
    photos = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    sum((values**2).sum() for values in network(photos).values()).backward()
    # A fresh attention's last convolution is zero: no gradient passes to the one before.
    reached = {n for n, p in network.named_parameters() if p.grad is not None}
    assert reached == {n for n, _ in network.named_parameters() if learns(name, n)}


@pytest.mark.parametrize("name", PHASES)
def test_a_step_changes_what_is_unfrozen_and_nothing_else(network, name):
    training = TrainingParams(ema_decay=0.0)
    module = PhotoModule(network, training, Schedule(phases=[phase(name)]))
    module.enter(0)
    before = {n: tensor.clone() for n, tensor in network.state_dict().items()}
    groups = [{**group, "lr": 0.1} for group in parameter_groups(network, training)]
    optimizer = torch.optim.AdamW(groups)
    photos = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    for _ in range(3):
        sum((values**2).sum() for values in network(photos).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    for tensor_name, tensor in network.state_dict().items():
        # BatchNorm's statistics count: they belong to their layer.
        assert torch.equal(tensor, before[tensor_name]) != learns(name, tensor_name), tensor_name


def test_memory_of_the_optimiser_survives_a_change_of_phase(network):
    schedule = Schedule(phases=[phase("heads"), phase("top")])
    module = PhotoModule(network, TrainingParams(ema_decay=0.0), schedule)
    optimizer = module.configure_optimizers()
    photos = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)

    def step():
        sum((values**2).sum() for values in network(photos).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    head, block = network.heads[0][0][1].weight, network.backbone.blocks[4][0].conv_pw.weight
    stem = network.backbone.conv_stem.weight
    module.enter(0)
    step()
    step()
    assert optimizer.state[head]["step"] == 2
    assert block not in optimizer.state
    moment = optimizer.state[head]["exp_avg"].clone()
    module.enter(1)
    assert torch.equal(optimizer.state[head]["exp_avg"], moment)
    step()
    assert optimizer.state[head]["step"] == 3
    assert optimizer.state[block]["step"] == 1
    assert stem not in optimizer.state


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_parameter_is_in_one_group(network, layer_decay):
    training = TrainingParams(layer_decay=layer_decay, head_multiplier=4, weight_decay=0.03)
    groups = parameter_groups(network, training)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    colour, shade = network.heads[0][0][1], network.heads[1][0][1]
    assert scale[id(colour.weight)] == scale[id(network.attention[0].squeeze.weight)] == 4
    # Six layers: stem, four stages, the last with what follows it.
    assert scale[id(network.backbone.blocks[4][0].conv_pw.weight)] == 1
    assert scale[id(network.backbone.blocks[3][0].conv_pw.weight)] == layer_decay
    assert scale[id(network.backbone.conv_stem.weight)] == layer_decay**5
    assert decay[id(colour.weight)] == 0.03
    assert decay[id(colour.bias)] == decay[id(shade.first)] == 0
    assert decay[id(network.backbone.bn1.weight)] == 0


def test_transformer_keeps_its_positions_undecayed(taxonomy):
    network = HierarchicalNet(
        create_backbone("test_vit", 160), taxonomy, Architecture(image_size=160)
    )
    groups = parameter_groups(network, TrainingParams())
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(network.backbone.pos_embed)] == 0
    set_trainable(network, phase("top"))
    trainable = {n for n, p in network.backbone.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in trainable if name.startswith("blocks")} == {"4", "5"}
    assert "cls_token" not in trainable


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert warmup_cosine(0, 1, 0) == 1
