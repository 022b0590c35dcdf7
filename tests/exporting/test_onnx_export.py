import json
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cannabis_ml.exporting.file_card import Provenance
from cannabis_ml.exporting.onnx_export import to_onnx, torch_outputs
from cannabis_ml.inference.model_file import INPUT_NAME
from cannabis_ml.inference.onnx_predictor import ONNXPredictor
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.inference.seal import KEY
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy

SIZE = 64
BACKBONE = "test_efficientnet"
# Another one per channel, so that swapped channels would show.
MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.3)

pytestmark = pytest.mark.slow


def make_checkpoint(taxonomy, **parts):
    """A random network whose answers differ from photo to photo."""
    torch.manual_seed(0)
    backbone = create_backbone(BACKBONE, SIZE)
    network = HierarchicalNet(
        backbone, taxonomy, Architecture(dropout=0.5, image_size=SIZE, mean=MEAN, std=STD, **parts)
    )
    with torch.no_grad():
        for name, parameter in network.heads.named_parameters():
            if name.endswith("weight"):
                parameter.normal_(std=10)
    card = network.card(
        BACKBONE,
        cannabis_ml="0.1.0",
        weights={"source": "Blütenstand"},
        best_epoch=3,
        validation_loss=0.25,
    )
    state = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return Checkpoint(state=state, card=card)


@pytest.fixture(scope="module")
def checkpoint(taxonomy):
    return make_checkpoint(taxonomy)


@pytest.fixture(scope="module")
def model(checkpoint):
    return to_onnx(checkpoint)


@pytest.fixture(scope="module")
def session(model):
    return onnxruntime.InferenceSession(model.data, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def photos():
    """Of many sizes and colours."""
    random = np.random.default_rng(0)
    made = []
    for i in range(7):
        coarse = random.integers(0, 256, (6, 5, 3), dtype=np.uint8)
        tiles = np.kron(coarse, np.ones((14 + i, 15 + 2 * i, 1), dtype=np.uint8))
        made.append(tiles)
    return made


def test_model_is_sound(model):
    onnx.checker.check_model(onnx.load_model_from_string(model.data), full_check=True)


def test_input_and_outputs_are_named_and_typed(session, taxonomy):
    (photos,) = session.get_inputs()
    assert photos.name == INPUT_NAME
    assert photos.type == "tensor(uint8)"
    assert photos.shape[1:] == [SIZE, SIZE, 3]
    outputs = session.get_outputs()
    heads = [head.name for head in taxonomy.heads]
    assert [output.name for output in outputs] == [*heads, "embedding"]
    assert {output.type for output in outputs} == {"tensor(float)"}
    assert [output.shape[1] for output in outputs[:-1]] == [len(h.classes) for h in taxonomy.heads]
    assert not isinstance(photos.shape[0], int)  # any batch size
    assert {output.shape[0] for output in outputs} == {photos.shape[0]}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_batch_size(session, taxonomy, photos, count):
    pixels = np.stack([center_crop_resize(photo, SIZE) for photo in photos])[:count]
    together = session.run(None, {INPUT_NAME: pixels})
    alone = [session.run(None, {INPUT_NAME: pixels[i : i + 1]}) for i in range(count)]
    for k, head in enumerate(taxonomy.heads):
        assert together[k].shape == (count, len(head.classes))
        assert together[k].dtype == np.float32
        singly = np.concatenate([answers[k] for answers in alone])
        np.testing.assert_allclose(together[k], singly, rtol=0, atol=1e-5)


def test_answers_as_pytorch_does(model, checkpoint, taxonomy, photos):
    ours, torchs = ONNXPredictor(model).outputs(photos), torch_outputs(checkpoint, photos)
    assert list(ours) == list(torchs) == [*(head.name for head in taxonomy.heads), EMBEDDING]
    for name, expected in torchs.items():
        spread = np.ptp(expected, axis=0).max()
        assert name == EMBEDDING or spread > 0.05, f"{name} says the same of every photo"
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_mirrored_network_answers_as_pytorch_does(taxonomy, photos, count):
    checkpoint = make_checkpoint(taxonomy, mirrored=True, attention=True)
    ours = ONNXPredictor(to_onnx(checkpoint)).outputs(photos[:count])
    expected = torch_outputs(checkpoint, photos[:count])
    plain = torch_outputs(make_checkpoint(taxonomy, attention=True), photos[:count])
    assert set(ours) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, rtol=0, atol=1e-5)
    assert not np.allclose(expected[EMBEDDING], plain[EMBEDDING], atol=1e-3)


def test_outputs_are_probabilities(model, taxonomy, photos):
    for head in taxonomy.heads:
        probs = ONNXPredictor(model).probs(photos)[head.name]
        assert (probs >= 0).all()
        assert (probs <= 1).all()
        if head.kind != "multilabel":
            np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_photos_get_numbers(model, checkpoint, level):
    photo = np.full((SIZE, SIZE, 3), level, np.uint8)
    ours, torchs = ONNXPredictor(model).outputs([photo]), torch_outputs(checkpoint, [photo])
    for name, expected in torchs.items():
        assert np.isfinite(ours[name]).all()
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-5)


def test_metadata_is_the_card(checkpoint, taxonomy):
    model = to_onnx(checkpoint, Provenance("tier2", "abc"))
    properties = {p.key: p.value for p in onnx.load_model_from_string(model.data).metadata_props}
    card = json.loads(properties[KEY])
    says = checkpoint.card.model_dump(mode="json")
    before = {name: value for name, value in says.items() if value is not None}
    assert {key: card[key] for key in before} == before
    assert card["input"] == "uint8 RGB (N, 64, 64, 3)"
    head = taxonomy.heads[0]
    assert card["outputs"][head.name]["shape"] == [len(head.classes)]
    assert "probabilities" in card["outputs"][head.name]["meaning"]
    assert set(card["absent_outputs"]) == {"{head}.aleatoric", "{head}.epistemic", "attention"}
    assert card["taxonomy_sha256"] == taxonomy.sha256
    about = {"tier": "tier2", "format": "onnx", "quantization": "float", "run": "abc"}
    assert {key: card[key] for key in about} == about
    assert "Blütenstand" in properties[KEY]


def test_run_that_trained_goes_before_the_run_that_exports(checkpoint):
    trained = Checkpoint(
        state=checkpoint.state, card=checkpoint.card.model_copy(update={"run": "trained"})
    )
    assert to_onnx(trained, Provenance(run="exports")).card.run == "trained"


def test_card_has_classes_and_size(model, taxonomy):
    tier = ONNXPredictor(model)
    assert tier.taxonomy == taxonomy
    assert tier.image_size == SIZE


def test_nodes_have_names_of_modules_and_no_path_of_this_machine(model):
    names = [node.name for node in onnx.load_model_from_string(model.data).graph.node]
    assert len(set(names)) == len(names)
    assert "backbone.blocks.0.0.conv" in names
    assert b".py" not in model.data
    assert __file__.partition("/tests/")[0].encode() not in model.data


def test_smallest_heads_and_odd_names():
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "leaf.spots", "classes": ["no", "yes"]},
                {"name": "Güte 1–2", "kind": "ordinal", "classes": ["good", "poor"]},
                {"name": "look/seen", "kind": "multilabel", "classes": ["mould"]},
            ]
        }
    )
    checkpoint = make_checkpoint(taxonomy)
    photo = np.full((SIZE, SIZE + 9, 3), 90, np.uint8)
    tier = ONNXPredictor(to_onnx(checkpoint))
    ours, answers = tier.probs([photo]), tier.outputs([photo])
    torchs = torch_outputs(checkpoint, [photo])
    assert {name: probs.shape for name, probs in ours.items()} == {
        "leaf.spots": (1, 2),
        "Güte 1–2": (1, 2),
        "look/seen": (1, 1),
    }
    for name, expected in torchs.items():
        np.testing.assert_allclose(answers[name], expected, rtol=0, atol=1e-5)


def test_head_may_be_called_as_a_value_inside_the_graph():
    heads = [{"name": "linear", "classes": ["plant", "hash"]}]
    checkpoint = make_checkpoint(Taxonomy.model_validate({"heads": heads}))
    photo = np.full((SIZE, SIZE, 3), 90, np.uint8)
    ours = ONNXPredictor(to_onnx(checkpoint)).probs([photo])
    expected = torch_outputs(checkpoint, [photo])["linear"]
    np.testing.assert_allclose(ours["linear"], expected, rtol=0, atol=1e-5)


def test_export_prints_nothing_and_leaves_loggers_as_they_were(checkpoint, capfd, caplog):
    before = {name: array.copy() for name, array in checkpoint.state.items()}
    card = checkpoint.card.model_dump_json()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        to_onnx(checkpoint)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(level)
    assert capfd.readouterr().out == ""
    assert [r.message for r in caplog.records if r.levelno >= logging.INFO] == []
    assert checkpoint.card.model_dump_json() == card
    for name, array in before.items():
        np.testing.assert_array_equal(checkpoint.state[name], array)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_pytorch_outputs_do_not_depend_on_the_batch(checkpoint, photos, batch_size):
    expected = torch_outputs(checkpoint, photos)
    answers = torch_outputs(checkpoint, photos, batch_size=batch_size)
    for name, probs in answers.items():
        assert probs.shape[0] == len(photos)
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, expected[name], rtol=0, atol=1e-5)
