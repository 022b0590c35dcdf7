"""What every tier does, whatever runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.errors import CannabisMLError, ExportError, PhotoError
from cannabis_ml.exporting.model_metadata import with_card_text
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.photos.resize import center_crop_resize

both = pytest.mark.parametrize("kind", ["onnx", "tflite"])


@both
@pytest.mark.parametrize("count", [1, 2, 5])
def test_answers_are_those_of_the_network(small, model_file, photos, kind, count):
    given = photos(count)
    tier = open_model(model_file(kind), threads=1)
    expected = small.reference(np.stack([center_crop_resize(photo, small.size) for photo in given]))
    answers = tier.outputs(given, batch_size=2)
    assert sorted(answers) == sorted(expected)
    for name, values in answers.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], atol=2e-5)
    probs = tier.probs(given, batch_size=2)
    assert list(probs) == [head.name for head in small.taxonomy.heads]
    for name, values in probs.items():
        np.testing.assert_array_equal(values, answers[name])


@both
def test_a_batch_of_any_size_can_be_invoked(small, model_file, kind):
    pixels = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    answers = open_model(model_file(kind)).invoke(pixels)
    for name, values in small.reference(pixels).items():
        np.testing.assert_allclose(answers[name], values, atol=2e-5)


@both
def test_no_photos_give_no_answers(model_file, kind):
    answers = open_model(model_file(kind)).outputs([])
    shapes = {name: values.shape for name, values in answers.items()}
    assert shapes == {
        "embedding": (0, 3),
        "kind.of thing": (0, 3),
        "grade": (0, 4),
        "marks": (0, 2),
    }


@both
def test_a_predictor_describes_itself(small, model_file, kind):
    tier = open_model(model_file(kind, photo_set_fingerprint="f"))
    assert (tier.format, tier.image_size) == (kind, small.size)
    assert tier.taxonomy == small.taxonomy
    assert tier.card.photo_set_fingerprint == "f"


@both
def test_a_file_is_opened_from_a_path_its_bytes_or_memory(model_file, photos, tmp_path, kind):
    file = model_file(kind, quantization="weight_only_int8")
    path = tmp_path / "model"  # the name says nothing: the bytes do
    path.write_bytes(file.data)
    assert ModelFile.read(path) == file
    first, *others = [
        open_model(given).probs(photos(2)) for given in (file, path, str(path), file.data)
    ]
    for other in others:
        for name, values in first.items():
            np.testing.assert_array_equal(other[name], values)


@both
@pytest.mark.parametrize(
    "photo", [np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_photo_is_refused(model_file, kind, photo):
    with pytest.raises(PhotoError, match=r"1 of 1 are not photos: number 0 is .*uint8"):
        open_model(model_file(kind)).probs([photo])


@pytest.mark.parametrize(
    "given", ["a.jpg", Path("a.jpg"), b"\xff\xd8", None, 7, Image.new("RGB", (9, 9)), [[1, 2]]]
)
def test_what_is_no_array_is_refused_by_its_kind(model_file, photos, given):
    tier = open_model(model_file("onnx"))
    kind = type(given).__name__
    with pytest.raises(PhotoError, match=rf"1 of 3 .*number 1 is of type {kind},(?s:.*)decode"):
        tier.probs([photos(1)[0], given, photos(1)[0]])
    if not isinstance(given, list):
        with pytest.raises(PhotoError, match=rf"as a list of arrays, not of type {kind}"):
            tier.probs(given)
    with pytest.raises(PhotoError, match="not of type generator"):
        tier.probs(photo for photo in [given])


def test_one_photo_belongs_in_a_list(model_file, photos):
    with pytest.raises(PhotoError, match=r"one photo, .*\[photo\]"):
        open_model(model_file("onnx")).probs(photos(1)[0])


def test_photos_of_one_size_may_be_one_array(small, model_file, photos):
    tier = open_model(model_file("onnx"), threads=1)
    same = np.stack([center_crop_resize(photo, 20) for photo in photos(3)])
    for name, values in tier.probs(same).items():
        np.testing.assert_array_equal(values, tier.probs(list(same))[name])


def test_a_photo_error_is_a_type_error_and_ours():
    assert issubclass(PhotoError, CannabisMLError)
    assert issubclass(PhotoError, TypeError)


@both
def test_a_file_without_a_card_is_refused(bare, kind):
    with pytest.raises(ExportError, match="does not end with the SHA-256 of the rest"):
        open_model(bare[kind])
    with pytest.raises(ExportError, match="no 'cannabis_ml' metadata"):
        _ = ModelFile(bare[kind], kind).card


@both
@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"image_size": 20}, "card has uint8"),
        ({"image_size": "large"}, "makes no sense: image_size"),
        ({"image_size": -1}, "image_size: Input should be greater"),
        ({"taxonomy": {"heads": []}}, "makes no sense: (?s:.*)no heads"),
        ({"taxonomy": {"heads": [{"name": "other", "classes": ["a", "b"]}]}}, "'other'"),
        ({"taxonomy": {"heads": [{"name": "grade", "classes": ["a", "b"]}]}}, "'grade'"),
    ],
)
def test_a_card_of_another_model_is_refused(small, bare, kind, said, complaint):
    file = with_card_text(ModelFile(bare[kind], kind), json.dumps({**small.card(), **said}))
    with pytest.raises(ExportError, match=complaint):
        open_model(file)


@both
def test_an_altered_file_is_refused_before_a_runtime_sees_it(model_file, monkeypatch, kind):
    data = bytearray(model_file(kind).data)
    data[-20] ^= 1
    monkeypatch.setattr("cannabis_ml.inference.predictor.open_verified", None)
    with pytest.raises(ExportError, match="damaged, cut short or altered"):
        open_model(bytes(data))


@both
def test_a_file_of_something_else_is_refused(kind):
    noise = np.random.default_rng(3).bytes(5000)
    start = b"\0\0\0\0TFL3" if kind == "tflite" else b""
    for data in (b"", start, start + noise, b"\xff\xd8\xff" + noise):
        with pytest.raises(ExportError, match="whole"):
            open_model(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"absent\.onnx cannot be read"):
        open_model(tmp_path / "absent.onnx")


def test_the_format_is_one_of_two():
    with pytest.raises(ExportError, match="not 'keras'"):
        ModelFile(b"", "keras")


@pytest.mark.parametrize(
    ("kind", "module"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert.interpreter")]
)
def test_a_missing_runtime_names_what_to_install(model_file, monkeypatch, kind, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ExportError, match=r"pip install 'cannabis_ml\[inference\]'"):
        open_model(model_file(kind))


def test_dynamically_quantized_onnx_sees_one_photo_at_a_time(model_file, photos, monkeypatch):
    """It scales values by the largest of the batch: answers would depend on neighbours."""
    seen = []
    tier = open_model(model_file("onnx", quantization="dynamic_int8"))
    invoke = tier.invoke
    monkeypatch.setattr(tier, "invoke", lambda pixels: seen.append(len(pixels)) or invoke(pixels))
    assert tier.probs(photos(3))["grade"].shape == (3, 4)
    assert seen == [1, 1, 1]


def test_several_threads_may_ask_one_tier(small, model_file, photos):
    from concurrent.futures import ThreadPoolExecutor

    tier, given = open_model(model_file("tflite"), threads=1), photos(8)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda photo: tier.probs([photo])["grade"][0], given * 5))
    expected = small.reference(
        np.stack([center_crop_resize(photo, small.size) for photo in given * 5])
    )["grade"]
    np.testing.assert_allclose(answers, expected, atol=2e-5)


def test_older_cards_have_an_empty_calibration_and_open(model_file):
    assert open_model(model_file("onnx", calibration=None)).card.tier is None
    with pytest.raises(ExportError, match="calibration"):
        open_model(model_file("onnx", calibration={"temperature": 2}))
