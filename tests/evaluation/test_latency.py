import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.latency import LatencyParams, LatencyReport, measure
from cannabis_ml.exporting.onnx_export import to_onnx
from cannabis_ml.inference import latency as child
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.taxonomy import Taxonomy

QUICK = LatencyParams(photos=2, repeats=3, rounds=2)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    taxonomy = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    network = HierarchicalNet(
        create_backbone("test_efficientnet", 32), taxonomy, Architecture(image_size=32)
    )
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return to_onnx(Checkpoint(state=state, card=network.card("test_efficientnet")))


@pytest.fixture
def photos():
    return [np.full((240, 320, 3), level, np.uint8) for level in (40, 200)]


def test_report_has_times_and_memory_of_every_file(model, photos):
    report = measure({"float": model, "quantized": model}, photos, QUICK)
    assert report.photos == 2
    assert report.machine["cores"] >= 1
    assert report.machine["processor"]
    for file in report.files.values():
        assert file.bytes == len(model.data)
        for threads in ("one_thread", "all_threads"):
            found = getattr(file, threads)
            for way in ("invoke_ms", "pixels_ms", "jpeg_ms"):
                assert 0 < getattr(found, way).p50 <= getattr(found, way).p95
            assert found.invoke_ms.p50 < found.pixels_ms.p50 < found.jpeg_ms.p50
            assert found.open_ms > 0
    assert report.quantized_to_float["bytes"] == 1
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert LatencyReport.model_validate_json(text) == report
    assert measure({"float": model}, photos, QUICK).quantized_to_float == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_memory_is_that_of_the_model_alone(model, photos):
    """Not that of this process, which has a training framework in it."""
    held = np.ones(40_000_000)  # 320 MB
    found = measure({"float": model}, photos, QUICK).files["float"].one_thread
    assert torch.__version__
    assert 10 < found.memory_before_mb < found.peak_memory_mb < 300
    assert child.peak_memory() > 320
    assert held[0]


def test_every_single_time_is_reported(model, photos, tmp_path):
    import cv2

    (tmp_path / "model.onnx").write_bytes(model.data)
    encoded = [cv2.imencode(".jpg", photo)[1].tobytes() for photo in photos]
    found = child.timed(tmp_path / "model.onnx", encoded, threads=1, repeats=3)
    assert [len(found[way]) for way in ("invoke_ms", "pixels_ms", "jpeg_ms")] == [6, 6, 6]


def test_timing_imports_no_training_framework(model, tmp_path):
    (tmp_path / "model.onnx").write_bytes(model.data)
    script = "import sys, cannabis_ml.inference.latency as child; child.timed"
    script += (
        f"(child.Path({str(tmp_path / 'model.onnx')!r}), [], 1, 1); print(sorted(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(eval(told.stdout.splitlines()[-1]))
    assert not {"torch", "tensorflow", "kedro", "datasets"} & loaded


def test_file_that_cannot_be_opened_is_reported(photos):
    with pytest.raises(ExportError, match=r"float\.onnx could not be timed: .*whole onnx file"):
        measure({"float": ModelFile(b"nothing", "onnx")}, photos, QUICK)
