import io

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.data import (
    EVALUATION,
    Batches,
    CachedFeatures,
    PhasedLoader,
    Photos,
    RowTargets,
    augment,
    make_loader,
)
from cannabis_ml.training.schedule import TrainingParams
from cannabis_ml.training.training_data import TrainingData

TRAINING = TrainingParams(seed=3)


def batches(photo_set, taxonomy, workers: int, epochs=(0, 1)):
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(10)), 32, TRAINING)
    loader = make_loader(photos, batch_size=4, workers=workers, shuffle=True, seed=3)
    found = []
    for epoch in epochs:
        loader.batch_sampler.set_epoch(epoch)
        found += list(loader)
    return found


def test_number_of_workers_changes_nothing(photo_set, taxonomy):
    alone, helped = (batches(photo_set, taxonomy, workers) for workers in (0, 2))
    assert len(alone) == len(helped) == 6
    for batch, other in zip(alone, helped, strict=True):
        assert torch.equal(batch.photos, other.photos)
        for name in batch.targets:
            torch.testing.assert_close(batch.targets[name], other.targets[name], equal_nan=True)


def test_workers_do_not_inherit_the_threads_of_this_process(photo_set, taxonomy):
    """A fork of a process in which OpenCV has worked hangs at its first call of OpenCV."""
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(10)), 32, TRAINING)
    loader = make_loader(photos, batch_size=4, workers=1, shuffle=True)
    assert loader.multiprocessing_context.get_start_method() != "fork"


def test_epochs_differ_and_repeat(photo_set, taxonomy):
    first, second = (batches(photo_set, taxonomy, 0, [epoch])[0].photos for epoch in (0, 1))
    again = batches(photo_set, taxonomy, 0, [0])[0].photos
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_evaluation_shows_the_photo_as_it_is(photo_set, taxonomy):
    photos = Photos(TrainingData(photo_set, taxonomy, np.array([4, 7])), 48, TRAINING)
    batch = next(iter(make_loader(photos, batch_size=2, workers=0, shuffle=False)))
    pixels, targets = batch.photos, batch.targets
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (2, 3, 48, 48)
    original = photo_set.pixels(7)
    np.testing.assert_array_equal(
        pixels[1].permute(1, 2, 0).numpy(), center_crop_resize(original, 48)
    )
    assert targets["colour"].tolist() == [1, 1]
    assert targets["colour"].dtype == torch.int64
    assert targets["marks"].dtype == torch.float32


def test_a_lone_last_photo_is_left_for_the_next_epoch(photo_set, taxonomy):
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(9)), 32, TRAINING)
    assert len(list(make_loader(photos, batch_size=4, workers=0, shuffle=True))) == 2
    assert len(list(make_loader(photos, batch_size=4, workers=0, shuffle=False))) == 3


def test_every_photo_once_per_epoch():
    batches = Batches(20, 6, seed=1)
    batches.set_epoch(5)
    given = list(batches)
    assert [len(batch) for batch in given] == [6, 6, 6, 2]
    assert sorted(item for batch in given for item in batch) == [(5, i) for i in range(20)]


def test_an_epoch_goes_on_with_the_batch_it_left_off_at():
    whole, rest = Batches(20, 6, seed=1), Batches(20, 6, seed=1)
    whole.set_epoch(2)
    rest.set_epoch(2, first=2)
    assert list(rest) == list(whole)[2:]


@pytest.mark.parametrize(("size", "used"), [(24, 24), (23, 22), (26, 24), (30, 30)])
def test_processes_share_the_batches_of_one(size, used, monkeypatch):
    shares = []
    for rank in range(2):
        monkeypatch.setattr("cannabis_ml.training.data.process_of", lambda rank=rank: (rank, 2))
        batches = Batches(size, 8, seed=1)
        batches.set_epoch(3)
        shares.append(list(batches))
        assert len(batches) == len(shares[-1])
    monkeypatch.undo()
    order = np.random.default_rng((1, 3)).permutation(size)[:used].tolist()
    for start, one, other in zip(range(0, used, 8), *shares, strict=True):
        assert len(one) == len(other)
        together = sorted(position for _, position in one + other)
        assert together == sorted(order[start : start + 8])


def test_lone_photo_is_kept_where_it_is_the_only_one():
    assert len(list(Batches(1, 8))) == 1


def test_photos_may_stay_as_they_are_in_training(photo_set, taxonomy):
    plain = TRAINING.model_copy(update={"augment": False})
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(4)), 32, plain)
    assert torch.equal(photos[0, 2].photos, photos[7, 2].photos)


def test_epochs_have_the_size_of_their_phase(photo_set, taxonomy):
    data = TrainingData(photo_set, taxonomy, np.arange(4))
    photos = Photos(data, 48, TRAINING, sizes=[32, 32, 40])
    sides = [photos[epoch, 1].photos.shape[1:] for epoch in (0, 1, 2, 3, EVALUATION)]
    assert sides == [(32, 32), (32, 32), (40, 40), (48, 48), (48, 48)]


def test_first_epochs_come_from_the_cache(photo_set, taxonomy):
    photos = Photos(TrainingData(photo_set, taxonomy, np.arange(8)), 32, TRAINING)
    features = np.arange(16, dtype=np.float32).reshape(8, 2)
    loaders = [
        make_loader(data, batch_size=4, workers=0, shuffle=True, seed=3)
        for data in (photos, CachedFeatures(features, photos.targets))
    ]
    loader = PhasedLoader(*loaders, cached_epochs=2)
    dims, targets = [], []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        dims.append(batches[0].photos.ndim)
        targets.append(torch.cat([batch.targets["colour"] for batch in batches]))
    assert dims == [2, 2, 4]
    # The order is that of the photos: only what is looked at differs.
    alone = PhasedLoader(loaders[0])
    alone.set_epoch(1)
    assert torch.equal(targets[1], torch.cat([batch.targets["colour"] for batch in alone]))


def test_teacher_and_members_go_with_their_photo(photo_set, taxonomy):
    ids = photo_set.arrow["photo_id"][:]
    teacher = {"photo_id": ids[::-1]}
    for head in taxonomy.heads:
        values = [[float(int(i, 16))] * len(head.classes) for i in teacher["photo_id"]]
        teacher[head.name] = values

    photos = Photos(
        TrainingData(photo_set, taxonomy, np.array([3, 9]), teacher=pd.DataFrame(teacher)),
        32,
        TRAINING,
        members=3,
    )
    batch = next(iter(make_loader(photos, batch_size=2, workers=0, shuffle=False)))
    assert batch.teacher["colour"].tolist() == [[3] * 3, [9] * 3]
    assert batch.members.shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 1), (300, 20), (20, 300), (64, 64)])
def test_augmentation_takes_any_shape(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for seed in range(20):
        result = augment(pixels, 24, TRAINING, np.random.default_rng(seed))
        assert result.shape == (24, 24, 3)
        assert result.dtype == np.uint8


def plain(level: int, photo_id: str) -> dict:
    """A photo of one grey level, which no crop, mirror or copy order can hide."""
    held = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(held, "PNG")
    return {"photo_id": photo_id, "image": {"bytes": held.getvalue(), "path": None}, "kind": "a"}


def test_a_photo_and_its_copies_are_shown_in_turn():
    features = datasets.Features(
        {"photo_id": datasets.Value("string"), "image": datasets.Image()}
        | {"kind": datasets.Value("string")}
    )

    def made(*rows):
        return PhotoSet(datasets.Dataset.from_list(list(rows), features=features))

    taxonomy = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    training = TrainingParams(brightness=0.0)
    originals = made(plain(10, "one"), plain(100, "two"))
    copies = made(plain(20, "one"), plain(30, "one"))
    photos = Photos(
        TrainingData(originals, taxonomy, np.array([0, 0, 1]), copies=copies), 32, training
    )

    def seen(position, epochs):
        return [int(photos[epoch, position].photos.float().mean()) for epoch in epochs]

    assert seen(0, range(4)) == [10, 20, 30, 10]
    assert seen(1, range(4)) == [20, 30, 10, 20]  # the same photo again: another version
    assert seen(2, range(2)) == [100, 100]
    assert seen(0, [EVALUATION]) == [10]


def test_rows_weigh_in_every_member_and_a_repeated_photo_alike():
    photos = {"photo_id": ["one", "two"], "kind": ["a", "b"]}
    photo_set = PhotoSet(datasets.Dataset.from_dict(photos))
    taxonomy = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    rows = np.array([0, 1, 0])
    even = RowTargets(TrainingData(photo_set, taxonomy, rows), members=3, seed=5).members
    torch.testing.assert_close(even[0], even[2])
    assert not torch.equal(even[0], even[1])
    weights = np.array([0.5, 2.0, 1.0])
    weighed = RowTargets(
        TrainingData(photo_set, taxonomy, rows, weights), members=3, seed=5
    ).members
    torch.testing.assert_close(weighed, even * torch.tensor(weights, dtype=torch.float32)[:, None])
