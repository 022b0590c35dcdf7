"""The way in: `Bundle.open(path).predict(photo)`."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.errors import BundleError, PhotoError
from cannabis_ml.inference import Answer, Bundle, HeadAnswer, Predictor, open_model
from cannabis_ml.inference.answer import Answer as AnswerClass
from cannabis_ml.photos.decode import UnreadableError
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def bundle(written):
    return Bundle.open(written)


def test_every_head_has_classes_probabilities_and_a_decision(bundle, small, photos):
    (photo,) = photos(1)
    answer = bundle.predict(photo)
    assert (answer.tier, answer.runtime) == ("tier1", "litert")
    assert list(answer) == [head.name for head in small.taxonomy.heads]
    expected = small.reference(center_crop_resize(photo, small.size)[None])
    for name, found in answer.items():
        assert found.classes == small.taxonomy[name].class_names
        assert found.probs.shape == (len(found.classes),)
        np.testing.assert_allclose(found.probs, expected[name][0], atol=2e-5)
    kind, marks = answer["kind.of thing"], answer["marks"]
    assert kind.decided == kind.classes[kind.probs.argmax()] == kind.top(1)[0][0]
    assert kind.top(2)[0][1] == pytest.approx(kind.probs.max())
    assert marks.decided == [c for c, p in zip(marks.classes, marks.probs, strict=True) if p >= 0.5]
    with pytest.raises(KeyError):
        answer["grades"]


def test_it_is_the_decision_of_the_tier_that_answers(contents, model_file, photos, tmp_path):
    from cannabis_ml.inference.bundle_writer import write_bundle

    for threshold, wanted in ((0.0, ["line", "dot"]), (1.0, [])):
        rule = {"thresholds": {"marks": {"line": threshold, "dot": threshold}}}
        tiers = {"tier2": {"float": model_file("onnx", decision=rule)}}
        made = write_bundle(tmp_path / f"{threshold}", contents(tiers=tiers))
        assert made.predict(photos(1)[0])["marks"].decided == wanted


def test_probabilities_are_calibrated_where_the_decision_is(model_file, photos):
    """A threshold of the rule is compared with just the probability that is told."""
    rule = {
        "thresholds": {"marks": {"line": 0.0, "dot": 0.0}},
        "calibrators": {"marks": {"kind": "affine", "slopes": [1.0, 1.0], "shifts": [0.0, 2.0]}},
    }
    (photo,) = photos(1)
    plain = open_model(model_file("onnx")).predict(photo)["marks"]
    found = open_model(model_file("onnx", decision=rule)).predict(photo)["marks"]
    logits = np.log(plain.probs / (1 - plain.probs)) + np.array([0.0, 2.0])
    np.testing.assert_allclose(found.probs, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    assert found.probs.dtype == np.float32
    rule["thresholds"]["marks"]["dot"] = float(found.probs[1] + plain.probs[1]) / 2
    again = open_model(model_file("onnx", decision=rule)).predict(photo)["marks"]
    assert "dot" in again.decided


def test_a_photo_comes_in_any_form(bundle, photos, tmp_path):
    (pixels,) = photos(1)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "photo.png")
    data = (tmp_path / "photo.png").read_bytes()
    given = [pixels, image, data, tmp_path / "photo.png", str(tmp_path / "photo.png")]
    told = [bundle.predict(photo).as_json() for photo in given]
    assert told == [told[0]] * 5


def test_an_opened_file_is_brought_upright_as_the_file_is(bundle, draw):
    held = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(3, 60, 31).save(held, "JPEG", exif=exif)
    opened = Image.open(io.BytesIO(held.getvalue()))
    lying = bundle.predict(np.asarray(opened.convert("RGB"))).as_json()
    assert bundle.predict(opened).as_json() == bundle.predict(held.getvalue()).as_json()
    # The network of this bundle sees mean colours of the centre: turned, they stay.
    assert lying["heads"].keys() == bundle.predict(opened).as_json()["heads"].keys()


def test_transparency_lies_on_white_in_a_pillow_image_too(bundle):
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    white = np.full((20, 20, 3), 255, np.uint8)
    assert bundle.predict(clear).as_json() == bundle.predict(white).as_json()


@pytest.mark.parametrize("given", [None, 7, [[1, 2]], np.zeros((9, 9, 3)), np.zeros((9, 9), "u1")])
def test_what_is_not_a_photo_is_refused(bundle, given):
    with pytest.raises(PhotoError, match="path, the bytes of a file, a Pillow image or a NumPy"):
        bundle.predict(given)


def test_what_cannot_be_read_is_refused_with_the_reason(bundle, tmp_path):
    with pytest.raises(FileNotFoundError):
        bundle.predict(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableError, match="truncated"):
        bundle.predict(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableError):
        bundle.predict(tmp_path / "cut.png")


def test_a_model_is_opened_once(written, photos, monkeypatch):
    opened, real = [], Bundle.predictor
    monkeypatch.setattr(Bundle, "predictor", lambda *a: opened.append(a[1:3]) or real(*a))
    bundle = Bundle.open(written)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: str(bundle.predict(photos(1)[0])), range(12)))
    assert len(set(told)) == 1
    bundle.predict(photos(1)[0], "tier2")
    bundle.predict(photos(1)[0], quantized=False)
    assert opened == [("tier1", None), ("tier2", None), ("tier1", False)]


def test_tier_and_runtime_can_be_chosen(bundle, photos):
    (photo,) = photos(1)
    assert bundle.predict(photo, "tier2").tier == "tier2"
    assert bundle.predict(photo, runtime="litert").tier == "tier1"
    found = bundle.predict(photo, runtime="onnxruntime")
    assert (found.tier, found.runtime) == ("tier2", "onnxruntime")
    with pytest.raises(BundleError, match="no tier 'tier7'"):
        bundle.predict(photo, "tier7")


def test_a_lone_model_file_answers_too(model_file, photos):
    (photo,) = photos(1)
    assert open_model(model_file("onnx", tier="tier2")).predict(photo).tier == "tier2"
    assert open_model(model_file("onnx")).predict(photo).tier is None


def answer_of(probs, decided, kind="ordinal", parent_decided=None, **other):
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "kind", "classes": ["plant", "hash"]},
                {"name": "grade", "kind": kind, "classes": ["A", "B", "C"], **other},
            ]
        }
    )
    probs = np.array(probs, np.float32)
    return HeadAnswer(taxonomy["grade"], probs, probs, decided, parent_decided)


def test_an_ordinal_answer_has_its_cumulative_probabilities():
    found = answer_of([0.44, 0.25, 0.31], "B")
    assert found.in_words() == ["B or better 0.69"]
    assert found.sureness["or_better"] == pytest.approx(0.69)
    limited = answer_of(
        [0.5, 0.25, 0.25],
        "B",
        parent_decided="hash",
        parent="kind",
        allowed={"hash": ["B", "C"], "plant": ["A"]},
    )
    assert limited.sureness["or_better"] == pytest.approx(0.5)


def test_no_class_and_no_attribute_are_none_in_words():
    nothing = answer_of([0.4, 0.3, 0.3], None)
    assert (str(nothing), nothing.sureness) == ("none", {})
    assert nothing.in_words(1) == ["A 0.40"]
    assert str(answer_of([0.4, 0.3, 0.3], [], "multilabel")) == "none"
    assert str(answer_of([0.9, 0.8, 0.3], ["A", "B"], "multilabel")) == "A, B"


def test_as_json_is_plain_and_has_the_same_float32(bundle, photos):
    answer = bundle.predict(photos(1)[0])
    told = json.loads(json.dumps(answer.as_json()))
    assert (told["tier"], told["runtime"]) == ("tier1", "litert")
    for name, found in answer.items():
        values = np.array(list(told["heads"][name]["probs"].values()), np.float32)
        np.testing.assert_array_equal(values, found.probs)
        assert told["heads"][name]["answer"] == found.decided


def test_the_public_names_are_there_and_imported_late():
    import cannabis_ml.inference as room

    assert Answer is AnswerClass
    assert all(getattr(room, name).__name__ == name for name in room.__all__)
    assert set(room.__all__) <= set(dir(room))
    assert Predictor.__module__ == "cannabis_ml.inference.predictor"
    with pytest.raises(AttributeError, match="no attribute 'Bundles'"):
        _ = room.Bundles
    code = "import sys, cannabis_ml.inference; print('numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"False"
