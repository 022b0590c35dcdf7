"""Do other runtimes give the golden answers of a bundle? TensorFlow's interpreter and OpenVINO do.

    python tests/benchmarks/cross_runtimes.py BUNDLE [--checkpoints data/06_models]

Both are installed into an environment of their own (about 400 MB from PyPI), which knows nothing
of this project: it gets the model files, the inputs and the names. ONNX Runtime and LiteRT answer
here, and so does PyTorch where the checkpoints are given. Every float file must agree within 1e-3.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden import FileReport

PACKAGES = ("tensorflow-cpu==2.21.0", "openvino==2026.4.0", "numpy", "pillow")

STRANGER = """
import json, sys
import numpy as np
from PIL import Image

job = json.load(open(sys.argv[1]))
photos = {s: [np.asarray(Image.open(p)) for p in paths] for s, paths in job["inputs"].items()}

def tensorflow(path, photos):
    import tensorflow as tf
    interpreter = tf.lite.Interpreter(path)
    runner = interpreter.get_signature_runner()
    answers = [runner(photos=photo[None]) for photo in photos]
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}

def openvino(path, photos):
    import openvino as ov
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(path, "CPU", exact)
    answers = [compiled({0: photo[None]}) for photo in photos]
    names = {}
    for output in compiled.outputs:
        for name in output.get_names():
            names[name] = output
    return {n: np.concatenate([np.array(a[o]) for a in answers]) for n, o in names.items()}

found = []
for file in job["files"]:
    side = {"onnx": openvino, "tflite": tensorflow}[file["format"]]
    try:
        answers = side(file["path"], photos[str(file["image_size"])])
        told = {n: v.astype(float).tolist() for n, v in answers.items()}
    except Exception as error:
        told = f"{type(error).__name__}: {error}"[:300]
    found.append({**file, "runtime": side.__name__, "answers": told})
json.dump(found, open(sys.argv[2], "w"))
"""


def main() -> None:
    """Print a line per file and runtime."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--checkpoints", type=Path, help="the folder with tier1, tier2, tier3")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    golden = bundle.golden()
    print(f"{bundle.path}: {len(golden.photos)} golden photos")
    with tempfile.TemporaryDirectory() as folder:
        job = _job(bundle, Path(folder))
        for answered in _strangers(job, Path(folder)):
            tier, kind = answered["tier"], answered["kind"]
            _tell(bundle, tier, kind, answered["runtime"], answered["answers"])
    report = bundle.check_golden()
    for tier, kinds in report.tiers.items():
        for kind, found in kinds.items():
            runtime = {"onnx": "onnxruntime", "tflite": "litert"}[
                bundle.model_file(tier, kind == "quantized").format
            ]
            _line(tier, kind, runtime, found)
    if options.checkpoints:
        for tier in bundle.tiers:
            _tell(bundle, tier, "float", "pytorch", _pytorch(options.checkpoints / tier, bundle))


def _job(bundle: Bundle, folder: Path) -> dict[str, Any]:
    golden = bundle.golden()
    inputs = {}
    for size, names in golden.inputs.items():
        inputs[size] = []
        for name in names:
            path = folder / name.replace("/", "_")
            path.write_bytes(bundle.read(name))
            inputs[size].append(str(path))
    files = []
    for tier, kinds in bundle.manifest.tiers.items():
        for kind, entry in kinds.all.items():
            path = folder / Path(entry.file).name
            path.write_bytes(bundle.read(entry.file))
            about = {"tier": tier, "kind": kind, "format": entry.format}
            files.append({**about, "path": str(path), "image_size": entry.image_size})
    return {"inputs": inputs, "files": files}


def _strangers(job: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    home = folder / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "stranger.py").write_text(STRANGER)
    command = [python, "stranger.py", "job.json", "found.json"]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return list(json.loads((folder / "found.json").read_text()))


def _pytorch(folder: Path, bundle: Bundle) -> dict[str, Any] | str:
    from cannabis_ml.datasets.checkpoint import CheckpointDataset
    from cannabis_ml.exporting.onnx_export import torch_outputs

    newest = max(folder.glob("checkpoint.safetensors/*/checkpoint.safetensors"))
    checkpoint = CheckpointDataset(filepath=str(newest)).load()
    return torch_outputs(checkpoint, bundle.golden_photos())


def _tell(bundle: Bundle, tier: str, kind: str, runtime: str, answers: Any) -> None:
    if isinstance(answers, str):
        print(f"{tier} {kind:10} {runtime:12} FAILED: {answers}")
        return
    from cannabis_ml.inference import golden

    expected = bundle.golden().tiers[tier][kind]
    got = {name: np.asarray(values, np.float32) for name, values in answers.items()}
    _line(tier, kind, runtime, golden.compare(expected, got, bundle.rules(tier)))


def _line(tier: str, kind: str, runtime: str, found: FileReport) -> None:
    print(f"{tier} {kind:10} {runtime:12} {found.in_words()}")


if __name__ == "__main__":
    sys.exit(main())
