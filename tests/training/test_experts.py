"""Experts: a network of its own per class of a parent head, in one checkpoint and model file."""

from dataclasses import replace

import cv2
import datasets
import numpy as np
import pytest
import torch

from cannabis_ml.errors import CheckpointError, TrainingError
from cannabis_ml.evaluation.predictions import outputs_of
from cannabis_ml.exporting.onnx_export import to_onnx, torch_outputs
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.networks.building import grow_network, restore, with_experts
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.experts import expert_taxonomy
from cannabis_ml.networks.grad_cam import grad_cam
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.experts import add_experts, of_parent_class
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.train import fit
from cannabis_ml.training.training_data import TrainingData

SIZE = 32
CROPS = ["tomato", "apple", "corn"]
TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "crop", "classes": CROPS},
            {
                "name": "condition",
                "classes": ["healthy", "blight", "scab"],
                "parent": "crop",
                "allowed": {
                    "tomato": ["healthy", "blight"],
                    "apple": ["healthy", "scab"],
                    "corn": ["healthy"],
                },
            },
        ]
    }
)
"""`healthy` is a class of all three crops; corn allows nothing else."""

SPLITS = ("train", "train", "validation", "test")


def draw(number):
    """A crop is a color; a bar on it is blight of a tomato, and a healthy apple."""
    crop, bar, split = CROPS[number % 3], (number // 3) % 2, SPLITS[(number // 6) % 4]
    pixels = np.random.default_rng(number).integers(0, 40, (SIZE, SIZE, 3), dtype=np.uint8)
    pixels[..., number % 3] += 180
    if bar:
        pixels[12:20] = 255
    sick = {"tomato": ("healthy", "blight")[bar], "apple": ("scab", "healthy")[bar]}
    return {
        "photo_id": f"{number:064x}",
        "image": {"bytes": cv2.imencode(".png", pixels[..., ::-1])[1].tobytes(), "path": None},
        "split": split,
        "group": str(number),
        "crop": crop,
        "condition": sick.get(crop, "healthy"),
    }


@pytest.fixture(scope="module")
def photos():
    rows = [draw(number) for number in range(96)]
    names = ("photo_id", "split", "group", "crop", "condition")
    features = {"image": datasets.Image(), **dict.fromkeys(names, datasets.Value("string"))}
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


@pytest.fixture(scope="module")
def plan(backbone_file):
    model = ModelParams(
        backbone="test_efficientnet",
        image_size=SIZE,
        weights=[{"file": str(backbone_file)}],
        ensemble=2,
        experts={"head": "condition", "fewest_photos": 10},
    )
    phase = Phase(name="all", epochs=6, learning_rate=3e-3)
    training = TrainingParams(batch_size=16, ema_decay=0.5, augment=False, accelerator="cpu")
    return TrainingPlan(model, training, Schedule(phases=[phase]))


@pytest.fixture(scope="module")
def data(photos):
    return TrainingData.of_split(photos, TAXONOMY)


@pytest.fixture(scope="module")
def general(data, plan):
    return fit(data, plan)[0]


@pytest.fixture(scope="module")
def trained(general, data, plan):
    return add_experts(general, data, plan)


def test_an_expert_learns_from_the_photos_of_its_class_alone(data):
    own = of_parent_class(data, TAXONOMY["condition"], "apple")
    table = own.photos.labels().iloc[own.rows]
    assert set(table["crop"]) == {"apple"}
    assert set(table["split"]) == {"train"}
    assert len(own) == 16
    assert own.taxonomy["condition"].class_names == ["healthy", "scab"]
    assert own.taxonomy["condition"].parent is None


def test_every_class_that_allows_several_gets_one(trained):
    checkpoint, report = trained
    assert checkpoint.card.experts == {"condition": ["tomato", "apple"]}
    assert {name: (e.photos, e.classes) for name, e in report.experts.items()} == {
        "tomato": (16, 2),
        "apple": (16, 2),
    }
    assert report.left_out == {"corn": "it allows a single class"}


def test_answers_are_weighed_by_the_parents(trained, photos):
    """P(child) = sum over p of P(p) P(child | p), P(child | p) that of the expert by itself."""
    checkpoint, _ = trained
    network = restore(checkpoint)
    pixels = torch.from_numpy(np.stack([photos.pixels(row) for row in range(6)]))
    pixels = pixels.permute(0, 3, 1, 2).contiguous()
    outputs = torch_outputs(checkpoint, [photos.pixels(row) for row in range(6)])
    with torch.inference_mode():
        tomato, apple = (
            expert(pixels)["condition"].softmax(dim=2).mean(dim=1).numpy()
            for expert in network.experts.networks
        )
    given = outputs["condition.given"]
    np.testing.assert_allclose(given[:, 0], np.insert(tomato, 2, 0, axis=1), atol=1e-6)
    np.testing.assert_allclose(given[:, 1], np.insert(apple, 1, 0, axis=1), atol=1e-6)
    np.testing.assert_allclose(given[:, 2], np.tile([1, 0, 0], (6, 1)), atol=1e-6)
    expected = (outputs["crop"][:, :, None] * given).sum(axis=1)
    np.testing.assert_allclose(outputs["condition"], expected, atol=1e-6)


def test_the_network_for_all_answers_the_rest_as_before(trained, general, photos):
    before = torch_outputs(general, [photos.pixels(0)])
    after = torch_outputs(trained[0], [photos.pixels(0)])
    for name in ("crop", "embedding", "crop.epistemic"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_a_model_file_holds_all_of_them(trained, photos):
    checkpoint, _ = trained
    file = to_onnx(checkpoint)
    assert file.card.experts == checkpoint.card.experts
    pixels = np.stack([photos.pixels(row) for row in range(3)])
    given = open_model(file, threads=1).invoke(pixels)
    for name, values in torch_outputs(checkpoint, list(pixels)).items():
        np.testing.assert_allclose(given[name], values, atol=2e-5, err_msg=name)


def test_predictions_decide_as_the_model_file_does(trained, photos):
    checkpoint, _ = trained
    table = predict(checkpoint, photos, ["test"])
    shown = [photos.pixels(row) for row in photos.rows_of("test")]
    expected = torch_outputs(checkpoint, shown)
    outputs = outputs_of(table, TAXONOMY)
    for name in ("crop", "condition", "condition.given"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5, err_msg=name)
    assert len(table["embedding"][0]) == restore(checkpoint).num_features


def test_the_report_compares_both_on_the_same_test_photos(trained, general, photos):
    checkpoint, report = trained
    truth = photos.labels().iloc[photos.rows_of("test")]
    shown = [photos.pixels(row) for row in photos.rows_of("test")]
    accuracy = report.heads["condition"]["accuracy"]
    assert accuracy.photos == 24
    assert accuracy.gain == pytest.approx(accuracy.experts - accuracy.single)
    assert report.heads["crop"]["accuracy"].gain == 0
    assert {n: s["accuracy"].photos for n, s in report.by_class.items()} == dict.fromkeys(CROPS, 8)
    apple = (truth["crop"] == "apple").to_numpy()
    for one, value in ((general, "single"), (checkpoint, "experts")):
        outputs = torch_outputs(one, shown)
        pairs = outputs["crop"][:, :, None] * outputs["condition.given"]
        best = pairs.reshape(len(pairs), -1).argmax(axis=1) % 3
        right = np.array(["healthy", "blight", "scab"])[best] == truth["condition"].to_numpy()
        assert getattr(accuracy, value) == pytest.approx(right.mean())
        assert getattr(report.by_class["apple"]["accuracy"], value) == pytest.approx(
            right[apple].mean()
        )


def test_a_checkpoint_comes_back_with_its_experts(trained, photos, tmp_path):
    checkpoint, _ = trained
    checkpoint.write(tmp_path / "checkpoint.safetensors")
    again = Checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert again.card == checkpoint.card
    for name, values in torch_outputs(checkpoint, [photos.pixels(1)]).items():
        np.testing.assert_array_equal(torch_outputs(again, [photos.pixels(1)])[name], values)


def test_interrupted_training_goes_on_with_the_expert_that_it_was_at(
    general, data, plan, trained, tmp_path, monkeypatch
):
    from cannabis_ml.training import experts

    whole, calls = fit, []

    def once(own, *arguments):
        calls.append(own.photos.labels("crop")["crop"].iloc[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(own, *arguments)

    monkeypatch.setattr(experts, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        add_experts(general, data, plan, tmp_path)
    states = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("state.ckpt")}
    assert len(states) == 1
    again, _ = add_experts(general, data, plan, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in states} == states
    for name, array in trained[0].state.items():
        np.testing.assert_array_equal(again.state[name], array, err_msg=name)


def test_training_anew_starts_from_the_network_for_all(trained, data, plan):
    short = Schedule(phases=[Phase(name="heads", epochs=1, learning_rate=1e-9, train="heads")])
    again, _ = fit(data, replace(plan, schedule=short, start=trained[0]))
    assert again.card.experts == {}
    own = {name: a for name, a in trained[0].state.items() if name.startswith("backbone.")}
    for name, array in own.items():
        np.testing.assert_allclose(again.state[name], array, atol=1e-6, err_msg=name)


def test_a_network_trained_on_is_compared_at_equal_cost(general, data, plan, trained):
    experts = plan.model.experts.model_copy(update={"compare_at_equal_cost": True})
    asks = plan.model.model_copy(update={"experts": experts})
    both, report = add_experts(general, data, replace(plan, model=asks))
    assert both.state.keys() == trained[0].state.keys()
    none = plan.model.model_copy(update={"experts": None})
    longer, _ = fit(data, replace(plan, model=none, start=general))
    table = predict(longer, data.photos, ["test"])
    right = np.stack(table["crop"].to_list()).argmax(axis=1)
    truth = [CROPS.index(name) for name in table["crop.label"]]
    accuracy = report.heads["crop"]["accuracy"]
    assert accuracy.trained_on == pytest.approx((right == truth).mean())
    assert trained[1].heads["crop"]["accuracy"].trained_on is None


def test_too_few_photos_make_no_expert(general, data, plan):
    asks = plan.model.model_copy(
        update={"experts": plan.model.experts.model_copy(update={"fewest_photos": 17})}
    )
    same, report = add_experts(general, data, replace(plan, model=asks))
    assert same is general
    assert report.experts == {}
    assert report.left_out["apple"] == "it has 16 training photos, fewer than 17"


def test_without_experts_nothing_changes(general, data, plan):
    off = replace(plan, model=plan.model.model_copy(update={"experts": None}))
    same, report = add_experts(general, data, off)
    assert same is general
    assert report.head is None
    assert with_experts(general, "condition", {}) is general


@pytest.mark.parametrize(("name", "told"), [("crop", "limits"), ("conditions", "condition")])
def test_a_head_that_experts_cannot_answer_is_refused(name, told, general, data, plan):
    experts = plan.model.experts.model_copy(update={"head": name})
    model = plan.model.model_copy(update={"experts": experts})
    with pytest.raises(TrainingError, match=told):
        add_experts(general, data, replace(plan, model=model))


def test_what_would_change_the_network_for_all_alone_is_refused(trained, photos):
    with pytest.raises(TrainingError, match="2 experts for 'condition'"):
        grow_network(trained[0], TAXONOMY)
    network = restore(trained[0])
    with pytest.raises(CheckpointError, match="ask for 'crop'"):
        grad_cam(network, photos.pixels(0), "condition", "healthy")
    assert grad_cam(network, photos.pixels(0), "crop", "tomato").max() <= 1


def test_the_taxonomy_of_an_expert_has_the_allowed_classes_in_order():
    assert expert_taxonomy(TAXONOMY, "condition", "tomato")["condition"].class_names == [
        "healthy",
        "blight",
    ]
