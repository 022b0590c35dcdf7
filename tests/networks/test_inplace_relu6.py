import copy

import torch
from torch import nn

from cannabis_ml.networks.inplace_relu6 import InPlaceReLU6, replace_relu6


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, 2))


def gradients(network: nn.Module, photos: torch.Tensor) -> list[torch.Tensor]:
    network(photos).square().sum().backward()
    return [parameter.grad for parameter in network.parameters()]


def test_outputs_and_gradients_are_the_same():
    plain = network()
    plain[1].weight.data.mul_(6)  # so that some places are above 6
    replaced = copy.deepcopy(plain)
    replace_relu6(replaced)
    assert isinstance(replaced[2], InPlaceReLU6)
    photos = torch.randn(5, 3, 8, 8)
    assert torch.equal(plain(photos), replaced(photos))
    for one, other in zip(gradients(plain, photos), gradients(replaced, photos), strict=True):
        assert torch.equal(one, other)


def test_gradient_stops_at_both_corners():
    values = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    InPlaceReLU6()(values * 1).sum().backward()
    assert values.grad.tolist() == [0, 0, 1, 0, 0]


def test_what_keeps_its_input_stays():
    kept = nn.Sequential(nn.ReLU6(), nn.SiLU(inplace=True))
    replace_relu6(kept)
    assert isinstance(kept[0], nn.ReLU6)
