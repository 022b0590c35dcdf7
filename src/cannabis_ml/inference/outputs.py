"""Names and meanings of all that a model file gives.

| output | shape | meaning |
|---|---|---|
| `{head}` | (N, K) | probabilities, in the order of the taxonomy's classes |
| `embedding` | (N, F) | pooled features that the heads see |
| `{head}.aleatoric` | (N,) | mean entropy of the ensemble's members, in nats |
| `{head}.epistemic` | (N,) | mutual information of answer and member, in nats |
| `attention` | (N, h, w) | weight of every place of the feature map, in (0, 1) |
| `{head}.given` | (N, P, K) | probabilities for each class of the parent that limits the head |

All are float32, of quantized files too. What a network cannot give is absent, and the file's card
gives the reason: uncertainties need several members per head, attention needs a feature map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.taxonomy import Taxonomy

EMBEDDING = "embedding"
ATTENTION = "attention"
ALEATORIC = ".aleatoric"
"""Ends the name of the output with a head's aleatoric uncertainty."""
EPISTEMIC = ".epistemic"
"""Ends the name of the output with a head's epistemic uncertainty."""

GIVEN = ".given"
"""Ends the name of the output with a head's probabilities for each class of its parent."""

_MEANINGS = {
    EMBEDDING: "pooled features that the heads see",
    ATTENTION: "weight of every place of the feature map, in (0, 1), top left first",
    ALEATORIC: "aleatoric uncertainty: mean entropy of the members, in nats",
    EPISTEMIC: "epistemic uncertainty: mutual information of answer and member, in nats",
    GIVEN: "probabilities for each class of the parent, 0 where that does not allow the class",
}
_PROBABILITIES = "probabilities, in the order of the taxonomy's classes"


class Output(BaseModel):
    """One output of a model file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...] = Field(description="Without the first dimension, N")
    meaning: str


def output_names(taxonomy: Taxonomy, *, members: int, attention: bool) -> list[str]:
    """Names of all outputs, in their order.

    Args:
        taxonomy: Gives the heads.
        members: Of every head.
        attention: Whether the network has attention over a feature map.

    Raises:
        TaxonomyError: If a head has the name of another output.
    """
    heads = [head.name for head in taxonomy.heads]
    names = [*heads, EMBEDDING]
    if members > 1:
        names += [name + part for name in heads for part in (ALEATORIC, EPISTEMIC)]
    if attention:
        names.append(ATTENTION)
    names += [
        head.name + GIVEN
        for head in taxonomy.heads
        if head.kind != "multilabel" and taxonomy.limits(head)
    ]
    reserved = [] if attention else [ATTENTION]
    twice = [name for name, count in Counter([*names, *reserved]).items() if count > 1]
    if twice:
        raise TaxonomyError(
            f"{', '.join(map(repr, twice))}: no head may have the name of another output of the"
            " model file. Rename it in the taxonomy and in the labels."
        )
    return names


def described(taxonomy: Taxonomy, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Output]:
    """The entries of a file's card for its outputs.

    Args:
        taxonomy: Gives the heads.
        shapes: By output, without the first dimension.
    """
    heads = {head.name for head in taxonomy.heads}
    return {
        name: Output(shape=shape, meaning=_PROBABILITIES if name in heads else _meaning(name))
        for name, shape in shapes.items()
    }


def absent(*, members: int, attention: bool) -> dict[str, str]:
    """Why a file lacks outputs, by their names.

    Args:
        members: As for `output_names`.
        attention: As for `output_names`.
    """
    reasons: dict[str, str] = {}
    if members == 1:
        one = "heads have one member each; their uncertainty has no parts (model.ensemble)"
        reasons |= {"{head}" + ALEATORIC: one, "{head}" + EPISTEMIC: one}
    if not attention:
        reasons[ATTENTION] = (
            "the network has none: model.attention is off, or its backbone has no feature map"
        )
    return reasons


def output_faults(
    expected: Mapping[str, Output], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    """Where the outputs of a file differ from its card.

    Args:
        expected: From the card.
        shapes: Of the file's outputs without the first dimension, 0 where it is not fixed.
    """
    for name, output in expected.items():
        if name not in shapes:
            yield f"'{name}' is missing"
        elif not _fits(shapes[name], output.shape):
            yield f"'{name}' is {list(shapes[name])} per photo, not {list(output.shape)}"


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        n in (0, size) for n, size in zip(shape, wanted, strict=True)
    )


def relative_difference(theirs: np.ndarray, ours: np.ndarray | None) -> float:
    """Largest |difference|, by the largest value of `theirs` where that is above 1.

    Args:
        theirs: What is expected.
        ours: What is compared with it; infinity is returned where it is None or of another shape.
    """
    if ours is None or ours.shape != theirs.shape:
        return float("inf")
    if not theirs.size:
        return 0.0
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


def _meaning(name: str) -> str:
    ending = next((end for end in (ALEATORIC, EPISTEMIC, GIVEN) if name.endswith(end)), name)
    return _MEANINGS[ending]
