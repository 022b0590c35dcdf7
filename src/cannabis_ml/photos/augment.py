"""Augmentation of one photo: random variants of it, as if it had been taken again.

The transforms are albumentations' (2.0.8, the last release under the MIT licence). What a copy
looks like depends on the photo, the policy and one integer alone: neither on other photos, nor on
threads, nor on any global random state.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np

from cannabis_ml.photos.augmentation_policy import Policy
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import shrink

REVISION = 1
"""Raise it when a change of this file changes pixels: stored copies are then made anew."""

_JPEG_START = b"\xff\xd8\xff"
_LARGE_FILE = 200_000
"""Bytes above which decoding at a reduced scale is worth reading the header twice."""


def draw_of(photo_id: str, copy: int, seed: int, policy: Policy) -> int:
    """Seed of copy `copy` of a photo: it alone decides what the copy looks like."""
    text = f"{photo_id}:{copy}:{seed}:{policy.sha256}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


@lru_cache(maxsize=1)
def implementation() -> str:
    """Versions of the code that makes copies: what decides their bytes besides policy and photo."""
    libraries = {name: version(name) for name in ("albumentations", "albucore")}
    libraries |= {"opencv": cv2.__version__, "numpy": np.__version__}
    return f"revision {REVISION} {json.dumps(libraries)}"


def make_copies(data: bytes, draws: Iterable[int], policy: Policy) -> list[bytes]:
    """Decode a photo once and make a copy per draw.

    Args:
        data: A photo as a file holds it. A large JPEG is decoded at a reduced scale.
        draws: One integer per copy wanted, as `draw_of` gives them.
        policy: How copies differ.

    Returns:
        JPEG files of `policy.size` squared, in the order of `draws`.

    Raises:
        UnreadableError: If `data` gives no photo.
    """
    augmenter = _augmenter(policy)
    # What is larger than any crop needs is averaged away once, instead of in every copy.
    pixels = shrink(_decoded(data, policy.needed_side), policy.needed_side)
    return [_jpeg(augmenter(pixels, draw), policy.quality) for draw in draws]


@contextmanager
def one_thread_per_call() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own while several of ours work."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


class Augmenter:
    """The transforms of one policy, ready to be applied. For use by one thread at a time.

    Gives the pixels that albumentations' transforms give from the same random state, to the last
    bit, in less time: the checks that its Compose makes anew for every photo are left out.
    """

    def __init__(self, policy: Policy) -> None:
        self._transforms = transforms_of(policy)

    def __call__(self, pixels: np.ndarray, draw: int) -> np.ndarray:
        """Make one copy: uint8 RGB (H, W, 3) -> uint8 RGB (size, size, 3)."""
        # One stream for all transforms. `Compose(seed=…)` and `set_random_seed` give each of
        # them its own, all equal: what is mirrored would always be turned as well.
        numbers, choices = np.random.default_rng(draw), random.Random(draw)
        for transform in self._transforms:
            transform.set_random_state(numbers, choices)
            pixels = _applied(transform, pixels)
        return pixels


def transforms_of(policy: Policy) -> list[Any]:
    """The albumentations transforms of a policy, in order; those that would do nothing left out."""
    a = _albumentations()
    rotate, random_shadow = _faster()
    crop, turn, color, light = policy.crop, policy.rotation, policy.color, policy.light
    both_blurs = [a.GaussianBlur(blur_limit=(3, max(3, policy.blur.kernel)), p=1.0)]
    both_blurs += [a.MotionBlur(blur_limit=(3, max(3, policy.blur.kernel)), p=1.0)]
    side = (policy.dropout.side, policy.dropout.side)
    listed = [
        a.RandomResizedCrop(
            size=(policy.size, policy.size),
            scale=crop.scale,
            ratio=crop.ratio,
            # Photos come at about the size of the copy, see make_copies: nothing to average over.
            interpolation=cv2.INTER_LINEAR,
            p=1.0,
        ),
        a.HorizontalFlip(p=policy.flip.horizontal),
        a.VerticalFlip(p=policy.flip.vertical),
        rotate(
            limit=(-turn.degrees, turn.degrees),
            interpolation=cv2.INTER_LINEAR,
            border_mode=cv2.BORDER_REFLECT_101,
            p=turn.probability if turn.degrees else 0.0,
        ),
        a.ColorJitter(
            brightness=_around_one(color.brightness),
            contrast=_around_one(color.contrast),
            saturation=_around_one(color.saturation),
            hue=(-color.hue, color.hue),
            p=color.probability,
        ),
        a.OneOf(both_blurs, p=policy.blur.probability if policy.blur.kernel else 0.0),
        a.CoarseDropout(
            num_holes_range=(max(1, policy.dropout.holes),) * 2,
            hole_height_range=side,
            hole_width_range=side,
            fill=0,
            p=policy.dropout.probability if policy.dropout.holes else 0.0,
        ),
        a.RandomBrightnessContrast(
            brightness_limit=(-light.brightness, light.brightness),
            contrast_limit=(-light.contrast, light.contrast),
            p=light.probability,
        ),
        random_shadow(
            shadow_roi=(0.0, 0.0, 1.0, 1.0),
            num_shadows_limit=policy.shadow.count,
            shadow_dimension=policy.shadow.corners,
            shadow_intensity_range=policy.shadow.darkness,
            p=policy.shadow.probability if policy.shadow.darkness[1] else 0.0,
        ),
    ]
    return [transform for transform in listed if transform.p > 0]


def _applied(transform: Any, pixels: np.ndarray) -> np.ndarray:
    if isinstance(transform, _albumentations().OneOf):
        return transform(image=pixels)["image"]
    if not transform.should_apply():
        return pixels
    data = {"image": pixels}
    params = transform.update_transform_params(params=transform.get_params(), data=data)
    params.update(transform.get_params_dependent_on_data(params=params, data=data))
    return np.ascontiguousarray(transform.apply(pixels, **params))


_importing = threading.Lock()


@lru_cache(maxsize=1)
def _albumentations() -> Any:
    # It would ask PyPI for newer releases, and load PyTorch for a transform that is not used here.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    unwanted = "albumentations.pytorch"
    with _importing:
        hide = "albumentations" not in sys.modules
        if hide:
            sys.modules[unwanted] = None  # type: ignore[assignment]
        try:
            import albumentations
        finally:
            if hide:
                sys.modules.pop(unwanted, None)
    return albumentations


@lru_cache(maxsize=1)
def _faster() -> tuple[Any, Any]:
    """Two of albumentations' transforms with the same pixels for less: (Rotate, RandomShadow)."""
    a = _albumentations()

    class Rotate(a.Rotate):  # type: ignore[name-defined]
        """Warps four channels instead of three, for which OpenCV has the quicker code."""

        def apply(self, img: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
            height, width = img.shape[:2]
            turned = cv2.warpAffine(
                cv2.cvtColor(img, cv2.COLOR_RGB2RGBA),
                matrix[:2],
                (width, height),
                flags=self.interpolation,
                borderMode=self.border_mode,
            )
            return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB)

    class RandomShadow(a.RandomShadow):  # type: ignore[name-defined]
        """Darkens by a table instead of by floating-point arithmetic: a tenth of the time."""

        def apply(
            self,
            img: np.ndarray,
            vertices_list: list[np.ndarray],
            intensities: np.ndarray,
            **_: object,
        ) -> np.ndarray:
            shadowed = img.copy()
            for vertices, intensity in zip(vertices_list, intensities, strict=True):
                mask = np.zeros(img.shape[:2], dtype=np.uint8)
                cv2.fillPoly(mask, [vertices.astype(np.int32)], (255,))
                table = (np.arange(256) * (1 - intensity)).astype(np.uint8)
                cv2.copyTo(cv2.LUT(shadowed, table), mask, shadowed)
            return shadowed

    return Rotate, RandomShadow


_of_thread = threading.local()


def _augmenter(policy: Policy) -> Augmenter:
    """This thread's augmenter of a policy: building one takes as long as making several copies."""
    built = vars(_of_thread).setdefault("augmenters", {})
    if policy.sha256 not in built:
        built[policy.sha256] = Augmenter(policy)
    return built[policy.sha256]


def _decoded(data: bytes, needed_side: int) -> np.ndarray:
    if len(data) < _LARGE_FILE and data.startswith(_JPEG_START):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
        if pixels is not None:
            return pixels
    return decode(data, max_pixels=2**62, reduce_to=needed_side)


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise RuntimeError(f"OpenCV cannot encode {pixels.shape} {pixels.dtype} as JPEG")
    return encoded.tobytes()


def _around_one(change: float) -> tuple[float, float]:
    return (1 - change, 1 + change)
