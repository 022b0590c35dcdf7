"""Cards and seals, in both formats."""

import json

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from cannabis_ml.errors import ExportError
from cannabis_ml.inference import onnx_metadata, tflite_metadata

ROOMS = {"onnx": onnx_metadata, "tflite": tflite_metadata}
CARD = {"taxonomy": {"heads": [{"name": "Blüte"}]}, "image_size": 16, "run": None, "x": [1, 2.5]}

both = pytest.mark.parametrize("kind", sorted(ROOMS))


@both
def test_a_file_without_a_card_says_none(bare, kind):
    assert ROOMS[kind].read(bare[kind]) is None
    assert ROOMS[kind].seal_state(bare[kind]) == "none"
    ROOMS[kind].check(bare[kind])


@both
def test_a_card_comes_back_as_it_was(bare, kind):
    written = ROOMS[kind].write(bare[kind], CARD)
    assert ROOMS[kind].read(written) == CARD
    assert ROOMS[kind].seal_state(written) == "whole"
    ROOMS[kind].check(written)


@both
def test_writing_again_replaces_the_card(bare, kind):
    first = ROOMS[kind].write(bare[kind], {"old": 1})
    second = ROOMS[kind].write(first, CARD)
    assert ROOMS[kind].read(second) == CARD
    assert ROOMS[kind].seal_state(second) == "whole"


@both
def test_the_same_card_gives_the_same_bytes(bare, kind):
    assert ROOMS[kind].write(bare[kind], CARD) == ROOMS[kind].write(bare[kind], CARD)


@both
def test_any_flipped_bit_breaks_the_seal_or_the_file(bare, kind):
    written = ROOMS[kind].write(bare[kind], CARD)
    for at in range(len(written)):
        damaged = bytearray(written)
        damaged[at] ^= 1 << at % 8
        try:
            state = ROOMS[kind].seal_state(bytes(damaged))
            found = ROOMS[kind].read(bytes(damaged))
        except ExportError:
            continue
        # Where the way to the card is what was hit, there is no card.
        assert state == "altered" or (state == "none" and found is None), at


@both
def test_a_cut_or_grown_file_is_told(bare, kind):
    written = ROOMS[kind].write(bare[kind], CARD)
    for damaged in (written[:-1], written[: len(written) // 2], written[:9], b"", written + b"\0"):
        try:
            assert ROOMS[kind].seal_state(damaged) != "whole"
            ROOMS[kind].check(damaged)
            assert ROOMS[kind].seal_state(damaged) == "altered"
        except ExportError:
            continue


@both
def test_a_card_that_is_no_json_is_refused(bare, kind):
    for unfit in ({"x": float("nan")}, {"x": b"bytes"}):
        with pytest.raises(ExportError, match="JSON"):
            ROOMS[kind].write(bare[kind], unfit)


def test_onnx_reads_the_card_and_finds_the_model_sound(bare):
    model = onnx.load_model_from_string(onnx_metadata.write(bare["onnx"], CARD))
    onnx.checker.check_model(model)
    (entry,) = model.metadata_props
    assert entry.key == "cannabis_ml"
    assert {k: v for k, v in json.loads(entry.value).items() if k != "content_sha256"} == CARD


def test_a_card_written_by_the_onnx_package_is_read(small):
    model = small.onnx_model()
    onnx.helper.set_model_props(model, {"other": "1", "cannabis_ml": json.dumps(CARD)})
    data = model.SerializeToString()
    assert onnx_metadata.read(data) == CARD
    assert onnx_metadata.seal_state(data) == "none"
    again = onnx.load_model_from_string(onnx_metadata.write(data, {"new": 1}))
    assert [entry.key for entry in again.metadata_props] == ["other", "cannabis_ml"]


def test_weights_in_other_files_are_refused(small):
    model = small.onnx_model()
    onnx.external_data_helper.set_external_data(model.graph.initializer[-1], "/etc/passwd")
    with pytest.raises(ExportError, match="other files"):
        onnx_metadata.check(model.SerializeToString())


def test_other_readers_find_the_tflite_model_as_it_was(bare):
    """TensorFlow's own schema reads it; nothing but the card was added."""
    before = schema.ModelT.InitFromPackedBuf(bare["tflite"])
    after = schema.ModelT.InitFromPackedBuf(tflite_metadata.write(bare["tflite"], CARD))
    assert [m.name for m in after.metadata][-1] == b"cannabis_ml"
    assert after.metadata[-1].buffer == len(before.buffers) == len(after.buffers) - 1
    text = bytes(after.buffers[-1].data)
    assert {k: v for k, v in json.loads(text).items() if k != "content_sha256"} == CARD
    for name in ("version", "description", "metadataBuffer"):
        assert getattr(before, name) == getattr(after, name)
    assert len(before.subgraphs[0].tensors) == len(after.subgraphs[0].tensors)
    for ours, theirs in zip(after.buffers, before.buffers, strict=False):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_weights_keep_their_alignment(bare):
    written = tflite_metadata.write(bare["tflite"], CARD)
    assert (len(written) - len(bare["tflite"])) % 64 == 0
    assert written.endswith(bare["tflite"][16:])


def test_weights_behind_the_flatbuffer_are_found_after_the_move(small, bare):
    """Large files keep weights behind the FlatBuffer, found from the start of the file."""
    data = moved_out(bare["tflite"])
    tflite_metadata.check(data)
    answers = [ask(file, small.size) for file in (data, tflite_metadata.write(data, CARD))]
    for name, values in ask(bare["tflite"], small.size).items():
        np.testing.assert_array_equal(answers[0][name], values)
        np.testing.assert_array_equal(answers[1][name], values)


def moved_out(data: bytes) -> bytes:
    """The same file with the largest buffer behind the FlatBuffer."""
    import flatbuffers

    def packed(model):
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    model = schema.ModelT.InitFromPackedBuf(data)
    largest = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    weights, largest.data = bytes(largest.data), None
    largest.offset, largest.size = 1 << 20, len(weights)
    start = -(-len(packed(model)) // 64) * 64
    largest.offset = start
    return packed(model).ljust(start, b"\0") + weights


def ask(data: bytes, size: int) -> dict:
    runner = Interpreter(model_content=data).get_signature_runner()
    return runner(photos=np.full((1, size, size, 3), 77, np.uint8))


def test_references_without_end_are_refused(bare, monkeypatch):
    """Tables may name the same others over and over: following them all must stop somewhere."""
    monkeypatch.setattr(tflite_metadata, "_MOST_REFERENCES", 20)
    with pytest.raises(ExportError, match="more references"):
        tflite_metadata.check(bare["tflite"])
