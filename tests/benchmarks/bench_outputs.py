"""What uncertainties and attention map cost a photo, in time and bytes.

    python tests/benchmarks/bench_outputs.py [--rounds 300]

The default network of each tier (untrained) with the default taxonomy's shape of heads, as ONNX and
as TFLite, one thread: with all outputs, and with probabilities and embedding alone. Both files take
turns on the same photo; `predict` is the whole way from pixels to an answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

WAYS, WARMUP = ("invoke", "predict"), 20

TAXONOMY = {
    "heads": [
        {"name": "type", "classes": list("abcde")},
        {
            "name": "grade",
            "kind": "ordinal",
            "classes": list("12345"),
            "parent": "type",
            "allowed": {"a": list("12345"), "b": list("123"), "c": list("45")},
        },
        {"name": "look", "kind": "multilabel", "classes": list("ABCDEFGHIJ")},
    ]
}


def files(size, kind):
    import torch

    from cannabis_ml.exporting.litert_export import to_litert
    from cannabis_ml.exporting.onnx_export import to_onnx
    from cannabis_ml.networks.backbones import create_backbone
    from cannabis_ml.networks.checkpoint import Checkpoint
    from cannabis_ml.networks.network import Architecture, ExportNet, HierarchicalNet
    from cannabis_ml.taxonomy import Taxonomy

    torch.manual_seed(0)
    name = "tf_efficientnet_lite0"
    architecture = Architecture(image_size=size, ensemble=4, attention=True)
    taxonomy = Taxonomy.model_validate(TAXONOMY)
    network = HierarchicalNet(create_backbone(name, size), taxonomy, architecture)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(state=state, card=network.card(name))
    export = to_onnx if kind == "onnx" else to_litert
    few = [*(head.name for head in taxonomy.heads), "embedding", "grade.given"]
    with mock.patch.object(ExportNet, "outputs", few):
        bare = export(checkpoint)
    return {"all": export(checkpoint), "bare": bare}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    print(machine(("torch", "onnxruntime", "ai-edge-litert", "numpy")))
    print(f"\n{'':22}{'bytes':>12}{'invoke, ms':>13}{'predict, ms':>13}   medians")
    for kind, size in (("tflite", 96), ("onnx", 128), ("onnx", 224)):
        compare(kind, size, options.rounds)


def compare(kind, size, rounds):
    from cannabis_ml.inference.predictor import open_model

    made = files(size, kind)
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    calls = {}
    for name, file in made.items():
        predictor = open_model(file, threads=1)
        calls[name, "invoke"] = partial(predictor.invoke, photo[None])
        calls[name, "predict"] = partial(predictor.predict, photo)
    taken = {key: [] for key in calls}
    for round_ in range(rounds + WARMUP):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            if round_ >= WARMUP:
                taken[key].append(1000 * (time.perf_counter() - start))
    for name, file in made.items():
        medians = (np.median(taken[name, what]) for what in WAYS)
        told = "".join(f"{median:13.3f}" for median in medians)
        print(f"{kind:7}{size:4} {name:10}{len(file.data):12,}{told}")
    # Calls of one round meet the same load.
    apart = (np.median(np.subtract(taken["all", what], taken["bare", what])) for what in WAYS)
    more = len(made["all"].data) - len(made["bare"].data)
    print(f"{'':12}difference{more:+12,}" + "".join(f"{ms:+13.3f}" for ms in apart))


if __name__ == "__main__":
    main()
