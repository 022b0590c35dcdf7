"""Backgrounds, chosen independently of the subject."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cannabis_ml.sample_photos.canvas import Color, Float, fractal, noise, pick, soften, turn

Shape = tuple[int, int]


def draw_backdrop(rng: np.random.Generator, shape: Shape) -> Float:
    """A backdrop (H, W, 3) in 0..255."""
    draw = _BACKDROPS[rng.integers(len(_BACKDROPS))]
    return np.clip(draw(rng, shape), 0, 255).astype(np.float32)


def _tinted(color: Color, tone: Float) -> Float:
    return (color.astype(np.float32) * tone[..., None]).astype(np.float32)


def _mesh(shape: Shape, angle: float) -> tuple[Float, Float]:
    """Coordinates along and across a direction, in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    c, s = np.cos(angle), np.sin(angle)
    return (x * c + y * s).astype(np.float32), (y * c - x * s).astype(np.float32)


def _wood(rng: np.random.Generator, shape: Shape) -> Float:
    woods = ((150, 108, 66), (112, 76, 46), (196, 160, 112), (84, 60, 44), (120, 110, 96))
    color = pick(rng, woods)
    h, w = shape
    grain = cv2.resize(fractal(rng, (h, max(w // 12, 8)), 9, 3), (w, h))
    rings = 0.5 + 0.5 * np.sin(55 * grain)
    plank = np.arange(h) % max(int(h * rng.uniform(0.25, 0.6)), 8) < 2
    tone = (0.72 + 0.3 * grain + 0.14 * rings) * (1 - 0.5 * plank[:, None])
    tone = np.asarray(tone, np.float32)
    return _tinted(color, tone if rng.random() < 0.5 or h != w else tone.T)


def _slate(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((58, 62, 68), (40, 42, 46), (90, 92, 96)))
    flakes = fractal(rng, shape, shape[0] / 6, 5)
    ridge = np.abs(fractal(rng, shape, shape[0] / 4, 3) - 0.5) < 0.012
    return _tinted(color, 0.6 + 0.8 * flakes + 0.15 * ridge)


def _fabric(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((70, 84, 120), (150, 60, 56), (176, 170, 156), (60, 70, 62), (190, 150, 60)))
    along, across = _mesh(shape, rng.uniform(0, np.pi))
    pitch = rng.uniform(0.8, 1.6)
    weave = np.sin(along * pitch) * np.sin(across * pitch)
    folds = noise(rng, shape, shape[0] / 3)
    return _tinted(color, 0.65 + 0.14 * weave + 0.6 * folds)


def _paper(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((238, 236, 230), (214, 206, 190), (240, 240, 244), (200, 206, 214)))
    return _tinted(color, 0.86 + 0.14 * noise(rng, shape, shape[0]) + 0.03 * noise(rng, shape, 2))


def _parchment(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((230, 218, 190), (206, 178, 134), (236, 232, 220)))
    creases = np.abs(fractal(rng, shape, shape[0] / 3, 4) - 0.5)
    return _tinted(color, np.float32(0.74) + np.clip(creases * 2.2, 0, 0.3))


def _palm(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((224, 176, 148), (190, 138, 106), (128, 86, 62), (92, 60, 44)))
    along, across = _mesh(shape, rng.uniform(0, np.pi))
    warp = 60 * noise(rng, shape, shape[0] / 2)
    lines = np.clip(1 - np.abs(np.sin((across + warp) * rng.uniform(0.012, 0.02))) * 14, 0, 1)
    round_off = 1 - 0.5 * (along / max(shape) - 0.5) ** 2
    return _tinted(color, round_off * (0.82 + 0.25 * fractal(rng, shape, 40, 4)) - 0.18 * lines)


def _tent(rng: np.random.Generator, shape: Shape) -> Float:
    """Out-of-focus greenery and lamps."""
    color = pick(rng, ((46, 72, 44), (40, 44, 40), (90, 96, 84), (60, 44, 76)))
    scene = _tinted(color, 0.4 + 1.2 * noise(rng, shape, shape[0] / 5))
    for _ in range(int(rng.integers(3, 14))):
        at = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        light = pick(rng, ((120, 160, 90), (230, 220, 190), (190, 110, 200), (80, 120, 70)))
        cv2.circle(scene, at, int(rng.uniform(0.02, 0.09) * shape[0]), light.tolist(), -1)
    return soften(scene, shape[0] / 60)


def _squared(rng: np.random.Generator, shape: Shape) -> Float:
    """Graph paper, a scale's pan or a cutting mat."""
    dark = rng.random() < 0.35
    mat, paper = ((44, 84, 70), (40, 48, 70)), ((240, 240, 236), (226, 232, 238))
    color = pick(rng, mat if dark else paper)
    along, across = _mesh(shape, rng.uniform(-0.4, 0.4))
    pitch = shape[0] / rng.uniform(10, 22)
    lines = (np.mod(along, pitch) < 1.4) | (np.mod(across, pitch) < 1.4)
    strong = (np.mod(along, 5 * pitch) < 2.4) | (np.mod(across, 5 * pitch) < 2.4)
    ink = (0.25 * lines + 0.2 * strong) * (-1 if dark else 1)
    return _tinted(color, 0.92 - ink + 0.08 * noise(rng, shape, shape[0] / 2))


def _steel(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((168, 172, 178), (120, 124, 130), (200, 200, 200)))
    h, w = shape
    brushed = cv2.resize(noise(rng, (h, max(w // 40, 4)), 1.5), (w, h))
    along, _ = _mesh(shape, rng.uniform(0, np.pi))
    band = 0.12 * np.sin(along / max(shape) * rng.uniform(4, 9))
    return _tinted(color, 0.8 + 0.2 * brushed + band)


def _soil(rng: np.random.Generator, shape: Shape) -> Float:
    color = pick(rng, ((78, 58, 42), (50, 40, 34), (120, 96, 72), (96, 100, 74)))
    scene = _tinted(color, 0.35 + 1.3 * fractal(rng, shape, 14, 3))
    for _ in range(int(rng.integers(20, 90))):
        at = complex(rng.uniform(0, shape[1]), rng.uniform(0, shape[0]))
        end = at + rng.uniform(4, 16) * turn(rng.uniform(0, 2 * np.pi))
        tint = (color * rng.uniform(0.6, 1.9)).tolist()
        start, stop = ((int(p.real), int(p.imag)) for p in (at, end))
        cv2.line(scene, start, stop, tint, int(rng.integers(1, 4)))
    return scene


_BACKDROPS: tuple[Callable[[np.random.Generator, Shape], Float], ...] = (
    _wood,
    _slate,
    _fabric,
    _paper,
    _parchment,
    _palm,
    _tent,
    _squared,
    _steel,
    _soil,
)
