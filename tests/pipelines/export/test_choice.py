"""A file that can no longer pass is not asked about the other photos."""

import datasets
import numpy as np
import pytest

from cannabis_ml.evaluation.judged_photos import JudgedPhotos
from cannabis_ml.evaluation.parity import BLOCK
from cannabis_ml.inference.decision import Decision
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.export.choice import Judge
from cannabis_ml.pipelines.export.params import ExportParams

PHOTOS, COPIES = 90, 70


@pytest.fixture(scope="module")
def files(onnx_contents):
    """The same file twice, and one of which every decision is another: `files[name]`."""
    models = {"same": onnx_contents(("tier1",)).tiers["tier1"]["float"]}
    weights = {name: -values for name, values in weights_of(onnx_contents).items()}
    models["other"] = onnx_contents(("tier1",), weights=weights).tiers["tier1"]["float"]
    return models


def weights_of(onnx_contents):
    import onnx
    from onnx import numpy_helper

    model = onnx_contents(("tier1",)).tiers["tier1"]["float"]
    graph = onnx.load_model_from_string(model.data).graph
    held = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    return {h.name: held[f"{h.name} weights"] for h in model.card.taxonomy.heads}


def photo_set(taxonomy, count, seed):
    random = np.random.default_rng(seed)
    kind, grade, marks = taxonomy.heads
    rows = {
        "image": list(
            random.integers(0, 256, (count, 1, 1, 3), np.uint8).repeat(20, 1).repeat(20, 2)
        ),
        "split": ["train"] * count,
        kind.name: [kind.class_names[0]] * count,
        grade.name: [grade.class_names[0]] * count,
        **{f"{marks.name}.{name}": [1] * count for name in marks.class_names},
    }
    text, number = datasets.Value("string"), datasets.Value("int8")
    kinds = {name: number if name.startswith(f"{marks.name}.") else text for name in rows}
    features = datasets.Features(kinds | {"image": datasets.Image()})
    return PhotoSet(datasets.Dataset.from_dict(rows, features=features))


@pytest.fixture
def judge(files):
    card = files["same"].card
    photos = JudgedPhotos(
        photo_set(card.taxonomy, PHOTOS, 1),
        np.arange(PHOTOS),
        photo_set(card.taxonomy, COPIES, 2),
        np.arange(COPIES),
    )

    def judge(name, **export):
        decision = Decision(card.taxonomy, card.decision)
        return Judge(files["same"], decision, photos, ExportParams(**export))(files[name])

    return judge


def test_a_file_that_agrees_is_compared_on_all_photos(judge):
    found = judge("same").heads
    assert found["kind.of thing"].decisions == found["grade"].decisions == PHOTOS + COPIES
    assert found["marks"].decisions == 2 * (PHOTOS + COPIES)
    assert {head.same_decisions for head in found.values()} == {1.0}


def test_the_comparison_ends_when_too_many_decisions_differ(judge):
    heads, faults = judge("other")
    assert heads["kind.of thing"].decisions == BLOCK < PHOTOS + COPIES
    assert faults[-1] == f"it could no longer pass after {BLOCK} of {PHOTOS + COPIES} photos"
    assert "'kind.of thing' decides as the float file in" in faults[0]


def test_whatever_may_differ_is_compared_on_all(judge):
    limits = {"min_same_decisions": 0, "max_mean_difference": 1, "max_p99_difference": 1}
    heads, _ = judge("other", agreement=limits)
    assert heads["kind.of thing"].decisions == PHOTOS + COPIES


def test_where_all_is_to_be_tried_the_comparison_goes_on(judge):
    heads, faults = judge("other", try_all=True)
    assert heads["kind.of thing"].decisions == PHOTOS + COPIES
    assert not any("no longer" in fault for fault in faults)


def test_photos_too_many_to_keep_are_read_again(judge, monkeypatch):
    kept = judge("other", try_all=True)
    monkeypatch.setattr("cannabis_ml.pipelines.export.choice.MOST_KEPT", 0)
    assert judge("other", try_all=True) == kept
