"""Answers for one photo: the decided class of every head, with probabilities and uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from cannabis_ml.inference.reading import in_words, sureness
from cannabis_ml.taxonomy import Head


@dataclass(frozen=True, eq=False)
class HeadAnswer:
    """The answer for one head.

    Attributes:
        head: Name, kind and classes.
        probs: float32 (K,) in class order, each in [0, 1], calibrated where the decision rule has
            calibrators; sum to 1 unless the head is multilabel.
        raw: The same before calibration.
        decided: The class; None where the decided class of the parent allows none. Of a multilabel
            head the list of its classes that are there.
        parent_decided: What is decided for the head's parent, if it has one.
        aleatoric: Uncertainty in nats that no further training photo would lessen, such as that of
            a blurred or ambiguous photo; of a multilabel head the mean over classes. None where
            the model file does not give it.
        epistemic: Uncertainty in nats that more training photos like this one would lessen; as
            `aleatoric`.
    """

    head: Head = field(repr=False)
    probs: np.ndarray
    raw: np.ndarray
    decided: str | list[str] | None
    parent_decided: str | list[str] | None = None
    aleatoric: float | None = None
    epistemic: float | None = None

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of `probs`."""
        return self.head.class_names

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the best first."""
        names, best = self.classes, self.probs.argsort(kind="stable")[::-1][:count]
        return [(names[i], float(self.probs[i])) for i in best]

    @property
    def probabilities(self) -> dict[str, float]:
        """By class, the shortest decimals that are the same float32."""
        return {c: shortest(p) for c, p in zip(self.classes, self.probs, strict=True)}

    @property
    def sureness(self) -> dict[str, float]:
        """How sure the class of an ordinal head is, see `reading.sureness`; empty for others."""
        if self.head.kind != "ordinal" or not isinstance(self.decided, str):
            return {}
        return sureness(self.head, self.probs, self.decided, self._limiting)

    @property
    def uncertainty(self) -> dict[str, float]:
        """Both parts by name; empty where the model file does not give them."""
        parts = {"aleatoric": self.aleatoric, "epistemic": self.epistemic}
        return {name: value for name, value in parts.items() if value is not None}

    def in_words(self, top: int = 3) -> list[str]:
        """For people: of an ordinal head what its answer stands on, else the `top` classes."""
        if self.head.kind == "ordinal" and isinstance(self.decided, str):
            return in_words(self.head, self.probs, self.decided, self._limiting)
        return [f"{name} {prob:.2f}" for name, prob in self.top(top)]

    @property
    def _limiting(self) -> str | None:
        return self.parent_decided if isinstance(self.parent_decided, str) else None

    def __str__(self) -> str:
        if isinstance(self.decided, list):
            return ", ".join(self.decided) or "none"
        return self.decided or "none"


class Answer(Mapping[str, HeadAnswer]):
    """The answer for one photo: a `HeadAnswer` by the name of each head.

    Attributes:
        tier: Name of the tier that answered, such as `tier1`; None of a lone model file whose
            card names none.
        runtime: What ran it: `litert`, `tensorflow` or `onnxruntime`.
        embedding: float32 (F,), the pooled features that the heads see; None where the model file
            does not give it, as with `attention`.
        attention: float32 (h, w), each in (0, 1), what the places of the photo's centre square
            weigh, the top left first.
    """

    def __init__(
        self,
        heads: Mapping[str, HeadAnswer],
        *,
        tier: str | None,
        runtime: str,
        embedding: np.ndarray | None = None,
        attention: np.ndarray | None = None,
    ) -> None:
        self._heads = dict(heads)
        self.tier = tier
        self.runtime = runtime
        self.embedding = embedding
        self.attention = attention

    def __getitem__(self, name: str) -> HeadAnswer:
        return self._heads[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)

    def as_json(self) -> dict[str, object]:
        """Plain data for JSON.

        Returns:
            tier; runtime; and heads: by name the `answer`, `probs` by class, of ordinal heads
            `or_better` and `within_one`, see `reading.sureness`, and, where the model file gives
            them, `aleatoric` and `epistemic`. Embedding and attention map are left out.
        """
        heads = {
            name: {
                "answer": head.decided,
                **head.sureness,
                **head.uncertainty,
                "probs": head.probabilities,
            }
            for name, head in self.items()
        }
        return {"tier": self.tier, "runtime": self.runtime, "heads": heads}

    def __str__(self) -> str:
        return "; ".join(f"{name}: {head}" for name, head in self.items())

    def __repr__(self) -> str:
        return f"Answer({self}, tier={self.tier!r}, runtime={self.runtime!r})"


def shortest(value: float | np.floating) -> float:
    """The shortest decimal that is the same float32."""
    return float(str(np.float32(value)))
