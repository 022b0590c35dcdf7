"""The policy of augmentation: which random variants of a photo are made, within which bounds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1, description="Share of the copies that get it")]


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"the smaller end of a range comes first, not {ends[0]:g} to {ends[1]:g}")
    return ends


def _odd(kernel: int) -> int:
    if kernel and (kernel < 3 or kernel % 2 == 0):
        raise ValueError(f"a blur is 3, 5, 7, … pixels wide, or 0 for none, not {kernel}")
    return kernel


Range = Annotated[tuple[float, float], AfterValidator(_in_order)]
Kernel = Annotated[int, AfterValidator(_odd)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Crop(_Part):
    """A random part of the photo, brought to the size of the copy."""

    scale: Range = Field(default=(0.7, 1.0), description="Share of the photo's area that is kept")
    ratio: Range = Field(
        default=(3 / 4, 4 / 3), description="Width over height of that part, before it is squared"
    )


class Flip(_Part):
    """Mirror images."""

    horizontal: Probability = 0.5
    vertical: Probability = 0.2


class Rotation(_Part):
    """Turns around the centre; corners are filled with the mirrored photo, not with black."""

    degrees: float = Field(default=30.0, ge=0, le=180, description="Largest turn to either side")
    probability: Probability = 0.5


class Color(_Part):
    """Colour jitter: each of the four by a random amount, in random order."""

    brightness: float = Field(default=0.3, ge=0, lt=1, description="Largest change, 0.3: ±30%")
    contrast: float = Field(default=0.3, ge=0, lt=1, description="Largest change")
    saturation: float = Field(default=0.3, ge=0, lt=1, description="Largest change")
    hue: float = Field(
        default=0.1, ge=0, le=0.5, description="Largest shift, in turns of the colour circle"
    )
    probability: Probability = 0.8


class Blur(_Part):
    """Either out of focus (Gaussian) or shaken (motion)."""

    kernel: Kernel = Field(default=3, description="Largest width in pixels of the copy; 0: none")
    probability: Probability = 0.2


class Dropout(_Part):
    """Black squares that hide parts, so that no single spot decides (DeVries & Taylor 2017)."""

    holes: int = Field(default=8, ge=0, description="Number of squares; 0: none")
    side: float = Field(
        default=0.09, gt=0, lt=1, description="Their side over the copy's: 20 of 224 pixels"
    )
    probability: Probability = 0.1


class Light(_Part):
    """Brightness and contrast of the whole photo."""

    brightness: float = Field(default=0.2, ge=0, lt=1, description="Largest change, of white")
    contrast: float = Field(default=0.2, ge=0, lt=1, description="Largest change")
    probability: Probability = 0.5


class Shadow(_Part):
    """Shadows with straight and hard edges, anywhere in the photo."""

    count: tuple[int, int] = Field(default=(1, 2), description="How many, from and to")
    corners: int = Field(default=3, ge=3, description="Of each; the sides of more than 3 may cross")
    darkness: Range = Field(default=(0.3, 0.6), description="Share of the light that is taken")
    probability: Probability = 0.2


class Bounds(_Part):
    """Limits within which a label stays true; what is not given is not limited."""

    hue: float | None = Field(default=None, ge=0, description="Largest hue shift")
    saturation: float | None = Field(default=None, ge=0, description="Largest saturation change")
    brightness: float | None = Field(
        default=None, ge=0, description="Largest brightness change, of colour jitter and of light"
    )
    contrast: float | None = Field(
        default=None, ge=0, description="Largest contrast change, of colour jitter and of light"
    )
    blur: Kernel | None = Field(default=None, description="Widest blur in pixels; 0: none")
    rotation: float | None = Field(default=None, ge=0, description="Largest turn in degrees")
    dropout: int | None = Field(default=None, ge=0, description="Most holes; 0: none")
    shadow: float | None = Field(default=None, ge=0, le=1, description="Darkest shadow; 0: none")
    crop: float | None = Field(
        default=None, gt=0, le=1, description="Smallest share of the area that a crop keeps"
    )


class Policy(_Part):
    """How copies differ from their photo. Applied in the order of the fields."""

    size: int = Field(default=224, ge=16, le=2048, description="Side of a copy in pixels")
    quality: int = Field(
        default=95, ge=1, le=100, description="JPEG quality; colour is kept at full resolution"
    )
    crop: Crop = Crop()
    flip: Flip = Flip()
    rotation: Rotation = Rotation()
    color: Color = Color()
    blur: Blur = Blur()
    dropout: Dropout = Dropout()
    light: Light = Light()
    shadow: Shadow = Shadow()

    @cached_property
    def sha256(self) -> str:
        """Hash of every setting: 64 hex digits."""
        settings = self.model_dump(mode="json")
        settings["colour"] = settings.pop("color")  # as it was spelt when copies were first stored
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def needed_side(self) -> int:
        """Short side that a photo needs so that no crop has to be enlarged, in pixels."""
        low, high = self.crop.ratio
        return math.ceil(self.size / math.sqrt(self.crop.scale[0] * min(low, 1 / high, 1.0)))

    def within(self, bounds: Iterable[Bounds]) -> Policy:
        """The same policy, held within all of `bounds`."""
        policy = self
        for bound in bounds:
            policy = _held(policy, bound)
        return policy


def _held(policy: Policy, bound: Bounds) -> Policy:
    """Lower every setting to its bound, where there is one."""
    limits: dict[str, dict[str, float | int | None]] = {
        "rotation": {"degrees": bound.rotation},
        "color": {
            "brightness": bound.brightness,
            "contrast": bound.contrast,
            "saturation": bound.saturation,
            "hue": bound.hue,
        },
        "blur": {"kernel": bound.blur},
        "dropout": {"holes": bound.dropout},
        "light": {"brightness": bound.brightness, "contrast": bound.contrast},
    }
    held: dict[str, object] = {}
    for part, wanted in limits.items():
        old = getattr(policy, part)
        lowered = {k: min(getattr(old, k), v) for k, v in wanted.items() if v is not None}
        held[part] = old.model_copy(update=lowered)
    if bound.shadow is not None:
        low, high = (min(end, bound.shadow) for end in policy.shadow.darkness)
        held["shadow"] = policy.shadow.model_copy(update={"darkness": (low, high)})
    if bound.crop is not None:
        low, high = (max(end, bound.crop) for end in policy.crop.scale)
        held["crop"] = policy.crop.model_copy(update={"scale": (low, high)})
    return Policy(**{name: held.get(name, getattr(policy, name)) for name in Policy.model_fields})
