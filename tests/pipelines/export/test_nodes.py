import datasets
import numpy as np
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from PIL import Image

from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.latency import LatencyReport
from cannabis_ml.evaluation.parity import LayerChange, ParityReport
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.export import choice, create_pipeline, formats_written, nodes
from cannabis_ml.pipelines.export.page import PageCandidate
from cannabis_ml.pipelines.export.params import ExportParams, TierExportParams

TAXONOMY = {"heads": [{"name": "kind", "classes": ["a", "b"]}]}
CARD = FileCard.model_validate({"taxonomy": TAXONOMY, "image_size": 8, "tier": "tier1"})
RIGHT = np.tile([0.9, 0.1], (10, 1))


class FakeFile(ModelFile):
    """Its data is its name and some bytes; it answers what the test says."""

    card = CARD

    def __post_init__(self):
        pass


def fake(quantization, size, format="onnx"):
    return FakeFile(bytes(size), format, quantization)


@pytest.fixture
def photo_set():
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    splits = ["test", "calibration", "train"] * 10
    rows = {"image": [image] * 30, "split": splits, "kind": ["a"] * 30}
    texts = {name: datasets.Value("string") for name in ("split", "kind")}
    features = datasets.Features({"image": datasets.Image(), **texts})
    return PhotoSet(datasets.Dataset.from_dict(rows, features=features))


def answer(wrong, photos=10, last=False):
    """So many photos, the first few wrong, or the last."""
    probs = np.tile(RIGHT[:1], (photos, 1))
    rows = slice(photos - wrong, None) if last else slice(wrong)
    probs[rows] = probs[rows, ::-1]
    return {"kind": probs, "embedding": np.zeros((photos, 2))}


@pytest.fixture
def copies(photo_set):
    """A hundred copies of training photos."""
    return PhotoSet(photo_set.arrow.select([2] * 100))


@pytest.fixture
def choose(monkeypatch, photo_set, copies):
    """Run `choose_quantized` where quantizations give files of a size and so many wrong answers."""

    def run(made, quantizations=None, photo_set=photo_set, calibration=10, pages=None, **export):
        pages = pages or {}

        def quantize(model, quantization, photos, share):
            assert photos.shape == (calibration, 8, 8, 3)
            if model.format == "tflite":
                if isinstance(pages[quantization], str):
                    raise ExportError(pages[quantization])
                return fake(quantization, 700, "tflite")
            if isinstance(made[quantization], str):
                raise ExportError(made[quantization])
            if isinstance(made[quantization], dict):  # by share
                made[quantization, "tried"] = made[quantization][share]
                return fake(quantization, made[quantization][share][0])
            return fake(quantization, made[quantization][0])

        monkeypatch.setattr(choice, "_quantize", quantize)

        def outputs(model, pixels, is_enough=None):
            count = len(list(pixels))
            if model.format == "tflite":
                return answer(pages[model.quantization], count, last=True)
            tried = made.get((model.quantization, "tried")) or made.get(model.quantization)
            wrong = 0 if model.quantization == "float" else tried[1]
            return answer(min(wrong, count), count)

        monkeypatch.setattr(nodes, "outputs_one_by_one", outputs)
        monkeypatch.setattr(choice, "outputs_one_by_one", outputs)
        monkeypatch.setattr(
            "cannabis_ml.evaluation.latency.measure",
            lambda models, photos, latency: LatencyReport.model_construct(
                quantized_to_float={"one_thread_invoke": made[models["quantized"].quantization][2]}
            ),
        )
        monkeypatch.setattr(
            "cannabis_ml.exporting.quantize.layer_errors",
            lambda model, quantization, photos: [(("stem", "next"), 0.5), (("top",), 0.1)],
        )
        float_model = fake("float", 1000)
        found = nodes.compare(
            nodes.Decision(CARD.taxonomy),
            answer(0),
            answer(0),
            {"kind": np.zeros(10, int)},
        )
        file = TierExportParams(
            format="onnx", quantizations=quantizations or list(made), page=list(pages)
        )
        page = [PageCandidate(fake("float", 2000, "tflite"), found)] if pages else []
        return nodes.choose_quantized(
            float_model, found, answer(0), photo_set, copies, ExportParams(**export), file, page
        )

    return run


def test_smallest_that_passes_ships(choose):
    made = {"static_int8": (200, 30), "weight_only_int8": (300, 0), "float16": (500, 0)}
    models, parity, table = choose(made, try_all=True)
    assert {name: model.quantization for name, model in models.items()} == {
        "float": "float",
        "quantized": "weight_only_int8",
    }
    assert parity.ships == "weight_only_int8"
    assert (parity.judged.photos, parity.judged.copies) == (10, 100)
    assert "'kind' decides as the float file in 72.7%" in parity.files["static_int8"].why
    assert parity.layers == []
    assert "weight_only_int8 ships" in parity.in_words
    assert table["file"].tolist() == ["float", *made]
    assert table["passes"].tolist() == [True, False, True, True]
    assert table["ships"].tolist() == [False, False, True, False]
    assert table["accuracy"].tolist() == [1, 0, 1, 1]  # of 10 test photos
    assert table["judged_same_decisions"].tolist()[1:] == [pytest.approx(80 / 110), 1, 1]


def test_of_equally_small_files_the_first_ships(choose):
    made = {"dynamic_int8": (305, 0), "weight_only_int8": (300, 0)}
    assert choose(made)[1].ships == "dynamic_int8"
    assert choose(made, same_size=0)[1].ships == "weight_only_int8"


def test_recipe_that_can_only_be_larger_is_not_tried(choose):
    made = {"weight_only_int8": (300, 0), "mixed": (310, 0), "float16": (500, 0)}
    _, parity, _ = choose(made)
    assert list(parity.files) == ["float", "weight_only_int8"]
    reason = "larger than weight_only_int8, which passes"
    assert parity.not_tried == {"mixed": reason, "float16": reason}
    made["weight_only_int8"] = (300, 3)
    _, parity, _ = choose(made)
    assert parity.ships == "mixed"


def test_float_ships_where_none_passes_and_fragile_layers_are_named(choose):
    models, parity, _ = choose({"weight_only_int8": (300, 8), "mixed": (310, 4)})
    assert list(models) == ["float"]
    assert parity.ships == "float"
    assert parity.layers == [
        LayerChange(layers="stem, next", quantization="mixed", change=0.5),
        LayerChange(layers="top", quantization="mixed", change=0.1),
    ]
    assert "no quantization passed. weight_only_int8 ('kind' decides as" in parity.in_words
    assert "Layers with the largest error: stem, next, top." in parity.in_words


def test_mixed_keeps_more_weights_until_the_file_passes(choose):
    made = {"mixed": {0.02: (280, 9), 0.05: (300, 5), 0.1: (340, 0), 0.2: (420, 0)}}
    models, parity, _ = choose(made, quantizations=["mixed"])
    assert (parity.ships, len(models["quantized"].data)) == ("mixed", 340)
    made = {"mixed": dict.fromkeys((0.02, 0.05, 0.1, 0.2), (300, 9))}
    assert choose(made, quantizations=["mixed"])[1].ships == "float"


def test_test_photos_choose_nothing(choose, monkeypatch):
    """The file that is wrong on every test photo, and right on all others, ships."""
    made = {"weight_only_int8": (300, 0)}
    agreed = nodes.compare

    def compare(decision, answers, expected, truth):
        wrong = {"kind": answers["kind"][:, ::-1], "embedding": answers["embedding"]}
        return agreed(decision, wrong, expected, truth)

    monkeypatch.setattr(nodes, "compare", compare)
    _, parity, _ = choose(made)
    assert parity.ships == "weight_only_int8"
    assert parity.files["weight_only_int8"].heads["kind"].accuracy == 0


def test_file_neither_smaller_by_half_nor_faster_does_not_ship(choose):
    _, parity, _ = choose({"float16": (501, 0, 1.1)})
    assert parity.ships == "float"
    why = "neither smaller by half nor faster (1.10 times the float file's time)"
    assert parity.files["float16"].why == why
    assert choose({"float16": (501, 0, 0.9)})[1].ships == "float16"
    assert choose({"float16": (500, 0, 1.1)})[1].ships == "float16"


def test_recipe_that_fails_leaves_the_others(choose):
    made = {"static_int8": "static_int8 cannot be applied", "weight_only_int8": (300, 0)}
    _, parity, _ = choose(made)
    assert parity.ships == "weight_only_int8"
    assert parity.not_made == {"static_int8": "static_int8 cannot be applied"}
    models, parity, _ = choose({"static_int8": "static_int8 cannot be applied"})
    assert list(models) == ["float"]
    assert "static_int8 cannot be applied" in parity.in_words


DECISIONS_ALONE = {"max_mean_difference": 1, "max_p99_difference": 1}
"""Limits of agreement under which only other decisions count."""


def test_web_pages_get_the_first_file_that_agrees(choose):
    """Whatever its size: 700 of 2,000 bytes are no less than the others."""
    made = {"static_int8": (200, 2)}
    pages = {"dynamic_int8": "it cannot", "weight_only_int8": 3, "float16": 1, "mixed": 0}
    models, parity, table = choose(made, pages=pages, agreement=DECISIONS_ALONE)
    assert {kind: (m.format, m.quantization) for kind, m in models.items()} == {
        "float": ("onnx", "float"),
        "quantized": ("onnx", "static_int8"),
        "page": ("tflite", "float16"),
    }
    assert (parity.ships, parity.page.ships) == ("static_int8", "float16")
    assert list(parity.page.files) == ["weight_only_int8", "float16"]
    assert parity.page.not_made == {"dynamic_int8": "it cannot"}
    assert "decides as the float file in 97.3%" in parity.page.files["weight_only_int8"].why
    assert parity.page.files["float16"].with_shipped["kind"].same_decisions == 107 / 110
    assert "Web pages get float16: 0.00 MB; every head decides as" in parity.in_words
    assert "in at least 97.3%" in parity.in_words  # 107 of 110
    assert table["file"].tolist()[2:] == ["page, weight_only_int8", "page, float16"]
    assert table["ships"].tolist() == [False, True, False, True]


def test_file_for_web_pages_must_agree_with_the_one_that_ships_too(choose):
    """Both agree with the float file, but err on other photos."""
    made, pages = {"static_int8": (200, 2)}, {"float16": 2}
    models, parity, _ = choose(made, pages=pages, agreement=DECISIONS_ALONE)
    assert list(models) == ["float", "quantized"]
    assert parity.page.ships is None
    why = "'kind' decides as the file that ships in 96.4%, 97.0% needed"
    assert why in parity.page.files["float16"].why
    assert f"Web pages get no file of this tier: float16 ({why})" in parity.in_words
    looser = DECISIONS_ALONE | {"min_same_as_shipped": 0.96}
    models, parity, _ = choose(made, pages=pages, agreement=looser)
    assert models["page"].quantization == "float16"


def test_file_for_web_pages_is_held_against_the_float_file_where_that_ships(choose):
    models, parity, _ = choose({}, quantizations=[], pages={"float16": 1})
    assert list(models) == ["float", "page"]
    assert parity.page.files["float16"].with_shipped["kind"].same_decisions == 109 / 110


def test_photos_to_calibrate_with_may_be_missing(choose, photo_set):
    rest = PhotoSet(photo_set.arrow.filter(lambda row: row["split"] != "calibration"))
    made = {"weight_only_int8": (300, 0)}
    parity = choose(made, photo_set=rest, calibration=0)[1]
    assert (parity.ships, parity.calibration_photos) == ("weight_only_int8", 0)
    made = {"weight_only_int8": (300, 90)}
    assert choose(made, photo_set=rest, calibration=0)[1].layers == []


def test_without_quantizations_the_float_file_ships(choose):
    models, parity, table = choose({}, quantizations=[])
    assert list(models) == ["float"]
    assert "no quantization was configured" in parity.in_words
    assert len(table) == 1


def test_float_file_that_differs_is_refused(monkeypatch, photo_set):
    monkeypatch.setattr(nodes, "outputs_one_by_one", lambda model, pixels: answer(1))
    with pytest.raises(ExportError, match="differs from the checkpoint on 10 test photos: 'kind'"):
        nodes.check_float(fake("float", 9), answer(0), photo_set, ExportParams())
    same = nodes.check_float(fake("float", 9), answer(1), photo_set, ExportParams())
    assert same[1].heads["kind"].accuracy == 0.9


def test_tier_that_ships_as_tflite_gets_no_file_of_its_own_for_web_pages():
    file = TierExportParams(format="tflite", quantizations=[], page=["float16"])
    assert nodes.export_for_pages(None, file, None, {}, None, ExportParams()) == []


def test_formats_are_known_before_anything_runs():
    def export(tier, kind):
        return MemoryDataset({"format": kind, "quantizations": []})

    kinds = {"tier1": "tflite", "tier2": "onnx", "tier3": "onnx"}
    catalog = DataCatalog({f"params:{t}.export": export(t, kind) for t, kind in kinds.items()})
    pipeline = create_pipeline()
    assert formats_written(pipeline, catalog) == {"tflite", "onnx"}
    assert formats_written(pipeline.only_nodes_with_namespaces(["tier2"]), catalog) == {"onnx"}
    both = {"format": "onnx", "quantizations": [], "page": ["float16"]}
    pages = DataCatalog({"params:tier2.export": MemoryDataset(both)})
    assert formats_written(pipeline.only_nodes_with_namespaces(["tier2"]), pages) == {
        "onnx",
        "tflite",
    }
    other = Pipeline([Node(nodes.draw_parity, "parity", "figure", name="draw")])
    assert formats_written(other, catalog) == set()


def test_legend_has_every_head_whatever_it_is_called(choose):
    _, parity, _ = choose({"weight_only_int8": (300, 0)})
    odd = ParityReport.model_validate_json(
        parity.model_dump_json().replace('"kind":{', '"_kind":{')
    )
    (legend,) = nodes.draw_parity(odd).legends
    heads = list(odd.files["float"].heads)
    assert any(head.startswith("_") for head in heads)
    assert [text.get_text() for text in legend.get_texts()] == [*heads, "allowed to the float file"]


def test_figure_shows_every_file(choose):
    made = {"static_int8": (200, 30), "weight_only_int8": (300, 0)}
    _, parity, _ = choose(made)
    figure = nodes.draw_parity(parity)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["float", "static_int8", "weight_only_int8, ships"]
    assert "weight_only_int8 ships" in figure.get_suptitle()


def test_smallest_file_wins_and_order_decides_between_equals():
    assert choice.smallest({"a": 100, "b": 80, "c": 90}, 0) == "b"
    assert choice.smallest({"a": 100, "b": 80, "c": 81}, 0.25) == "a"
    assert choice.smallest({"c": 81, "b": 80, "a": 101}, 0.25) == "c"
    assert choice.smallest({}, 0.1) is None
