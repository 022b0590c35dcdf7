"""One small random network, in float and in every quantization, for tests that compare files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cannabis_ml.exporting.file_card import Provenance
from cannabis_ml.exporting.litert_export import to_litert
from cannabis_ml.exporting.onnx_export import to_onnx
from cannabis_ml.exporting.quantize import quantize
from cannabis_ml.inference.model_file import FLOAT, ModelFile
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.taxonomy import Taxonomy

SIZE = 64
FORMATS = ("onnx", "tflite")

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "colour", "classes": ["red", "green", "blue"]},
            {"name": "grade", "kind": "ordinal", "classes": ["1", "2", "3"]},
            {"name": "marks", "kind": "multilabel", "classes": ["line", "dot"]},
        ]
    }
)


def draw(count, seed=1):
    """uint8 (count, 64, 64, 3): random coarse patterns."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def make_checkpoint(spoil=None, mirrored=False):
    """A random ensemble with attention whose answers differ from photo to photo.

    `spoil` names a block, of a plain network, in which one channel is made silent and weighed
    heavily: in float32 that changes nothing, but in 8 bits nothing is left of its neighbours.
    """
    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", SIZE)
    more = {} if spoil else {"ensemble": 2, "attention": True}
    architecture = Architecture(image_size=SIZE, mirrored=mirrored, **more)
    network = HierarchicalNet(backbone, TAXONOMY, architecture)
    photos = torch.from_numpy(draw(32, seed=3)).permute(0, 3, 1, 2)
    with torch.no_grad():
        for parameter in network.attention.parameters():
            parameter.normal_(std=0.1)
        network.train()
        for _ in range(30):  # so that BatchNorm knows its statistics
            features = network.embed(photos)
        for parameter in network.heads.parameters():
            parameter.normal_(std=2 / float(features.norm(dim=1).mean()))
        if spoil:
            block = backbone.get_submodule(spoil)
            block.bn2.weight[0] = block.bn2.bias[0] = 0
            block.conv_pwl.weight[:, 0] = 1000 * block.conv_pwl.weight.abs().max()
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Checkpoint(state=state, card=network.card("test_efficientnet"))


class QuantizedFiles:
    """The files, each made where it is first asked for and shared by all test processes.

    Args:
        once: The fixture.
    """

    taxonomy = TAXONOMY

    def __init__(self, once):
        self._once = once

    def path(self, kind, quantization=FLOAT, **network) -> Path:
        """A file of a format; `static_int8` and the like are calibrated on 12 photos.

        `network` are arguments of `make_checkpoint`.
        """

        def make(folder):
            if quantization != FLOAT:
                made = quantize(self.file(kind, **network), quantization, draw(12))
            else:
                write = {"onnx": to_onnx, "tflite": to_litert}[kind]
                made = write(make_checkpoint(**network), Provenance("tier1"))
            (folder / f"{quantization}.{kind}").write_bytes(made.data)

        which = "-".join(f"{name}_{value}" for name, value in sorted(network.items()) if value)
        return self._once(f"{which}-{quantization}-{kind}", make) / f"{quantization}.{kind}"

    def file(self, kind, quantization=FLOAT, **network) -> ModelFile:
        return ModelFile.read(self.path(kind, quantization, **network))
