import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cannabis_ml._io.parallel import available_workers
from cannabis_ml.errors import ExportError
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.onnx_predictor import ONNXPredictor
from cannabis_ml.inference.seal import KEY
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy

SIZE = 16
TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "type", "classes": ["a", "b", "c"]}]})


def mean_color_model():
    """Gives the mean of each channel as the three 'probabilities'."""
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["type"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("type", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def tier():
    import json

    model = mean_color_model()
    card = {"taxonomy": TAXONOMY.model_dump(), "image_size": SIZE}
    onnx.helper.set_model_props(model, {KEY: json.dumps(card)})
    return ONNXPredictor(ModelFile(model.SerializeToString(), "onnx"))


def photos(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (20 + i, 33, 3), np.uint8) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_photos_of_any_size_is_answered_in_order(tier, count):
    given = photos(count)
    expected = [center_crop_resize(photo, SIZE).mean((0, 1)) for photo in given]
    np.testing.assert_allclose(tier.probs(given, batch_size=2)["type"], expected, rtol=1e-5)


def test_no_photos_give_no_answers(tier):
    assert tier.probs([])["type"].shape == (0, 3)


def test_file_describes_itself(tier):
    assert tier.taxonomy == TAXONOMY
    assert tier.image_size == SIZE


def test_foreign_model_is_refused():
    with pytest.raises(ExportError, match="metadata"):
        ONNXPredictor(ModelFile(mean_color_model().SerializeToString(), "onnx"))


def test_idle_threads_sleep_and_are_no_more_than_the_cores_that_may_be_used(tier):
    options = tier._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == available_workers()
