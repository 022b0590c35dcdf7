import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from cannabis_ml.errors import ExportError
from cannabis_ml.exporting import writers
from cannabis_ml.exporting.file_card import Provenance
from cannabis_ml.exporting.litert_export import module_path, to_litert
from cannabis_ml.exporting.onnx_export import torch_outputs
from cannabis_ml.inference.model_file import SIGNATURE
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, ExportNet, HierarchicalNet
from cannabis_ml.taxonomy import Taxonomy

SIZE = 64

FAMILY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "linear", "classes": ["x", "y", "z"]},
            {
                "name": "Güte 1–2",
                "kind": "ordinal",
                "classes": ["1", "2", "3"],
                "parent": "linear",
                "allowed": {"x": ["1", "2"], "y": ["2", "3"]},
            },
            {"name": "look/seen", "kind": "multilabel", "classes": ["u", "v"]},
        ]
    }
)
"""Names that the graph itself uses, that are no ASCII, that have a slash."""


def make_checkpoint(backbone="test_efficientnet", **options):
    torch.manual_seed(0)
    mean, std = (0.3, 0.5, 0.6), (0.2, 0.25, 0.3)  # else swapped channels would not show
    net = create_backbone(backbone, SIZE)
    network = HierarchicalNet(
        net, FAMILY, Architecture(image_size=SIZE, mean=mean, std=std, **options)
    )
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    about = {"photo_set_fingerprint": "f" * 64, "weights": {"source": "Blütenstand"}}
    return Checkpoint(state=state, card=network.card(backbone, **about))


@pytest.fixture(scope="module")
def checkpoint():
    return make_checkpoint(ensemble=2, attention=True)


@pytest.fixture(scope="module")
def model(checkpoint):
    return to_litert(checkpoint, Provenance("tier1", "abc"))


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


pytestmark = pytest.mark.slow


def agree(model, checkpoint, photos):
    given = open_model(model, threads=1).invoke(photos)
    expected = torch_outputs(checkpoint, list(photos))
    assert set(given) == set(expected)
    for name, values in expected.items():
        assert given[name].dtype == np.float32
        assert given[name].shape == values.shape
        scale = max(1, np.abs(values).max())
        np.testing.assert_allclose(given[name] / scale, values / scale, atol=1e-5, err_msg=name)


def test_every_output_is_as_pytorch_gives_it(model, checkpoint, photos):
    agree(model, checkpoint, photos)


@pytest.mark.parametrize(
    ("backbone", "parts"),
    [
        ("test_vit", {"hidden": 8}),
        (["test_resnet", "test_vit"], {"hidden": 8}),
        (
            ["test_resnet", "test_efficientnet"],
            {"mirrored": True, "attention": True, "ensemble": 2},
        ),
    ],
)
def test_other_networks_answer_as_pytorch_does(backbone, parts, photos):
    checkpoint = make_checkpoint(backbone, **parts)
    agree(to_litert(checkpoint), checkpoint, photos)


def test_names_survive_in_the_signature(model, checkpoint):
    from ai_edge_litert.interpreter import Interpreter

    (signature,) = Interpreter(model_content=model.data).get_signature_list().items()
    outputs = ExportNet(restore(checkpoint)).outputs
    assert signature == (SIGNATURE, {"inputs": ["photos"], "outputs": sorted(outputs)})


def test_file_has_its_provenance(model, checkpoint):
    card = model.card.model_dump(mode="json", exclude_none=True)
    before = checkpoint.card.model_dump(mode="json", exclude_none=True)
    assert {key: card[key] for key in before} == before
    assert card["input"] == "uint8 RGB (1, 64, 64, 3)"
    assert card["taxonomy_sha256"] == FAMILY.sha256
    assert card["photo_set_fingerprint"] == "f" * 64
    about = {"tier": "tier1", "format": "tflite", "quantization": "float", "run": "abc"}
    assert {key: card[key] for key in about} == about


def test_tensors_are_called_as_their_modules(model):
    from ai_edge_litert.tools import flatbuffer_utils

    graph = flatbuffer_utils.read_model_from_bytearray(model.data).subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 80
    assert "blocks.0.0.conv" in names


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("a.N/a.E_exported/t.e.Net_backbone/torch.nn.conv.Conv2d_conv_pw;1", "backbone.conv_pw"),
        ("a.N/a.E_exported/x.ReLU6_act;;a.N/a.E_exported/t._i.Conv2dSame_stem;12", "stem"),
        ("a.N/a.E_exported/m.EnsembleHead_0/c.Sequential_1;", "EnsembleHead_0.1"),
        ("a.N/a.E_exported;12", "outside of modules"),
        ("serving_default_look/seen_output", "serving_default_look/seen_output"),
        ("arith.constant3", "arith.constant3"),
    ],
)
def test_names_become_paths_of_modules(long, short):
    assert module_path(long) == short


def test_conversion_prints_nothing_and_leaves_loggers_as_they_were(checkpoint, capfd):
    root = logging.getLogger("torch.export")
    level = root.level
    to_litert(checkpoint)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert root.level == level


def test_missing_converter_is_named_before_anything_is_done(monkeypatch):
    found = writers.importlib.util.find_spec
    missing = {"litert_torch", "ai_edge_quantizer"}
    monkeypatch.setattr(
        writers.importlib.util, "find_spec", lambda name: None if name in missing else found(name)
    )
    with pytest.raises(ExportError, match="litert_torch, ai_edge_quantizer not installed") as told:
        to_litert(None)
    assert "pip install --no-deps -r requirements-tflite.lock" in str(told.value)
    assert "make" in str(told.value)
    writers.require_writers(["onnx"])


def test_conversion_needs_nothing_for_language_models():
    """What requirements-tflite.lock leaves out is not missed, even where it is installed."""
    script = """
import sys
import torch._dynamo  # looks for tabulate itself
absent = ("transformers", "kagglehub", "sentencepiece", "tensorflow", "fire", "tabulate")
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import litert_torch, torch
net = torch.nn.Sequential(torch.nn.Conv2d(3, 40, 3), torch.nn.ReLU())
made = litert_torch.convert(net.eval(), (torch.zeros(1, 3, 8, 8),)).model_content()
from ai_edge_quantizer import recipe
from ai_edge_quantizer.quantizer import Quantizer
Quantizer(bytearray(made), recipe.dynamic_wi8_afp32()).quantize()
print("asked for:", sorted(set(absent) & set(sys.modules)))
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert "asked for: []" in told.stdout
