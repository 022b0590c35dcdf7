"""Which operators of a graph come after its last pooling, whatever the file's format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

POOLS = frozenset({"GlobalAveragePool", "ReduceMean", "AVERAGE_POOL_2D", "MEAN", "SUM"})
"""Operator types of ONNX and of TFLite."""


class Operator(NamedTuple):
    """An operator, with the names or numbers of its tensors."""

    kind: str
    inputs: Collection[Any]
    outputs: Collection[Any]


def from_pooling_on(operators: Sequence[Operator], stem: int, embedding: object) -> set[int]:
    """Operators from the last pooling up to the embedding, both included.

    As they see one place only, computing them in float32 costs next to nothing, and it keeps the
    embedding finer than 256 steps.

    Args:
        operators: In order of execution.
        stem: Position of the first layer with weights.
        embedding: Name or number of its tensor.

    Returns:
        Positions in `operators`; none where nothing is pooled between stem and embedding, as in a
        transformer with a class token.
    """
    before = {embedding}
    positions: set[int] = set()
    for position in reversed(range(len(operators))):
        operator = operators[position]
        if before & set(operator.outputs):
            positions.add(position)
            if operator.kind not in POOLS:
                before |= set(operator.inputs)
    return set() if stem in positions else positions
