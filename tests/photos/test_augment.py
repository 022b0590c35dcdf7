import io
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from cannabis_ml.photos.augment import Augmenter, draw_of, make_copies, transforms_of
from cannabis_ml.photos.augmentation_policy import (
    Blur,
    Bounds,
    Color,
    Crop,
    Dropout,
    Flip,
    Light,
    Policy,
    Rotation,
    Shadow,
)

SMALL = Policy(size=32)
ALWAYS = Policy(
    size=48,
    flip=Flip(horizontal=1, vertical=1),
    rotation=Rotation(probability=1),
    color=Color(probability=1),
    blur=Blur(probability=1, kernel=5),
    dropout=Dropout(probability=1),
    light=Light(probability=1),
    shadow=Shadow(probability=1, corners=5),
)
NOTHING = Policy(
    size=48,
    crop=Crop(scale=(1, 1), ratio=(1, 1)),
    flip=Flip(horizontal=0, vertical=0),
    rotation=Rotation(degrees=0),
    color=Color(probability=0),
    blur=Blur(kernel=0),
    dropout=Dropout(holes=0),
    light=Light(probability=0),
    shadow=Shadow(darkness=(0, 0)),
)


@pytest.fixture(scope="module")
def photo(draw):
    return np.asarray(draw(seed=1, width=60, height=50))


@pytest.fixture(scope="module")
def jpeg(encode, draw):
    return encode(draw(seed=1, width=60, height=50), quality=95)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def reference(policy):
    """The same transforms as albumentations has them, none of them replaced by ours."""
    import albumentations as a

    transforms = []
    for transform in transforms_of(policy):
        original = getattr(a, type(transform).__name__)
        if original is type(transform):
            transforms.append(transform)
        elif original is a.Rotate:
            transforms.append(
                a.Rotate(transform.limit, border_mode=transform.border_mode, p=transform.p)
            )
        else:
            transforms.append(
                a.RandomShadow(
                    transform.shadow_roi,
                    transform.num_shadows_limit,
                    transform.shadow_dimension,
                    transform.shadow_intensity_range,
                    p=transform.p,
                )
            )
    return transforms


@pytest.mark.parametrize("policy", [SMALL, ALWAYS], ids=["default", "everything"])
def test_pixels_are_those_of_albumentations_to_the_last_bit(photo, policy):
    ours, theirs = Augmenter(policy), reference(policy)
    for draw in range(60):
        numbers, choices = np.random.default_rng(draw), random.Random(draw)
        expected = photo
        for transform in theirs:
            transform.set_random_state(numbers, choices)
            expected = transform(image=expected)["image"]
        np.testing.assert_array_equal(ours(photo, draw), expected)


def test_every_argument_is_accepted_without_a_warning(photo):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in (SMALL, ALWAYS, NOTHING):
            Augmenter(policy)(photo, 7)
    arguments = [t for t in transforms_of(ALWAYS) if getattr(t, "invalid_args", None)]
    assert not arguments


def test_all_nine_transforms_are_there():
    names = [type(transform).__name__ for transform in transforms_of(ALWAYS)]
    assert names == [
        *("RandomResizedCrop", "HorizontalFlip", "VerticalFlip", "Rotate", "ColorJitter"),
        *("OneOf", "CoarseDropout", "RandomBrightnessContrast", "RandomShadow"),
    ]


def test_what_is_switched_off_does_nothing(draw, encode):
    pixels = np.asarray(draw(seed=3, width=48, height=48))
    np.testing.assert_array_equal(Augmenter(NOTHING)(pixels, 5), pixels)
    assert len(transforms_of(NOTHING)) == 1


def test_transforms_are_drawn_independently(photo):
    # albumentations' own set_random_seed gives every transform the same stream: what is mirrored
    # would always be turned and brightened too.
    policy = NOTHING.model_copy(
        update={"flip": Flip(horizontal=0.5, vertical=0.5), "light": Light(probability=0.5)}
    )
    transforms = transforms_of(policy)[1:]
    did = np.zeros((300, len(transforms)), dtype=bool)
    for draw in range(300):
        numbers, choices = np.random.default_rng(draw), random.Random(draw)
        for at, transform in enumerate(transforms):
            transform.set_random_state(numbers, choices)
            did[draw, at] = transform.should_apply()
    assert abs(np.corrcoef(did.T) - np.eye(len(transforms))).max() < 0.25


def test_a_copy_is_a_jpeg_of_the_size_at_full_color(jpeg):
    (copy,) = make_copies(jpeg, [3], SMALL)
    image = Image.open(io.BytesIO(copy))
    assert (image.format, image.size, image.mode) == ("JPEG", (32, 32), "RGB")
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    # Quality 95 by the standard's table: the first coefficient is divided by 2 (16 at quality 50).
    assert image.quantization[0][0] == 2


def test_nothing_but_the_draw_decides(jpeg):
    wanted = {draw: make_copies(jpeg, [draw], SMALL)[0] for draw in range(8)}
    np.random.seed(1)
    random.seed(2)
    cv2.setRNGSeed(3)
    together = make_copies(jpeg, [5, 0, 7, 2], SMALL)
    assert together == [wanted[draw] for draw in (5, 0, 7, 2)]
    with ThreadPoolExecutor(2) as pool:
        threaded = pool.map(lambda draw: make_copies(jpeg, [draw], SMALL)[0], [*wanted] * 3)
        assert list(threaded) == [*wanted.values()] * 3
    assert len(set(wanted.values())) == 8


def test_another_process_makes_the_same_bytes(jpeg, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(jpeg)
    code = (
        "import sys, hashlib; from pathlib import Path\n"
        "from cannabis_ml.photos.augment import make_copies\n"
        "from cannabis_ml.photos.augmentation_policy import Policy\n"
        "data = make_copies(Path(sys.argv[1]).read_bytes(), [9], Policy(size=32))[0]\n"
        "print(hashlib.sha256(data).hexdigest(), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "photo.jpg")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    import hashlib

    assert said[0] == hashlib.sha256(make_copies(jpeg, [9], SMALL)[0]).hexdigest()
    assert said[1] == "False"  # PyTorch is not loaded for transforms that do not need it


def test_draws_differ_by_photo_copy_seed_and_policy():
    draws = {
        draw_of(photo, k, seed, policy)
        for photo in ("a", "b")
        for k in (1, 2)
        for seed in (0, 1)
        for policy in (SMALL, ALWAYS)
    }
    assert len(draws) == 16


def test_a_large_photo_is_averaged_not_sampled(encode):
    # A chequerboard of single pixels is grey from afar; sampled, it would be black or white.
    board = np.indices((600, 800)).sum(0) % 2 * 255
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    data = encode(Image.fromarray(pixels), "PNG")
    copy = opened(make_copies(data, [1], NOTHING)[0])
    assert abs(copy.astype(int) - 128).max() < 12


def test_small_large_and_png_photos_are_taken(encode, draw):
    for width, height, kind in ((20, 15, "JPEG"), (900, 700, "JPEG"), (90, 70, "PNG")):
        copies = make_copies(encode(draw(2, width, height), kind), [1, 2], SMALL)
        assert [opened(copy).shape for copy in copies] == [(32, 32, 3)] * 2


def test_needed_side_is_enough_for_the_smallest_crop():
    # 70% of the area at 3:4 of a square photo: sqrt(0.7 x 0.75) = 0.7246 of its side.
    assert Policy(size=224).needed_side == 310
    assert NOTHING.needed_side == 48


bounds = st.builds(
    Bounds,
    hue=st.none() | st.floats(0, 0.5),
    saturation=st.none() | st.floats(0, 1),
    brightness=st.none() | st.floats(0, 1),
    contrast=st.none() | st.floats(0, 1),
    blur=st.none() | st.sampled_from([0, 3, 5]),
    rotation=st.none() | st.floats(0, 90),
    dropout=st.none() | st.integers(0, 10),
    shadow=st.none() | st.floats(0, 1),
    crop=st.none() | st.floats(0.1, 1),
)


@given(st.lists(bounds, max_size=4))
@settings(max_examples=60, deadline=None)
def test_bounds_only_ever_tighten_in_any_order(wanted):
    policy = Policy()
    held = policy.within(wanted)
    assert held == policy.within(reversed(wanted))
    assert held == held.within(wanted)
    for bound in wanted:
        for value, limit in (
            (held.color.hue, bound.hue),
            (held.color.saturation, bound.saturation),
            (held.color.brightness, bound.brightness),
            (held.light.brightness, bound.brightness),
            (held.color.contrast, bound.contrast),
            (held.light.contrast, bound.contrast),
            (held.blur.kernel, bound.blur),
            (held.rotation.degrees, bound.rotation),
            (held.dropout.holes, bound.dropout),
            (held.shadow.darkness[1], bound.shadow),
        ):
            assert limit is None or value <= limit
        assert bound.crop is None or held.crop.scale[0] >= bound.crop
    assert held.color.hue <= policy.color.hue
    transforms_of(held)


def test_bounded_hue_keeps_the_color(jpeg):
    green = np.full((40, 40, 3), (40, 160, 60), dtype=np.uint8)

    def hues(policy):
        copies = [Augmenter(policy)(green, draw) for draw in range(40)]
        return [int(cv2.cvtColor(c, cv2.COLOR_RGB2HSV)[20, 20, 0]) for c in copies]

    free = NOTHING.model_copy(update={"color": Color(probability=1, hue=0.1)})
    assert np.ptp(hues(free)) > 20  # of 180: 0.1 of a turn to either side is 36
    assert np.ptp(hues(free.within([Bounds(hue=0.02)]))) <= 10  # 7.2, and rounding


@pytest.mark.parametrize(
    ("part", "settings", "said"),
    [
        (Blur, {"kernel": 4}, "3, 5, 7"),
        (Crop, {"scale": (1.0, 0.5)}, "smaller end"),
        (Flip, {"horizontal": 1.5}, "less than or equal to 1"),
        (Color, {"hue": 0.7}, "less than or equal to 0.5"),
        (Policy, {"color": {"tint": 1}}, "Extra inputs"),
    ],
)
def test_nonsense_is_refused(part, settings, said):
    with pytest.raises(ValidationError, match=said):
        part(**settings)
