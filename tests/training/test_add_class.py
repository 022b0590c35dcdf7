"""A network that knows red and green learns blue."""

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import RIDGES, ClosedFormHead
from cannabis_ml.networks.building import restore
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training import add_class, train
from cannabis_ml.training.add_class_params import AddClassParams
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

TRAINING = TrainingParams(batch_size=8, accelerator="cpu")


@pytest.fixture(scope="module")
def before(taxonomy):
    heads = taxonomy.model_dump()["heads"]
    heads[0]["classes"] = [{"name": "green"}, {"name": "red"}]
    return Taxonomy.model_validate({"heads": heads})


@pytest.fixture(scope="module")
def start(photo_set, before, backbone_file):
    rows = photo_set.labels()
    old = photo_set.arrow.select(np.flatnonzero(rows["colour"] != "blue"))
    model = ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=[{"file": backbone_file}],
        ensemble=2,
        dropout=0.0,
        mirrored=True,
    )
    phase = Phase(name="heads", epochs=1, learning_rate=1e-3, train="heads")
    plan = TrainingPlan(model, TRAINING, Schedule(phases=[phase]))
    return train.fit(TrainingData.of_split(PhotoSet(old), before), plan)[0]


@pytest.fixture(scope="module")
def embeddings(start, photo_set):
    return add_class.embed(start, photo_set, pd.DataFrame(), TRAINING)


@pytest.fixture(scope="module")
def solved(start, photo_set, taxonomy, embeddings):
    return add_class.add_in_closed_form(start, photo_set, taxonomy, embeddings, AddClassParams())


def test_known_embeddings_are_taken_over_and_only_others_computed(
    start, photo_set, embeddings, monkeypatch
):
    asked = []
    compute = add_class._computed

    def counted(network, photos, rows, *how):
        asked.append(len(rows))
        return compute(network, photos, rows, *how)

    monkeypatch.setattr(add_class, "_computed", counted)
    known = predict(start, photo_set, [Split.TRAIN], TRAINING)
    found = add_class.embed(start, photo_set, known, TRAINING)
    assert asked == [8 + add_class.SPOT_CHECKS]
    np.testing.assert_allclose(found.values, embeddings.values, atol=1e-4)

    strange = known.assign(embedding=[vector + 1 for vector in known["embedding"]])
    again = add_class.embed(start, photo_set, strange, TRAINING)
    assert asked[1:] == [8 + add_class.SPOT_CHECKS, len(photo_set)]
    np.testing.assert_allclose(again.values, embeddings.values, atol=1e-4)


def test_a_new_class_is_answered_and_other_heads_stay_as_they_were(
    start, solved, photo_set, embeddings
):
    checkpoint, heads = solved
    assert list(heads) == ["colour"]
    found = add_class.predict_from_embeddings(checkpoint, embeddings, photo_set, TRAINING)
    old = predict(start, photo_set, training=TRAINING)
    for name in ("shade.logits", "marks.logits"):
        np.testing.assert_allclose(np.stack(found[name]), np.stack(old[name]), rtol=1e-3, atol=1e-4)
    blue = found["colour.label"] == "blue"
    names = checkpoint.card.taxonomy["colour"].class_names
    said = np.array(names)[np.stack(found["colour"]).argmax(axis=1)]
    assert (said[blue] == "blue").mean() > 0.9
    known = found["colour.label"].notna()
    assert (said[known] == found["colour.label"][known]).mean() > 0.9


def test_predictions_from_embeddings_are_those_from_photos(solved, photo_set, embeddings):
    checkpoint, _ = solved
    from_photos = predict(checkpoint, photo_set, training=TRAINING)
    found = add_class.predict_from_embeddings(checkpoint, embeddings, photo_set, TRAINING)
    assert list(found.columns) == list(from_photos.columns)
    assert list(found["photo_id"]) == list(from_photos["photo_id"])
    for name in ("colour", "marks", "embedding"):
        np.testing.assert_allclose(
            np.stack(found[name]), np.stack(from_photos[name]), rtol=1e-3, atol=1e-4
        )


def test_members_have_the_weights_of_the_closed_form(solved):
    checkpoint, heads = solved
    names = checkpoint.card.taxonomy["colour"].class_names
    weights = [checkpoint.state[f"heads.0.{m}.1.weight"].T for m in range(2)]
    assert np.abs(weights[0] - weights[1]).max() > 0
    by_penalty = {ridge: heads["colour"].members(ridge, names, 2) for ridge in RIDGES}

    def agrees(solutions):
        """But for the scale of all of them, which makes a probability of the softmax."""
        scale = weights[0].std() / solutions[0].weights.std()
        return all(
            np.allclose(weight, scale * solution.weights, rtol=1e-3, atol=1e-4 * weight.std())
            for weight, solution in zip(weights, solutions, strict=True)
        )

    assert sum(agrees(solutions) for solutions in by_penalty.values()) == 1


def test_only_labelled_training_photos_are_in_the_head(solved, photo_set):
    _, heads = solved
    table = photo_set.labels()
    train_ids = set(table[(table["split"] == "train") & table["colour"].notna()]["photo_id"])
    assert set(heads["colour"].photos.photo_ids) == train_ids


def test_a_projection_ends_up_in_the_network(start, photo_set, taxonomy, embeddings):
    params = AddClassParams(projection=50)
    checkpoint, heads = add_class.add_in_closed_form(start, photo_set, taxonomy, embeddings, params)
    assert checkpoint.card.hidden == {"colour": 50, "shade": 0, "marks": 0}
    features = embeddings.values[:5]
    import torch

    logits = restore(checkpoint).classify(torch.from_numpy(features))["colour"][:, 0]
    head: ClosedFormHead = heads["colour"]
    assert logits.shape == (5, 3)
    weight, bias = (checkpoint.state[f"heads.0.0.4.{part}"] for part in ("weight", "bias"))
    by_hand = head.inputs(features) @ weight.T + bias
    np.testing.assert_allclose(logits.detach().numpy(), by_hand, rtol=1e-3, atol=1e-3)


def test_a_head_grows_and_keeps_learning(start, photo_set, taxonomy, embeddings, tmp_path):
    params = AddClassParams(method="grow", epochs=2, rehearsal=6)
    plan = add_class.growth_plan(start, params, TRAINING)
    data = add_class.growth_data(start, photo_set, taxonomy, params)
    checkpoint = add_class.add_by_growing(data, plan, embeddings, tmp_path, "")
    assert checkpoint.card.taxonomy == taxonomy
    assert checkpoint.card.mirrored
    assert add_class.weights_hash(restore(checkpoint)) == embeddings.weights
    for name, array in start.state.items():
        if not name.startswith("heads."):
            np.testing.assert_array_equal(checkpoint.state[name], array)


def test_old_photos_that_are_shown_again_are_balanced(before, taxonomy, photo_set):
    params = AddClassParams(method="grow", rehearsal=6)
    rows = add_class._rows_to_learn(before, taxonomy, photo_set, params)
    labels = photo_set.labels().iloc[rows]
    train = photo_set.labels()[photo_set.labels()["split"] == "train"]
    assert (labels["split"] == "train").all()
    counts = labels["colour"].value_counts(dropna=False)
    assert counts["blue"] == (train["colour"] == "blue").sum()
    assert counts["red"] == counts["green"] == 2
    assert len(labels) - counts["blue"] == 6  # two of them without a colour


def test_what_cannot_be_added_is_reported(start, before, photo_set, taxonomy, embeddings):
    def add(found, photos=photo_set):
        add_class.add_in_closed_form(start, photos, found, embeddings, AddClassParams())

    with pytest.raises(TrainingError, match="none to add"):
        add(before)
    heads = taxonomy.model_dump()["heads"]
    heads[1]["classes"].append({"name": "black"})
    with pytest.raises(TrainingError, match=r"'shade' \(ordinal\).*method: grow"):
        add(Taxonomy.model_validate({"heads": heads}))
    heads = taxonomy.model_dump()["heads"]
    heads[0]["classes"].append({"name": "grey"})
    with pytest.raises(TrainingError, match="No training photo has the class grey"):
        add(Taxonomy.model_validate({"heads": heads}))
