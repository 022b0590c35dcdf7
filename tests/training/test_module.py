import math

import numpy as np
import pytest
import torch

from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.networks.params import LossParams
from cannabis_ml.training.data import Batch
from cannabis_ml.training.losses import hierarchical_loss
from cannabis_ml.training.module import ModelEmaV3, PhotoModule, count_right, decide
from cannabis_ml.training.phases import parameter_groups
from cannabis_ml.training.schedule import Distillation, Phase, Schedule, TrainingParams

SCHEDULE = Schedule(phases=[Phase(name="all", epochs=1, learning_rate=1e-3)])


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", 64)
    return HierarchicalNet(backbone, taxonomy, Architecture(image_size=64, ensemble=2))


def batch(count=12, members=2, teacher=False):
    generator = torch.Generator().manual_seed(0)

    def draw(high, *shape):
        return torch.randint(0, high, shape, generator=generator)

    targets = {
        "colour": draw(3, count),
        "shade": draw(4, count),
        "marks": draw(2, count, 2).float(),
    }
    probs = {"colour": 3, "shade": 4, "marks": 2}
    return Batch(
        draw(256, count, 3, 64, 64).to(torch.uint8),
        targets,
        {name: torch.full((count, k), 1 / k) for name, k in probs.items()} if teacher else {},
        torch.ones(count, members),
    )


def unlabelled(count=2):
    photos, _, teacher, members = batch(count)
    targets = {
        "colour": torch.full((count,), -1),
        "shade": torch.full((count,), -1),
        "marks": torch.full((count, 2), math.nan),
    }
    return Batch(photos, targets, teacher, members)


def test_loss_that_is_no_number_stops_training(network):
    module = PhotoModule(network, TrainingParams(), SCHEDULE)
    with torch.no_grad():
        network.heads[0][0][1].weight.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"nan in epoch 1, step 1\. Lower learning_rate"):
        module.training_step(batch(2), 0)


def test_batch_without_any_label_costs_nothing(network):
    module = PhotoModule(network, TrainingParams(), SCHEDULE)
    loss = module.training_step(unlabelled(), 0)
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_one_photo_is_a_batch(network):
    module = PhotoModule(network, TrainingParams(mixup=0.2, cutmix=1.0), SCHEDULE)
    module.training_step(batch(1), 0).backward()
    module.validation_step(batch(1), 0)


def test_cached_features_are_taken_for_photos(network):
    module = PhotoModule(network, TrainingParams(), SCHEDULE)
    seen = batch(4)
    features = seen._replace(photos=torch.randn(4, network.num_features))
    module.training_step(features, 0).backward()
    assert network.heads[0][0][1].weight.grad is not None
    assert network.backbone.conv_stem.weight.grad is None


def test_same_step_draws_the_same(network):
    module = PhotoModule(network, TrainingParams(mixup=0.4), SCHEDULE)
    network.heads.train()
    losses = []
    for noise in range(2):
        torch.rand(noise)  # what was drawn before does not matter
        losses.append(module.training_step(batch(), 0))
    assert torch.equal(*losses)


def test_hits_are_counted_over_known_labels(taxonomy):
    truth = torch.tensor([2, -1])
    assert [int(x) for x in count_right(np.array([2, 0]), truth)] == [1, 1]
    marks = torch.tensor([[1.0, math.nan], [1.0, 0.0]])
    hits = count_right(np.array([[True, True], [False, False]]), marks)
    assert [int(x) for x in hits] == [2, 3]


def test_one_batch_can_be_learnt_by_heart(network, taxonomy):
    torch.manual_seed(0)
    seen = batch()
    plain = LossParams(weights={}, label_smoothing=0)
    optimizer = torch.optim.AdamW(
        [
            {**group, "lr": 3e-3 * group["scale"]}
            for group in parameter_groups(network, TrainingParams(weight_decay=0))
        ]
    )
    for _ in range(150):
        loss, _per_head = hierarchical_loss(network(seen.photos), seen.targets, taxonomy, plain)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = decide(network(seen.photos), taxonomy)
    for head in taxonomy.heads:
        right, known = count_right(predicted[head.name], seen.targets[head.name])
        assert right == known, head.name


def test_average_follows_the_weights_by_its_decay():
    """Hand calculation: 0.9 × 1 + 0.1 × 3 = 1.2; statistics are averaged, counters copied."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))
    ema = ModelEmaV3(network, decay=0.9)
    average = ema.module
    with torch.no_grad():
        average[0].weight.fill_(1.0)
        network[0].weight.fill_(3.0)
    network[1].running_mean.fill_(10.0)
    network[1].num_batches_tracked.fill_(7)
    ema.update(network)
    assert average[0].weight.item() == pytest.approx(1.2)
    assert average[1].running_mean.item() == pytest.approx(1.0)
    assert average[1].num_batches_tracked == 7


@pytest.mark.parametrize("step", [1, 2, 10, 100, 880, 10_000])
def test_average_warms_up(network, step):
    ema = PhotoModule(network, TrainingParams(ema_decay=0.99), SCHEDULE).ema
    assert ema.get_decay(step) == pytest.approx(min(0.99, (1 + step) / (10 + step)), rel=1e-12)


def test_average_of_what_is_frozen_is_what_is_frozen(network):
    ema = PhotoModule(network, TrainingParams(), SCHEDULE).ema
    with torch.no_grad():
        network.heads[0][0][1].weight.add_(1)
    ema.update(network, 5)
    for name, tensor in ema.module.backbone.state_dict().items():
        assert torch.equal(tensor, network.backbone.state_dict()[name])


def test_average_does_not_learn_and_stays_in_evaluation(network):
    module = PhotoModule(network, TrainingParams(), SCHEDULE)
    module.train()
    assert module.kept is module.ema.module
    assert not any(p.requires_grad for p in module.ema.parameters())
    assert not any(m.training for m in module.ema.modules())
    plain = PhotoModule(network, TrainingParams(ema_decay=0), SCHEDULE)
    assert plain.kept is network


def test_teacher_counts_for_its_share(network):
    seen = batch(teacher=True)

    def loss(weight, seen=seen):
        schedule = SCHEDULE.model_copy(update={"distillation": Distillation(weight=weight)})
        module = PhotoModule(network, TrainingParams(ema_decay=0), schedule)
        module.network.eval()
        return module.training_step(seen, 0)

    labels, teacher = loss(0.0), loss(1.0)
    torch.testing.assert_close(labels, loss(0.3, seen._replace(teacher={})))
    torch.testing.assert_close(loss(0.3), 0.7 * labels + 0.3 * teacher)


def test_balance_of_heads_can_be_learnt(network):
    training = TrainingParams(loss=LossParams(balance="learned"))
    module = PhotoModule(network, training, SCHEDULE)
    module.training_step(batch(), 0).backward()
    assert module.log_variances.grad.abs().min() > 0
    groups = module.configure_optimizers().param_groups
    assert any(module.log_variances is p for group in groups for p in group["params"])


def test_members_see_photos_as_often_as_their_weights_say(network):
    module = PhotoModule(network, TrainingParams(ema_decay=0), SCHEDULE)
    seen = batch()
    weights = torch.ones(12, 2)
    weights[:, 1] = 0
    module.training_step(seen._replace(members=weights), 0).backward()
    assert network.heads[0][0][1].weight.grad.any()
    assert not network.heads[0][1][1].weight.grad.any()
