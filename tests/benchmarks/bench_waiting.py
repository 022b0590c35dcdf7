"""How threads should wait for work: on a quiet machine, and beside other work.

    python tests/benchmarks/bench_waiting.py [--rounds 10] [--busy 2] [--only training onnx litert]

Threads that have nothing to do may spin, so that the next operator begins at once, or sleep. Beside
other work a spinning thread takes the core that the thread it waits for would need; between two
photos it uses up a core for nothing. Compared are PyTorch's OpenMP (GNU's libgomp in the CPU wheel)
in training steps, and ONNX Runtime and LiteRT in answers to a JPEG of 1024 x 768 pixels, decoding
included, for which the threads of the runtime have nothing to do.

Each side is a process of its own, since much is read when a library loads; the sides take turns,
a few steps each, first alone, then beside processes that keep the cores busy. Printed are medians
of wall and CPU seconds of a step or photo, and the median of the ratios to the library's default
within each round.

Wanted of what we set in training (spin 1,000): at most 5% slower alone, at least 3 times faster
beside two busy processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "KMP_BLOCKTIME")

TRAINING = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Environments of a training process."""

OURS = ("passive", "ours")
SIZE = 224


def train(size, batch):
    """What one step of training does."""
    from cannabis_ml.networks.compat import ready_torchvision

    ready_torchvision()
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    photos = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(photos), labels).backward()
        optimizer.step()

    return step


def ask_onnx(model, photo, side):
    """What one answer of an ONNX file does: by our tier, or by a session with default options."""
    import onnxruntime

    from cannabis_ml.inference.predictor import open_model
    from cannabis_ml.photos.decode import decode
    from cannabis_ml.photos.resize import center_crop_resize

    data = Path(photo).read_bytes()
    if side == "default":
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: center_crop_resize(decode(data), SIZE)[None]})
    tier = open_model(Path(model), threads=int(side == "one thread"))
    return lambda: tier.probs([decode(data)])


def ask_litert(model, photo, side):
    """What one answer of a TFLite file does; LiteRT's own default is one thread."""
    from cannabis_ml.inference.predictor import open_model
    from cannabis_ml.photos.decode import decode

    data = Path(photo).read_bytes()
    tier = open_model(Path(model), threads=int(side == "default"))
    return lambda: tier.probs([decode(data)])


def work(kind, *given):
    """Do a number of steps for each line of standard input, and print what they took."""
    if kind == "train":
        step = train(*map(int, given))
    else:
        step = {"onnx": ask_onnx, "litert": ask_litert}[kind](*given)
    step()
    for line in sys.stdin:
        start, before = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        spent = time.process_time() - before
        print(json.dumps([time.perf_counter() - start, spent]), flush=True)


class Side:
    """A process that does some steps when asked."""

    def __init__(self, arguments, extra):
        environment = {k: v for k, v in os.environ.items() if k not in OPENMP}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", *map(str, arguments)],
            env=environment | extra,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steps(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        wall, cpu = json.loads(self.process.stdout.readline())
        return wall / count, cpu / count


def compare(title, sides, steps, options):
    """Measure alone and beside busy processes, and print both tables."""
    busy = []
    try:
        for side in sides.values():
            side.steps(1)
        show(f"{title}, alone", measure(sides, steps, options.rounds))
        spin = [sys.executable, "-c", "while True: pass"]
        busy = [subprocess.Popen(spin) for _ in range(options.busy)]
        measured = measure(sides, steps, options.rounds)
        show(f"{title}, beside {options.busy} busy processes", measured)
    finally:
        for process in [*busy, *(side.process for side in sides.values())]:
            process.kill()


def measure(sides, steps, rounds):
    taken = {name: [] for name in sides}
    names = list(sides)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            taken[name].append(sides[name].steps(steps))
    return taken


def show(title, taken):
    print(f"\n{title}\n{'':14}{'wall, ms':>9}{'ratio':>8}{'CPU, ms':>9}{'ratio':>8}")
    for name, found in taken.items():
        ratios = [
            median(
                mine[i] / theirs[i] for mine, theirs in zip(found, taken["default"], strict=True)
            )
            for i in (0, 1)
        ]
        wall, cpu = (1e3 * median(values) for values in zip(*found, strict=True))
        mark = "  <- ours" if name in OURS else ""
        print(f"{name:14}{wall:9.1f}{ratios[0]:7.2f}x{cpu:9.1f}{ratios[1]:7.2f}x{mark}", flush=True)


def write_models(folder):
    """A network as ONNX and as TFLite, and a photo."""
    import torch
    from bench_inference import TAXONOMY, jpeg

    from cannabis_ml.exporting.litert_export import to_litert
    from cannabis_ml.exporting.onnx_export import to_onnx
    from cannabis_ml.networks.backbones import create_backbone
    from cannabis_ml.networks.checkpoint import Checkpoint
    from cannabis_ml.networks.network import Architecture, HierarchicalNet

    torch.manual_seed(0)
    backbone = "tf_efficientnet_lite0"
    network = HierarchicalNet(
        create_backbone(backbone, SIZE), TAXONOMY, Architecture(image_size=SIZE)
    )
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(state=state, card=network.card(backbone))
    (folder / "model.onnx").write_bytes(to_onnx(checkpoint).data)
    (folder / "model.tflite").write_bytes(to_litert(checkpoint).data)
    (folder / "photo.jpg").write_bytes(jpeg(1024, 768))


def main():
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
        return
    from machine import machine

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=["training", "onnx", "litert"])
    parser.add_argument("--sides", nargs="+", default=list(TRAINING), help="of training")
    parser.add_argument("--steps", type=int, default=2, help="of a side before the next, training")
    parser.add_argument("--photos", type=int, default=10, help="of a side before the next")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--busy", type=int, default=2, help="processes that keep cores busy")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    print(machine(("torch", "timm", "onnxruntime", "ai-edge-litert")))
    if "training" in options.only:
        given = ("train", options.size, options.batch)
        sides = {name: Side(given, TRAINING[name]) for name in options.sides}
        compare("training, a step", sides, options.steps, options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"onnx", "litert"} & set(options.only):
            write_models(folder)
        for kind, file, names in (
            ("onnx", "model.onnx", ("default", "ours", "one thread")),
            ("litert", "model.tflite", ("default", "ours")),
        ):
            if kind in options.only:
                given = (kind, folder / file, folder / "photo.jpg")
                sides = {name: Side((*given, name), {}) for name in names}
                compare(f"{kind}, a photo", sides, options.photos, options)


if __name__ == "__main__":
    main()
