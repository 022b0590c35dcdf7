"""Backbones by name: each builds, learns from a step and gives its features to an ONNX file."""

import argparse

import numpy as np
import pytest
import torch

from cannabis_ml.exporting.onnx_export import to_onnx, torch_outputs
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.networks.backbones import layer_groups
from cannabis_ml.networks.building import build_network
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.networks.weights import load_backbone
from cannabis_ml.taxonomy import Head, Taxonomy
from cannabis_ml.training.phases import set_trainable
from cannabis_ml.training.schedule import LastBlocks, Phase

SIZE = 64
TAXONOMY = Taxonomy(heads=[Head(name="leaf", classes=["a", "b", "c"])])

NAMES = [
    "efficientnet_b2",
    "efficientnet_b4",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "repvit_m0_9",
    "tiny_vit_5m_224",
    "resnet50",
    "vit_small_patch14_reg4_dinov2",
    ["mobilenetv4_conv_small_035", "tiny_vit_5m_224"],
]
"""The architectures of docs/backbones.md, in a size that a test can pay for."""


def make(name, **options):
    torch.manual_seed(0)
    params = ModelParams(backbone=name, image_size=SIZE, weights=["random"], **options)
    return build_network(params, TAXONOMY)[0]


def photos(count):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)
    )


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_backbone_by_name_learns_in_its_last_blocks(name):
    network = make(name, ensemble=2)
    train = LastBlocks(last_blocks=2)
    set_trainable(network, Phase(name="top", epochs=1, learning_rate=1e-3, train=train))
    network.train()
    label = torch.tensor([0, 2])
    logits = network(photos(2))["leaf"]
    assert logits.shape == (2, 2, 3)
    torch.nn.functional.cross_entropy(logits.mean(dim=1), label).backward()
    learning = {n for n, p in network.backbone.named_parameters() if p.grad is not None}
    allowed = {name for layer in layer_groups(network.backbone)[-2:] for name in layer}
    assert learning
    assert learning <= allowed
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.slow
def test_an_onnx_file_answers_as_a_tiny_vit_does():
    """Convolutions and windows of attention; bench_backbones.py exports the others too."""
    name = "tiny_vit_5m_224"
    network = make(name)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(state=state, card=network.card(name))
    pixels = photos(2).permute(0, 2, 3, 1).contiguous().numpy()
    given = open_model(to_onnx(checkpoint), threads=1).invoke(pixels)
    for output, values in torch_outputs(checkpoint, list(pixels)).items():
        scale = max(1, np.abs(values).max())
        np.testing.assert_allclose(given[output] / scale, values / scale, atol=1e-5)


def test_weights_as_plantnet_publishes_them_fill_a_resnet(tmp_path):
    """torchvision's tensors, 1,081 species, beside epoch, optimizer and settings."""
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=1081).eval()
    path = tmp_path / "resnet18_weights_best_acc.tar"
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1).state_dict()
    settings = argparse.Namespace(lr=0.1, model="resnet18")
    torch.save(
        {"epoch": 3, "model": theirs.state_dict(), "optimizer": optimizer, "args": settings}, path
    )
    params = ModelParams(backbone="resnet18", image_size=SIZE, weights=[{"file": str(path)}])
    ours, provenance = load_backbone(params)
    assert provenance["source"] == "file"
    theirs.fc = torch.nn.Identity()
    pixels = torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(pixels), theirs(pixels))


def test_a_vit_of_plantclef_is_brought_to_another_size(tmp_path):
    """timm's training script saves `state_dict`; 7,806 species, 518 px, four registers."""
    import timm

    torch.manual_seed(0)
    name = "vit_small_patch14_reg4_dinov2"
    theirs = timm.create_model(name, num_classes=7806, img_size=112).eval()
    path = tmp_path / "model_best.pth.tar"
    torch.save({"arch": name, "state_dict": theirs.state_dict(), "version": 2}, path)
    params = ModelParams(backbone=name, image_size=SIZE - 8, weights=[{"file": str(path)}])
    ours, _ = load_backbone(params)
    assert torch.equal(ours.reg_token, theirs.reg_token)
    assert ours.pos_embed.shape == (1, (SIZE // 14) ** 2, 384)
    with torch.inference_mode():
        assert ours.eval()(torch.rand(1, 3, SIZE - 8, SIZE - 8)).shape == (1, 384)
