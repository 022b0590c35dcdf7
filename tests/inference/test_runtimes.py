"""Runtimes by name."""

import sys
from types import ModuleType

import pytest

from cannabis_ml.errors import BundleError, ExportError
from cannabis_ml.inference import Bundle, open_model, runtimes
from cannabis_ml.inference.runtimes import runtime_for


@pytest.fixture
def installed(monkeypatch):
    """Say which are there: `installed("litert")`."""

    def installed(*names):
        monkeypatch.setattr(runtimes, "is_installed", lambda name: name in names)

    return installed


@pytest.mark.parametrize(
    ("there", "format", "taken"),
    [
        (("litert", "tensorflow"), "tflite", "litert"),
        (("tensorflow",), "tflite", "tensorflow"),
        (("tensorflow", "onnxruntime"), "onnx", "onnxruntime"),
    ],
)
def test_the_first_that_is_installed_is_taken(installed, there, format, taken):
    installed(*there)
    assert runtime_for(format) == taken


def test_what_is_named_is_taken_or_refused(installed):
    installed("litert")
    assert runtime_for("tflite", "tensorflow") == "tensorflow"  # opening it says what is missing
    with pytest.raises(ExportError, match="onnxruntime does not run tflite files: take litert or"):
        runtime_for("tflite", "onnxruntime")
    with pytest.raises(ExportError, match="'tflite' is not a runtime: there are litert, tensorfl"):
        runtime_for("tflite", "tflite")


def test_where_none_is_there_every_way_to_install_one_is_reported(installed):
    installed()
    with pytest.raises(ExportError) as refused:
        runtime_for("tflite")
    for how in ("cannabis_ml[inference]", "cannabis_ml[tensorflow]"):
        assert how in str(refused.value)


def test_a_runtime_that_is_named_but_missing_names_what_to_install(model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ExportError, match=r"pip install 'cannabis_ml\[tensorflow\]'"):
        open_model(model_file("tflite"), runtime="tensorflow")


def test_tensorflow_is_opened_by_its_own_interpreter(model_file, photos, monkeypatch):
    """With LiteRT's in its place: TensorFlow itself is in a test with an environment of its own."""
    from ai_edge_litert.interpreter import Interpreter

    for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = ModuleType("tensorflow.lite.python.interpreter")
    module.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, module.__name__, module)
    opened = open_model(model_file("tflite"), runtime="tensorflow")
    assert opened.predict(photos(1)[0]).runtime == "tensorflow"


def test_golden_photos_are_checked_where_the_runtime_runs_the_file(written):
    bundle = Bundle.open(written)
    every = bundle.check_golden()
    assert every.not_checked == []
    assert every.tiers["tier1"]["float"].runtime == "litert"
    some = bundle.check_golden(runtime="onnxruntime")
    assert some.passed
    assert list(some.tiers["tier2"]) == ["float"]
    assert some.tiers["tier1"] == {}
    assert some.not_checked == [
        "tiers/tier1.float.tflite",
        "tiers/tier1.weight_only_int8.tflite",
    ]


def test_a_bundle_without_a_file_for_the_runtime_reports_it(contents, model_file, tmp_path):
    from cannabis_ml.inference.bundle_writer import write_bundle

    made = write_bundle(tmp_path / "b", contents(tiers={"tier2": {"float": model_file("onnx")}}))
    for ask in (made.smallest_tier, lambda name: made.check_golden(runtime=name)):
        with pytest.raises(BundleError, match="no tier whose file litert runs"):
            ask("litert")
        with pytest.raises(ExportError, match="'lite' is not a runtime"):
            ask("lite")
