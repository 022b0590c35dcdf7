"""The card and the SHA-256 in model files of both formats, read by ours and by standard tools."""

import hashlib
import io
import json
import shutil
import subprocess
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from cannabis_ml.errors import ExportError
from cannabis_ml.exporting.model_metadata import with_card, with_card_text
from cannabis_ml.inference import seal
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.model_file import ModelFile

CARD = {"taxonomy": {"heads": [{"name": "Blüte"}]}, "image_size": 16, "run": None, "x": [1, 2.5]}
LONG = {"text": "\n\ncannabis_ml\x12{" * 20_000}

both = pytest.mark.parametrize("kind", ["onnx", "tflite"])


def written(bare, kind, card=CARD):
    return with_card_text(ModelFile(bare[kind], kind), json.dumps(card, ensure_ascii=False)).data


def read(data, kind):
    text = seal.card_text(data, kind)
    return None if text is None else json.loads(text)


@both
def test_a_file_without_a_card_has_none(bare, kind):
    assert read(bare[kind], kind) is None
    assert not seal.is_whole(bare[kind])


@both
@pytest.mark.parametrize("card", [CARD, {}, LONG], ids=["card", "empty", "long"])
def test_a_card_comes_back_as_it_was(bare, kind, card):
    data = written(bare, kind, card)
    assert read(data, kind) == card
    assert seal.is_whole(data)


@both
def test_the_last_bytes_are_the_hash_of_the_rest(bare, kind):
    data = written(bare, kind)
    assert data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()


@both
def test_writing_again_replaces_the_card(bare, kind):
    first = ModelFile(written(bare, kind, {"old": 1}), kind)
    second = written({kind: first.data}, kind)
    assert second == written(bare, kind)
    assert b'"old"' not in second


@both
def test_the_same_card_gives_the_same_bytes(bare, kind):
    assert written(bare, kind) == written(bare, kind)


@both
def test_any_flipped_bit_shows(bare, kind):
    data = written(bare, kind)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        assert not seal.is_whole(bytes(damaged)), at


@both
def test_a_cut_or_grown_file_shows(bare, kind):
    data = written(bare, kind)
    for damaged in (data[:-1], data[: len(data) // 2], data[:9], data[-64:], b"", data + b"\0"):
        assert not seal.is_whole(damaged)
        with pytest.raises(ExportError, match="not a whole"):
            ModelFile.from_bytes(damaged)


@both
@pytest.mark.parametrize("text", ["[1]", "{", "", '{"taxonomy": 1}', "[" * 100_000])
def test_a_card_that_makes_no_sense_is_refused(bare, kind, text):
    file = with_card_text(ModelFile(bare[kind], kind), text)
    with pytest.raises(ExportError, match="makes no sense"):
        _ = file.card


@both
def test_a_typed_card_comes_back_as_it_was(bare, kind, small):
    card = FileCard.model_validate({**small.card(), "tier": "tier1", "backbone": ["a", "b"]})
    assert with_card(ModelFile(bare[kind], kind), card).card == card


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_what_is_not_a_model_gets_no_card(kind):
    with pytest.raises(ExportError, match="is not a"):
        with_card_text(ModelFile(b"\xff\xd8\xff something else", kind), "{}")


def test_onnx_and_onnx_runtime_read_the_card(bare):
    data = written(bare, "onnx")
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["cannabis_ml", "sha256"]
    told = onnxruntime.InferenceSession(data).get_modelmeta().custom_metadata_map
    assert json.loads(told["cannabis_ml"]) == CARD
    assert told["sha256"] == hashlib.sha256(data[:-64]).hexdigest()


def test_other_entries_of_an_onnx_file_stay(small):
    model = small.onnx_model()
    onnx.helper.set_model_props(model, {"other": "1", "cannabis_ml": json.dumps({"old": 1})})
    file = ModelFile(model.SerializeToString(), "onnx")
    assert read(file.data, "onnx") == {"old": 1}  # written by the onnx package
    again = onnx.load_model_from_string(with_card_text(file, "{}").data)
    assert [entry.key for entry in again.metadata_props] == ["other", "cannabis_ml", "sha256"]


def test_weights_in_other_files_are_refused(small):
    model = small.onnx_model()
    onnx.external_data_helper.set_external_data(model.graph.initializer[-1], "/etc/passwd")
    with pytest.raises(ExportError, match="other files"):
        with_card_text(ModelFile(model.SerializeToString(), "onnx"), "{}")


@pytest.mark.parametrize("below", [True, False])
def test_a_hash_over_weights_in_other_files_opens_nothing(small, tmp_path, monkeypatch, below):
    """Anybody can hash a file: ONNX Runtime reads no other file for a model that is in memory."""
    from cannabis_ml.inference.predictor import open_model

    model = small.onnx_model()
    onnx.helper.set_model_props(model, {"cannabis_ml": json.dumps(small.card())})
    weights = model.graph.initializer[-1]
    (tmp_path / "weights").write_bytes(weights.raw_data)
    monkeypatch.chdir(tmp_path)
    place = "weights" if below else str(tmp_path / "weights")
    onnx.external_data_helper.set_external_data(weights, place, 0, len(weights.raw_data))
    weights.ClearField("raw_data")
    data = model.SerializeToString()
    data += b"rJ\n\x06sha256\x12@"
    data += hashlib.sha256(data).hexdigest().encode()
    with pytest.raises(ExportError, match="cannot open"):
        open_model(data)


def test_any_zip_tool_reads_the_card_of_a_tflite_file(bare, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(data := written(bare, "tflite"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert json.loads(archive.read("cannabis_ml.json")) == CARD
        assert archive.comment.decode() == hashlib.sha256(data[:-64]).hexdigest()
        assert archive.testzip() is None
    if unzip := shutil.which("unzip"):
        done = subprocess.run(
            [unzip, "-p", path, "cannabis_ml.json"], capture_output=True, check=True
        )
        assert json.loads(done.stdout) == CARD
        assert done.stderr == b""


def test_the_flatbuffer_is_as_it_was(bare, small):
    """TensorFlow's own schema and the interpreter read it; the archive follows it."""
    data = written(bare, "tflite")
    assert data.startswith(bare["tflite"])
    before, after = (schema.ModelT.InitFromPackedBuf(d) for d in (bare["tflite"], data))
    assert len(before.buffers) == len(after.buffers)
    pixels = np.full((1, small.size, small.size, 3), 77, np.uint8)
    ours, theirs = (
        Interpreter(model_content=d).get_signature_runner()(photos=pixels)
        for d in (data, bare["tflite"])
    )
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)
