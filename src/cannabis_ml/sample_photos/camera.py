"""Pose, light and lens: from a layer and a backdrop to the pixels of a photo."""

from __future__ import annotations

import cv2
import numpy as np

from cannabis_ml.sample_photos.backdrops import draw_backdrop
from cannabis_ml.sample_photos.canvas import Bytes, Float, Layer, noise, soften, turn
from cannabis_ml.sample_photos.lots import Lot

# Gains of red, green and blue: neutral, warm, cool, grow light, fluorescent tube.
_LAMPS = np.array(
    [[1, 1, 1], [1.1, 1, 0.84], [0.92, 0.99, 1.1], [1.1, 0.84, 1.18], [0.97, 1.06, 0.9]]
)
_LAMP_ODDS = (0.42, 0.26, 0.2, 0.06, 0.06)
_STEEPEST = 0.9
_ASPECTS = (1.0, 1.2, 4 / 3, 1.5)


def take_photo(layer: Layer, lot: Lot, index: int, size: int) -> Bytes:
    """Photograph a layer: the lot sets the scene, the index the hand that holds the camera."""
    scene, hand = lot.rng("scene"), lot.rng("hand", index)
    shape = _frame(scene, size)
    pose = _pose(scene, hand, layer.side, shape)
    backdrop = _placed_backdrop(scene, hand, shape)
    lit = _light(layer, pose, backdrop, scene)
    return _expose(lit, scene, hand)


def _frame(scene: np.random.Generator, size: int) -> tuple[int, int]:
    long = round(size * scene.uniform(1.0, 1.25))
    short = round(long / scene.choice(_ASPECTS))
    return (long, short) if scene.random() < 0.5 else (short, long)


def _pose(
    scene: np.random.Generator, hand: np.random.Generator, side: int, shape: tuple[int, int]
) -> np.ndarray:
    """The 2x3 map from layer to frame: scale, rotation, a little shear, off-centre."""
    scale = np.exp(scene.normal(0.42, 0.18) + hand.normal(0, 0.05)) * min(shape) / side
    angle = scene.uniform(0, 2 * np.pi) + hand.normal(0, 0.12)
    shift = scene.normal(0, 0.045, 2) + hand.normal(0, 0.03, 2)
    along = scale * turn(angle)
    across = scale * scene.uniform(0.85, 1.0) * turn(angle + np.pi / 2 + scene.normal(0, 0.06))
    linear = np.array([[along.real, across.real], [along.imag, across.imag]])
    target = np.array(shape[::-1]) * (0.5 + shift)
    return np.column_stack([linear, target - linear @ np.full(2, side / 2)])


def _placed_backdrop(
    scene: np.random.Generator, hand: np.random.Generator, shape: tuple[int, int]
) -> Float:
    """The backdrop, seen through a frame that moved a little between the photos of a burst."""
    h, w = shape
    wide = draw_backdrop(scene, (int(h * 1.15), int(w * 1.15)))
    top, left = (int(hand.uniform(0, 0.15 * n)) for n in shape)
    view = wide[top : top + h, left : left + w]
    return soften(view, scene.uniform(0.3, 2.2))


def _light(layer: Layer, pose: np.ndarray, backdrop: Float, scene: np.random.Generator) -> Float:
    """Shade the layer by its relief (Lambert and Blinn-Phong) and lay it on the backdrop."""
    h, w = backdrop.shape[:2]
    paint = cv2.warpAffine(layer.paint, pose, (w, h)).astype(np.float32)
    maps = cv2.merge([layer.opacity * layer.cover, layer.gloss])
    opacity, gloss = cv2.split(cv2.warpAffine(maps, pose, (w, h)))
    solid = layer.cover.astype(np.float32)
    presence = np.asarray(cv2.warpAffine(solid, pose, (w, h)), np.float32)
    color, height = paint[..., :3] / 255, paint[..., 3] / 255

    zoom = float(np.sqrt(abs(np.linalg.det(pose[:, :2])))) * layer.side
    toward, steep = turn(scene.uniform(0, 2 * np.pi)), scene.uniform(0.55, 1.1)
    lamp = np.array([toward.real, toward.imag, steep], np.float32)
    lamp /= np.linalg.norm(lamp)
    relief = soften(height, 0.6) * np.float32(0.03 * zoom)
    dx, dy = (cv2.Sobel(relief, cv2.CV_32F, *d, ksize=3, scale=0.25) for d in ((1, 0), (0, 1)))
    # Steps between overlapping parts are cliffs in the relief; bounded, they do not outshine it.
    limit = 1 / (1 + np.sqrt(dx * dx + dy * dy) / np.float32(_STEEPEST))
    dx, dy = dx * limit, dy * limit
    norm = 1 / np.sqrt(1 + dx * dx + dy * dy)
    diffuse = np.clip((lamp[2] - lamp[0] * dx - lamp[1] * dy) * norm, 0, 1) / lamp[2]
    halfway = lamp + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    facing = np.clip((halfway[2] - halfway[0] * dx - halfway[1] * dy) * norm, 0, 1)
    sheen = gloss * facing ** np.float32(28)
    crevice = np.clip(soften(height, zoom / 60) - height, 0, 1)

    ambient = np.float32(scene.uniform(0.35, 0.6))
    shade = (ambient + (1 - ambient) * np.clip(diffuse, 0, 1.5)) * (1 - 0.7 * crevice)
    body = color * shade[..., None]
    ground = backdrop / 255 * _shadow(presence, toward, zoom, scene)[..., None]
    through = ground * (0.25 + 0.75 * color)  # What shines through the subject is tinted.
    seen = opacity[..., None] * body + (presence - opacity)[..., None] * through
    seen += (sheen * presence * 0.75)[..., None]
    return np.asarray(ground * (1 - presence[..., None]) + seen, np.float32)


def _shadow(presence: Float, toward: complex, zoom: float, scene: np.random.Generator) -> Float:
    offset = -toward * zoom * scene.uniform(0.01, 0.04)
    move = np.array([[1, 0, offset.real], [0, 1, offset.imag]])
    cast = cv2.warpAffine(presence, move, presence.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    soft = soften(np.asarray(cast, np.float32), zoom * scene.uniform(0.01, 0.03))
    return np.asarray(1 - scene.uniform(0.3, 0.6) * soft, np.float32)


def _expose(lit: Float, scene: np.random.Generator, hand: np.random.Generator) -> Bytes:
    """White balance, light fall-off, blur, exposure and sensor noise."""
    h, w = lit.shape[:2]
    lamp = _LAMPS[scene.choice(len(_LAMPS), p=_LAMP_ODDS)]
    gain = lamp * np.exp(scene.normal(0, 0.04, 3))
    light = 0.8 + 0.45 * noise(scene, (h, w), max(h, w))
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (h, w))
    vignette = 1 - scene.uniform(0, 0.3) * (x[None] ** 2 + y[:, None] ** 2) / 2
    photo = _blur(lit * (light * vignette)[..., None] * gain.astype(np.float32), hand)
    exposure = np.exp(scene.normal(0.02, 0.16) + hand.normal(0, 0.05))
    photo = np.clip(photo * np.float32(exposure), 0, None) ** np.float32(scene.uniform(0.85, 1.15))
    sigma = 10 ** scene.uniform(-2.4, -1.5)
    grains = hand.standard_normal(photo.shape, dtype=np.float32)
    photo += grains * np.float32(sigma) * np.sqrt(0.3 + np.clip(photo, 0, 1))
    return np.asarray(np.clip(photo * 255, 0, 255).round(), np.uint8)


def _blur(photo: Float, hand: np.random.Generator) -> Float:
    """Mostly sharp, sometimes out of focus, sometimes shaken."""
    reach = max(photo.shape[:2]) / 256
    kind = hand.random()
    if kind < 0.1:
        length = int(hand.integers(3, 7) * reach) | 1
        streak = np.zeros((length, length), np.float32)
        way = turn(hand.uniform(0, np.pi)) * length / 2
        middle = complex(length // 2, length // 2)
        ends = [(round(p.real), round(p.imag)) for p in (middle - way, middle + way)]
        cv2.line(streak, ends[0], ends[1], 1.0)
        return np.asarray(cv2.filter2D(photo, -1, streak / streak.sum()), np.float32)
    sigma = hand.uniform(0.8, 1.5) if kind < 0.26 else hand.uniform(0.25, 0.5)
    return soften(photo, sigma * reach)
