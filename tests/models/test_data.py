import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from cannabis_ml.models.data import (
    EVALUATION,
    EpochSampler,
    Photos,
    augment,
    decode_stored,
    make_loader,
)
from cannabis_ml.models.params import TrainingParams
from cannabis_ml.photos.resize import fit
from cannabis_ml.taxonomy import Taxonomy

TRAINING = TrainingParams(seed=3)


def batches(photo_set, taxonomy, workers: int, epochs=(0, 1)):
    photos = Photos(photo_set, range(10), taxonomy, 32, TRAINING)
    loader = make_loader(photos, batch_size=4, workers=workers, shuffle=True, seed=3)
    found = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found


def test_number_of_workers_changes_nothing(photo_set, taxonomy):
    alone, helped = (batches(photo_set, taxonomy, workers) for workers in (0, 2))
    assert len(alone) == len(helped) == 6
    for (photos, targets), (other_photos, other_targets) in zip(alone, helped, strict=True):
        assert torch.equal(photos, other_photos)
        for name in targets:
            torch.testing.assert_close(targets[name], other_targets[name], equal_nan=True)


def test_epochs_differ_and_repeat(photo_set, taxonomy):
    first, second = (batches(photo_set, taxonomy, 0, [epoch])[0][0] for epoch in (0, 1))
    again = batches(photo_set, taxonomy, 0, [0])[0][0]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_evaluation_shows_the_photo_as_it_is(photo_set, taxonomy):
    photos = Photos(photo_set, [4, 7], taxonomy, 48, TRAINING)
    pixels, targets = next(iter(make_loader(photos, batch_size=2, workers=0, shuffle=False)))
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (2, 3, 48, 48)
    original = np.asarray(photo_set[7]["image"].convert("RGB"))
    np.testing.assert_array_equal(pixels[1].permute(1, 2, 0).numpy(), fit(original, 48))
    assert targets["colour"].tolist() == [1, 1]
    assert targets["colour"].dtype == torch.int64
    assert targets["marks"].dtype == torch.float32


def test_a_lone_last_photo_is_left_for_the_next_epoch(photo_set, taxonomy):
    photos = Photos(photo_set, range(9), taxonomy, 32, TRAINING)
    assert len(list(make_loader(photos, batch_size=4, workers=0, shuffle=True))) == 2
    assert len(list(make_loader(photos, batch_size=4, workers=0, shuffle=False))) == 3


def test_every_photo_once_per_epoch():
    sampler = EpochSampler(20, seed=1)
    sampler.set_epoch(5)
    assert sorted(sampler) == [(5, i) for i in range(20)]


@pytest.mark.parametrize("shape", [(1, 1), (300, 20), (20, 300), (64, 64)])
def test_augmentation_takes_any_shape(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for seed in range(20):
        result = augment(pixels, 24, TRAINING, np.random.default_rng(seed))
        assert result.shape == (24, 24, 3)
        assert result.dtype == np.uint8


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="no image"):
        decode_stored(b"not a photo")


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
        return datasets.Dataset.from_list(list(rows), features=features)

    taxonomy = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["a", "b"]}]})
    training = TrainingParams(brightness=0.0)
    originals = made(plain(10, "one"), plain(100, "two"))
    copies = made(plain(20, "one"), plain(30, "one"))
    photos = Photos(originals, [0, 0, 1], taxonomy, 32, training, copies)

    def seen(position, epochs):
        return [int(photos[(epoch, position)][0].float().mean()) for epoch in epochs]

    assert seen(0, range(4)) == [10, 20, 30, 10]
    assert seen(1, range(4)) == [20, 30, 10, 20]  # the same photo again: another version
    assert seen(2, range(2)) == [100, 100]
    assert seen(0, [EVALUATION]) == [10]
