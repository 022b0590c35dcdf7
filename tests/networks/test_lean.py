import copy

import torch
from torch import nn

from cannabis_ml.networks.lean import LeanReLU6, make_lean


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, 2))


def gradients(network: nn.Module, photos: torch.Tensor) -> list[torch.Tensor]:
    network(photos).square().sum().backward()
    return [parameter.grad for parameter in network.parameters()]


def test_lean_network_answers_and_learns_the_same():
    plain = network()
    plain[1].weight.data.mul_(6)  # so that some places are above 6
    lean = copy.deepcopy(plain)
    make_lean(lean)
    assert isinstance(lean[2], LeanReLU6)
    photos = torch.randn(5, 3, 8, 8)
    assert torch.equal(plain(photos), lean(photos))
    for one, other in zip(gradients(plain, photos), gradients(lean, photos), strict=True):
        assert torch.equal(one, other)


def test_gradient_stops_at_both_corners():
    values = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    LeanReLU6()(values * 1).sum().backward()
    assert values.grad.tolist() == [0, 0, 1, 0, 0]


def test_what_keeps_its_input_stays():
    kept = nn.Sequential(nn.ReLU6(), nn.SiLU(inplace=True))
    make_lean(kept)
    assert isinstance(kept[0], nn.ReLU6)
