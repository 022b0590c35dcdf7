import numpy as np
import pytest
import torch

from cannabis_ml.errors import ExportError
from cannabis_ml.exporting import quantize as module
from cannabis_ml.exporting import quantize_onnx, quantize_tflite
from cannabis_ml.exporting.file_card import Provenance
from cannabis_ml.exporting.model_metadata import with_card
from cannabis_ml.exporting.onnx_export import to_onnx
from cannabis_ml.exporting.quantize import (
    QUANTIZATIONS,
    fragile_layers,
    grouped,
    layer_errors,
    layers_of,
    quantize,
)
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.outputs import relative_difference
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.layers import Layer
from cannabis_ml.networks.network import Architecture, HierarchicalNet

FORMATS = ("onnx", "tflite")
BLOCK = "blocks.3.0"
FRAGILE = f"backbone.{BLOCK}.conv_pwl"

HEADS = ("colour", "grade", "marks")

pytestmark = pytest.mark.slow


@pytest.fixture
def float_file(quantized_files):
    """`float_file("onnx")`; with `spoil` a block that 8 bits cannot hold."""
    return lambda kind, spoil=None: quantized_files.file(kind, spoil=spoil)


@pytest.fixture
def quantized(quantized_files):
    """`quantized("tflite", "static_int8")`."""
    return quantized_files.file


def draw(count, seed=1):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def ask(model, photos):
    tier = open_model(model, threads=1)
    each = [tier.invoke(photo[None]) for photo in photos]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def heads_apart(a, b):
    return max(np.abs(a[name] - b[name]).max() for name in HEADS)


def test_every_quantization_exists_for_both_formats():
    for each in (quantize_onnx, quantize_tflite):
        assert {*each.QUANTIZATIONS, "mixed"} == set(QUANTIZATIONS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_gives_a_smaller_file_that_answers_alike(
    float_file, quantized, kind, quantization
):
    before, after = float_file(kind), quantized(kind, quantization)
    assert (after.format, after.quantization) == (kind, quantization)
    assert len(after.data) < len(before.data)
    photos = draw(6, seed=2)
    given, expected = ask(after, photos), ask(before, photos)
    assert {n: (v.shape, v.dtype) for n, v in given.items()} == {
        n: (v.shape, v.dtype) for n, v in expected.items()
    }
    assert max(np.ptp(v, axis=0).max() for v in expected.values()) > 0.1, "all photos look alike"
    assert 0 < heads_apart(given, expected) < 0.1


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantization", ["weight_only_int8", "static_int8"])
def test_mirrored_network_is_quantized_as_any_other(quantized, kind, quantization):
    whole = quantized(kind, mirrored=True)
    small = quantized(kind, quantization, mirrored=True)
    assert len(small.data) < len(whole.data)
    photos = draw(5, seed=2)
    given = ask(small, photos)
    assert 0 < heads_apart(ask(whole, photos), given) < 0.1
    flipped = np.ascontiguousarray(photos[:, :, ::-1])
    assert heads_apart(ask(small, flipped), given) < 1e-4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_outputs_besides_the_probabilities_stay_float(float_file, quantized, kind, quantization):
    """Also where what comes before them is int8; each to within a hundredth or so."""
    before, after = float_file(kind), quantized(kind, quantization)
    photos = draw(6, seed=2)
    given, expected = ask(after, photos), ask(before, photos)
    uncertainties = {f"{name}.{p}" for name in HEADS for p in ("aleatoric", "epistemic")}
    assert {"embedding", "attention"} | uncertainties < set(given)
    for name, values in expected.items():
        assert given[name].dtype == np.float32
        assert np.ptp(values, axis=0).max() > 0.001, f"{name} says the same of every photo"
        assert relative_difference(values, given[name]) < 0.1, name
    # Of 8 bits there would be 256 values at most, over all photos and features.
    assert len(np.unique(given["embedding"])) > 256


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_card_travels_on_and_names_the_quantization(float_file, quantized, kind, quantization):
    before, after = float_file(kind).card, quantized(kind, quantization).card
    assert after == before.model_copy(update={"quantization": quantization})
    quantized(kind, quantization).check()


def multiplied_weights(data):
    """The 8-bit weights that an ONNX file multiplies as whole numbers."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    stored = {i.name: i for i in graph.initializer if i.data_type == onnx.TensorProto.INT8}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "MatMulInteger"):
            # The weights; what stands last is their zero point.
            name = node.input[0 if node.op_type == "DequantizeLinear" else 1]
            if name in stored:
                yield name, numpy_helper.to_array(stored[name])


@pytest.fixture(scope="module")
def transformer(quantized_files):
    torch.manual_seed(0)
    backbone = create_backbone("test_vit", 160)
    network = HierarchicalNet(backbone, quantized_files.taxonomy, Architecture(image_size=160))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return to_onnx(Checkpoint(state=state, card=network.card("test_vit")), Provenance("tier2"))


@pytest.mark.parametrize(
    ("network", "quantization"),
    [("efficientnet", "static_int8"), ("vit", "static_int8"), ("vit", "dynamic_int8")],
)
def test_no_sum_of_two_products_leaves_16_bits(quantized, transformer, network, quantization):
    """As `vpmaddubsw` adds them on x86 without VNNI, with the largest activation there is."""
    if network == "vit":
        made = quantize(transformer, quantization, draw(4).repeat(3, 1).repeat(3, 2)[:, :160, :160])
    else:
        made = quantized("onnx", quantization)
    found = dict(multiplied_weights(made.data))
    assert found
    for name, weights in found.items():
        largest = 2 * 255 * int(np.abs(weights.astype(int)).max())
        assert largest <= np.iinfo(np.int16).max, name
        assert weights.max() > 32 or weights.min() < -32, f"{name} wastes its range"


@pytest.mark.parametrize("quantization", ["static_int8", "dynamic_int8"])
def test_both_ways_to_multiply_give_the_same_answers(quantized, quantization):
    """Where there is no VNNI the second way is another one; where there is, nothing can differ."""
    import onnxruntime

    photos, given = draw(6, seed=2), []
    for precise in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", precise)
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(quantized("onnx", quantization).data, options)
        (name,) = (i.name for i in session.get_inputs())
        given.append([session.run(["colour"], {name: photo[None]})[0] for photo in photos])
    np.testing.assert_allclose(*given, atol=1e-5)


def test_files_from_elsewhere_are_multiplied_exactly(quantized):
    options = open_model(quantized("onnx", "static_int8"))._session.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_weights_lie_inside_the_flatbuffer(quantized, quantization):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(quantized("tflite", quantization).data, 0)
    assert all(not buffer.offset for buffer in model.buffers)


@pytest.mark.parametrize("quantization", ["weight_only_int8", "float16"])
def test_two_quantizers_round_weights_alike(quantized, quantization):
    photos = draw(6, seed=2)
    onnx, tflite = (ask(quantized(kind, quantization), photos) for kind in FORMATS)
    assert heads_apart(onnx, tflite) < 1e-4


@pytest.mark.parametrize("kind", FORMATS)
def test_order_of_calibration_photos_does_not_matter(float_file, kind):
    """A moving average, as the TFLite quantizer's own, would forget the first or the last."""
    calm, wild = draw(6) // 8 + 100, draw(6)
    one = quantize(float_file(kind), "static_int8", np.concatenate([calm, wild]))
    other = quantize(float_file(kind), "static_int8", np.concatenate([wild, calm]))
    assert one.data == other.data
    narrow = quantize(float_file(kind), "static_int8", calm)
    assert heads_apart(ask(narrow, wild), ask(one, wild)) > 1e-3


@pytest.mark.parametrize("kind", FORMATS)
def test_layers_are_named_by_their_place_in_the_network(float_file, kind):
    layers = layers_of(float_file(kind, BLOCK))
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert FRAGILE in names
    assert all(layer.size >= 4096 for layer in layers)


@pytest.mark.parametrize("kind", FORMATS)
def test_layer_that_cannot_bear_it_is_found_and_kept(float_file, kind):
    model = float_file(kind, BLOCK)
    errors = layer_errors(model, "weight_only_int8", draw(4))
    changes = [change for _, change in errors]
    assert errors[0][0] == (FRAGILE,)
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 3 * changes[1]
    sizes = {layer.name: layer.size for layer in layers_of(model)}
    kept = fragile_layers(model, draw(4), share=1.01 * sizes[FRAGILE] / sum(sizes.values()))
    assert kept == [FRAGILE]


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_rounded_alone_answer_as_from_the_quantizer(float_file, kind):
    model, photos = float_file(kind), draw(4)
    layers = [layer.name for layer in layers_of(model)]
    groups = [(layers[0],), tuple(layers[1:3]), (layers[-1],)]
    module = quantize_tflite if kind == "tflite" else quantize_onnx
    of_quantizer = getattr(module, f"quantize_{kind}")
    before = ask(model, photos)
    for group, data in module.with_rounded_weights(model.data, groups):
        rounded = ask(with_card(ModelFile(data, kind), model.card), photos)
        others = [name for name in layers if name not in group]
        own = of_quantizer(model.data, "weight_only_int8", photos, others)
        expected = ask(with_card(ModelFile(own, kind), model.card), photos)
        assert heads_apart(rounded, expected) < 1e-6
        assert heads_apart(rounded, before) > 1e-5


@pytest.mark.parametrize("kind", FORMATS)
def test_mixed_keeps_no_more_than_its_share(float_file, kind):
    model = float_file(kind)
    sizes = {layer.name: layer.size for layer in layers_of(model)}
    kept = fragile_layers(model, draw(4), share=0.1)
    assert kept
    assert sum(sizes[name] for name in kept) <= 0.1 * sum(sizes.values())


def test_layers_of_a_module_go_together_where_there_are_many():
    layers = [Layer(f"blocks.{i}.{part}", 4096) for i in range(4) for part in ("a", "b")]
    assert grouped(layers, most=8) == [(layer.name,) for layer in layers]
    assert grouped(layers, most=5) == [(f"blocks.{i}.a", f"blocks.{i}.b") for i in range(4)]
    assert grouped([], most=5) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_what_a_quantizer_cannot_do_is_reported(float_file, kind, monkeypatch):
    def fail(*arguments):
        raise KeyError("no such\noperator")

    monkeypatch.setattr(f"cannabis_ml.exporting.quantize_{kind}.quantize_{kind}", fail)
    with pytest.raises(ExportError, match=f"dynamic_int8 .* this {kind} file: 'no such"):
        module.quantize(float_file(kind), "dynamic_int8", draw(1))


def test_without_calibration_photos_only_some_quantizations_work(float_file):
    assert quantize(float_file("onnx"), "weight_only_int8", draw(0))
    for quantization in ("static_int8", "mixed"):
        with pytest.raises(
            ExportError, match=f"{quantization} needs photos in the calibration split"
        ):
            quantize(float_file("onnx"), quantization, draw(0))


def test_unknown_quantization_is_refused():
    with pytest.raises(ExportError, match="'int7' is not a quantization: choose from weight_only"):
        quantize(ModelFile(b"", "onnx"), "int7", draw(1))


@pytest.mark.parametrize("kind", FORMATS)
def test_quantizing_prints_nothing(float_file, kind, capfd):
    quantize(float_file(kind), "static_int8", draw(2))
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
