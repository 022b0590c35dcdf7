"""A network small enough to follow by hand, as ONNX, as TFLite and in NumPy, and a bundle of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cannabis_ml.calibration.unknown import fit_unknown, with_threshold
from cannabis_ml.exporting.model_metadata import with_card_text
from cannabis_ml.inference.bundle_writer import BundleContents, write_bundle
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.reliability import Reliability
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import Taxonomy

SIZE = 16

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind.of thing", "classes": ["red", "green", "blaugrün"]},
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B", "C", "D"]},
            {"name": "marks", "kind": "multilabel", "classes": ["line", "dot"]},
        ]
    }
)

_random = np.random.default_rng(1)
WEIGHTS = {
    head.name: _random.normal(0, 6, (3, len(head.classes))).astype(np.float32)
    for head in TAXONOMY.heads
}

RELIABILITY = Reliability.model_validate(
    {
        "bands": {
            "kind.of thing": {"level": 0.95, "low": [0, 0.8], "high": [0.3, 1], "photos": [2, 9]}
        },
        "sets": {
            "heads": {
                "kind.of thing": {
                    "kind": "multiclass",
                    "alpha": 0.1,
                    "limits": [0.97, 0.97, None],
                    "groups": [40, 40, 8],
                },
                "grade": {
                    "kind": "ordinal",
                    "alpha": 0.1,
                    "limits": [0.9] * 4,
                    "groups": [40] * 4,
                },
                "marks": {
                    "kind": "multilabel",
                    "alpha": 0.1,
                    "limits": [0.6, 0.6],
                    "absent_limits": [0.7, 0.7],
                    "groups": [40, 40],
                    "absent_groups": [40, 40],
                },
            }
        },
        "back_off": [{"heads": ["grade"], "threshold": 0.5, "alpha": 0.1, "groups": 40}],
    }
)

ROUTING = RoutingRule.fixed("kind.of thing", ["tier1", "tier2"], [0.75])


def unknown_score(method="mahalanobis") -> UnknownScore:
    """Fitted to colours of 60 random photos, with a threshold that some are above."""
    pixels = np.random.default_rng(2).integers(0, 256, (60, 1, 1, 3), dtype=np.uint8)
    outputs = reference(pixels)
    head = TAXONOMY.heads[0].name
    fitted = fit_unknown(method, head, outputs, outputs[head].argmax(axis=1))
    return with_threshold(fitted, outputs, np.arange(60), 0.5)


MODEL_CARD = "---\nlicense: apache-2.0\n---\n# Small\n"


def reference(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 (N, S, S, 3) -> mean colours in 0..1, and of these a linear layer per head."""
    colors = pixels.astype(np.float64).mean((1, 2)) / 255
    answers = {"embedding": colors}
    for head in TAXONOMY.heads:
        logits = colors @ WEIGHTS[head.name]
        if head.kind == "multilabel":
            answers[head.name] = 1 / (1 + np.exp(-logits))
        else:
            powers = np.exp(logits)
            answers[head.name] = powers / powers.sum(1, keepdims=True)
    return answers


def onnx_model(weights=WEIGHTS, size: int = SIZE) -> onnx.ModelProto:
    """The network as ONNX, N dynamic."""
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["embedding"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2]), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])]
    for head in TAXONOMY.heads:
        name, last = head.name, "Sigmoid" if head.kind == "multilabel" else "Softmax"
        constants.append(numpy_helper.from_array(weights[name], f"{name} weights"))
        nodes.append(helper.make_node("MatMul", ["embedding", f"{name} weights"], [f"{name} x"]))
        nodes.append(helper.make_node(last, [f"{name} x"], [name]))
        shape = ["n", len(head.classes)]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    photos = helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", size, size, 3])
    graph = helper.make_graph(nodes, "small", [photos], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def tflite_bytes() -> bytes:
    """The network as TFLite, for one photo."""
    import litert_torch
    import torch

    class Small(torch.nn.Module):
        def forward(self, photos: torch.Tensor) -> dict[str, torch.Tensor]:
            colors = photos.float().mean((1, 2)) / 255
            answers = {"embedding": colors}
            for head in TAXONOMY.heads:
                logits = colors @ torch.from_numpy(WEIGHTS[head.name])
                last = torch.sigmoid if head.kind == "multilabel" else torch.nn.Softmax(1)
                answers[head.name] = last(logits)
            return answers

    zeros = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    converted = litert_torch.convert(Small().eval(), sample_kwargs={"photos": zeros})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.tflite"
        converted.export(str(path))
        return path.read_bytes()


def card(**other) -> dict:
    """What the files say of themselves."""
    return {"taxonomy": TAXONOMY.model_dump(), "image_size": SIZE, "run": None, **other}


@pytest.fixture(scope="session")
def small():
    """This module: pytest imports it under no name that tests could import."""
    from types import SimpleNamespace

    return SimpleNamespace(
        taxonomy=TAXONOMY,
        size=SIZE,
        reference=reference,
        onnx_model=onnx_model,
        card=card,
        weights=WEIGHTS,
        model_card=MODEL_CARD,
        reliability=RELIABILITY,
        routing=ROUTING,
        unknown_score=unknown_score,
    )


@pytest.fixture(scope="session")
def bare(once):
    """Bytes by format, as a converter leaves them: without a card."""

    def convert(folder):
        (folder / "small.tflite").write_bytes(tflite_bytes())

    tflite = (once("small-network", convert) / "small.tflite").read_bytes()
    return {"onnx": onnx_model().SerializeToString(), "tflite": tflite}


@pytest.fixture(scope="session")
def model_file(bare):
    """A file of the network: `model_file("onnx", "float", …)`; more goes into the card."""

    def make(kind: str, quantization: str = "float", **other) -> ModelFile:
        says = card(quantization=quantization, format=kind, **other)
        return with_card_text(ModelFile(bare[kind], kind, quantization), json.dumps(says))

    return make


@pytest.fixture(scope="session")
def photos():
    """Photos by number, each of another shape: `photos(3)`."""

    def make(count: int) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        coarse = [random.integers(0, 256, (1, 1, 3)) for _ in range(count)]
        noise = [random.integers(-40, 40, (20 + i, 33, 3)) for i in range(count)]
        return [np.clip(c + n, 0, 255).astype(np.uint8) for c, n in zip(coarse, noise, strict=True)]

    return make


@pytest.fixture(scope="session")
def contents(model_file, photos):
    """What a bundle is made of: `contents(name=…)` with other values."""

    def make(**other) -> BundleContents:
        tiers = {
            "tier1": {
                "float": model_file("tflite", tier="tier1"),
                "quantized": model_file("tflite", "weight_only_int8", tier="tier1"),
            },
            "tier2": {"float": model_file("onnx", tier="tier2")},
        }
        given = {
            "name": "small",
            "created": "2026-11-21T12:00:00+00:00",
            "taxonomy": TAXONOMY,
            "tiers": tiers,
            "photos": photos(3),
            "model_card": MODEL_CARD,
            "run": "abc",
            "photo_set_fingerprint": "def",
            "reliability": {"tier1": RELIABILITY},
            "unknown": {"tier1": unknown_score()},
            "routing": ROUTING,
        }
        if set(other.get("tiers", tiers)) != set(tiers):
            given |= {"reliability": {}, "unknown": {}, "routing": None}
        return BundleContents(**{**given, **other})

    return make


@pytest.fixture(scope="session")
def written(contents, tmp_path_factory) -> Path:
    """The folder of a bundle, its `.zip` beside it: to look at."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    write_bundle(folder, contents())
    return folder


@pytest.fixture
def bundle(written, tmp_path) -> Path:
    """A copy of the folder of a bundle, its `.zip` beside it: to damage."""
    shutil.copytree(written, tmp_path / "bundle")
    shutil.copy(written.with_name("bundle.zip"), tmp_path)
    return tmp_path / "bundle"
