"""One layer of a model file."""

from __future__ import annotations

from typing import NamedTuple

FEWEST = 1024
"""Weights below which a layer stays as it is, as by TensorFlow's own converter.

Small layers are first layers, whose errors go through all others: on EfficientNet-Lite0 one of 288
weights changed the outputs more than any other, to save a kilobyte.
"""


class Layer(NamedTuple):
    """A layer with weights.

    Attributes:
        name: Its path in the network, unique in the file.
        size: Bytes of its weights in float32.
    """

    name: str
    size: int
