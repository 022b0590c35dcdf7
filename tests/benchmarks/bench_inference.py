"""What our own code costs between a JPEG and its answer.

Run it by `python tests/benchmarks/bench_inference.py`.

Ours is `decode` and `Predictor.probs`, as the command line and a service call them. The other side
does what cannot be left out and nothing else: the same decoder, the same resize, and LiteRT's
interpreter on the array, tensors set and read by index. Both answer the same photo in one run, in
turns; what ours takes longer is the overhead. The model is tier 1 as the product is meant, a
MobileNetV3-Large at 224, with random weights: they do not change the time.

Opening is measured too: a process of its own from start to answer, as the command line is used.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import alternate, machine
from PIL import Image

from cannabis_ml.exporting.model_metadata import with_card
from cannabis_ml.inference.bundle_writer import BundleContents, write_bundle
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy

SIZE = 224
HEADS = {"product": 5, "grade": 5, "appearance": 10}
TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": name, "classes": [f"{name} {i}" for i in range(count)]}
            for name, count in HEADS.items()
        ]
    }
)


def tier_1() -> ModelFile:
    """MobileNetV3-Large with a head per question, uint8 photos in, as TFLite."""
    import litert_torch
    import torch

    from cannabis_ml.networks.backbones import create_backbone

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = create_backbone("mobilenetv3_large_100", SIZE)
            with torch.no_grad():
                features = self.backbone.eval()(torch.zeros(1, 3, SIZE, SIZE)).shape[1]
            self.heads = torch.nn.ModuleList(torch.nn.Linear(features, k) for k in HEADS.values())

        def forward(self, photos: torch.Tensor) -> dict[str, torch.Tensor]:
            found = self.backbone((photos.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
            probs = [head(found).softmax(1) for head in self.heads]
            return {**dict(zip(HEADS, probs, strict=True)), "embedding": found}

    zeros = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    converted = litert_torch.convert(Network().eval(), sample_kwargs={"photos": zeros})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tier1.tflite"
        converted.export(str(path))
        bare = ModelFile(path.read_bytes(), "tflite")
    return with_card(bare, FileCard(taxonomy=TAXONOMY, image_size=SIZE))


class Bare:
    """The interpreter with nothing around it."""

    def __init__(self, file: ModelFile, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=file.data, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.outputs = [d["index"] for d in self.interpreter.get_output_details()]

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        self.interpreter.set_tensor(self.input, pixels[np.newaxis])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


def jpeg(width: int, height: int) -> bytes:
    """A photo with some structure and some noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth) + random.normal(0, 3, (height, width, 1))
    held = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(held, "JPEG", quality=90)
    return held.getvalue()


def compare(file: ModelFile, data: bytes, title: str, threads: int, repeats: int) -> None:
    """Print milliseconds of each side and of the parts, and the overhead."""
    tier, bare = open_model(file, threads), Bare(file, threads)
    photo = decode(data)
    pixels = center_crop_resize(photo, SIZE)
    theirs = {v.shape[1]: v for v in bare(pixels)}
    for values in tier.probs([photo]).values():
        assert values.shape[1] in theirs
    medians = alternate(
        {
            "ours": lambda: tier.probs([decode(data)]),
            "bare": lambda: bare(center_crop_resize(decode(data), SIZE)),
            "ours on pixels": lambda: tier.probs([photo]),
            "bare on pixels": lambda: bare(center_crop_resize(photo, SIZE)),
            "invoke": lambda: bare(pixels),
        },
        repeats,
    )
    told = ", ".join(f"{name} {1e3 * taken:.3f}" for name, taken in medians.items())
    overhead = medians["ours"] / medians["bare"] - 1
    in_memory = (medians["ours on pixels"] - medians["bare on pixels"]) / medians["invoke"]
    print(f"{title}, {threads} thread{'s' * (threads > 1)}, ms: {told}")
    print(f"  overhead from JPEG {overhead:+.1%}; of the pixels alone {in_memory:+.1%} of invoke")


def start_up(file: ModelFile, data: bytes, repeats: int) -> None:
    """Print how long the command line takes for one photo, with the imports and the checks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = BundleContents(
            name="benchmark",
            created="2026-11-21T12:00:00+00:00",
            taxonomy=TAXONOMY,
            tiers={"tier1": {"float": file}},
            photos=[decode(data)],
            model_card="",
        )
        write_bundle(folder / "bundle", contents)
        (folder / "photo.jpg").write_bytes(data)
        for form in ("bundle", "bundle.zip"):
            command = [sys.executable, "-m", "cannabis_ml.inference", form, "photo.jpg"]
            taken = []
            for _ in range(repeats):
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                taken.append(time.perf_counter() - start)
            print(f"from start to answer, {form}: {statistics.median(taken):.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    print(machine(("numpy", "opencv-python-headless", "pillow", "ai-edge-litert")))
    file = tier_1()
    print(f"MobileNetV3-Large at {SIZE}: {len(file.data) / 1e6:.1f} MB")
    small, phone = jpeg(683, 512), jpeg(4000, 3000)
    for threads in arguments.threads:
        compare(file, small, "512 pixels", threads, arguments.repeats)
        compare(file, phone, "12 megapixels", threads, max(5, arguments.repeats // 10))
    start_up(file, small, 7)


if __name__ == "__main__":
    main()
