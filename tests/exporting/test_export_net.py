import numpy as np
import pytest
import torch

from cannabis_ml.exporting.onnx_export import to_onnx, torch_outputs
from cannabis_ml.inference.onnx_predictor import ONNXPredictor
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, ExportNet, HierarchicalNet
from cannabis_ml.taxonomy import Taxonomy

SIZE = 64


@pytest.fixture
def family():
    """Children of every kind, and a parent class that allows none."""
    top = {"name": "top", "classes": ["x", "y", "z"]}
    child = {"name": "child", "classes": ["p", "q", "r"], "parent": "top"}
    child["allowed"] = {"x": ["p", "q"], "y": ["r"]}
    grade = {"name": "grade", "kind": "ordinal", "classes": ["1", "2", "3"], "parent": "top"}
    grade["allowed"] = {"x": ["1", "2"], "y": ["2", "3"], "z": ["1", "3"]}
    look = {"name": "look", "kind": "multilabel", "classes": ["u", "v"], "parent": "top"}
    look["allowed"] = {"x": ["u"], "z": ["u", "v"]}
    free = {"name": "free", "kind": "ordinal", "classes": ["a", "b", "c", "d"]}
    return Taxonomy.model_validate({"heads": [child, top, grade, look, free]})


def make_checkpoint(taxonomy, backbone, ensemble, hidden):
    torch.manual_seed(0)
    network = HierarchicalNet(
        create_backbone(backbone, SIZE),
        taxonomy,
        Architecture(image_size=SIZE, ensemble=ensemble, attention=True, hidden=hidden),
    )
    with torch.no_grad():
        for part in (network.attention, network.heads):
            for parameter in part.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Checkpoint(state=state, card=network.card(backbone))


@pytest.mark.parametrize(
    ("backbone", "ensemble", "hidden"),
    [
        ("test_efficientnet", 1, 0),
        pytest.param("test_efficientnet", 3, 8, marks=pytest.mark.slow),
        pytest.param("test_vit", 2, 0, marks=pytest.mark.slow),
        pytest.param(["test_resnet", "test_vit"], 2, 0, marks=pytest.mark.slow),
    ],
)
def test_exported_model_answers_like_the_checkpoint(family, backbone, ensemble, hidden):
    import onnxruntime

    checkpoint = make_checkpoint(family, backbone, ensemble, hidden)
    model = to_onnx(checkpoint)
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)

    ours, theirs = torch_outputs(checkpoint, photos), ONNXPredictor(model, threads=1).probs(photos)
    assert list(theirs) == [head.name for head in family.heads]
    for head in family.heads:
        assert theirs[head.name].shape == (5, len(head.classes))
        np.testing.assert_allclose(theirs[head.name], ours[head.name], atol=1e-4)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.data, options)
    exported = ExportNet(restore(checkpoint)).eval()
    assert [output.name for output in session.get_outputs()] == list(ours) == exported.outputs
    for n in (1, 5):
        found = session.run(None, {"photos": photos[:n]})
        with torch.no_grad():
            expected = exported(torch.from_numpy(photos[:n]))
        for name, values in zip(exported.outputs, found, strict=True):
            assert values.dtype == np.float32
            assert values.shape == tuple(expected[name].shape)
            np.testing.assert_allclose(values, expected[name], atol=1e-3, err_msg=name)
    unsure = [name for name in exported.outputs if name.endswith((".aleatoric", ".epistemic"))]
    assert len(unsure) == (2 * len(family.heads) if ensemble > 1 else 0)
    assert ("attention" in exported.outputs) == (backbone != "test_vit")
    card = model.card
    told = {name: about.shape for name, about in card.outputs.items()}
    assert told == {name: tuple(values.shape[1:]) for name, values in ours.items()}
    missing = {"attention"} if backbone == "test_vit" else set()
    if ensemble == 1:
        missing |= {"{head}.aleatoric", "{head}.epistemic"}
    assert set(card.absent_outputs) == missing
    limited = [name for name in exported.outputs if name.endswith(".given")]
    assert limited == ["child.given", "grade.given"]
    given = dict(zip(exported.outputs, found, strict=True))
    np.testing.assert_allclose(given["grade.given"][:, 2, 1], 0, atol=1e-6)  # z allows 1 and 3
