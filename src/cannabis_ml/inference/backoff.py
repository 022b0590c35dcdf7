"""Back-off: where a head is unsure and its parent is not, the answer is the parent's."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

UNSURE = -1
"""Depth at which nothing is answered."""


class BackOff(BaseModel):
    """From which confidence on a head of a chain answers; it travels with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: list[str] = Field(min_length=1, description="A head, its child, that one's child, …")
    threshold: float | None = Field(
        allow_inf_nan=False, description="Least confidence that answers; None answers nothing"
    )
    alpha: float = Field(gt=0, lt=1, description="How often an answer may be on a wrong branch")
    groups: int = Field(ge=0, description="Groups of photos that the threshold rests on")

    def depth(self, confidence: np.ndarray) -> np.ndarray:
        """The deepest head that is sure enough.

        Args:
            confidence: Calibrated, of each head's answer, (N, L) in the order of `heads`; NaN where
                a head has no answer.

        Returns:
            int64 (N,), 0 to L - 1; `UNSURE` where not even the first is.
        """
        confidence = np.asarray(confidence, np.float64)
        if self.threshold is None:
            return np.full(len(confidence), UNSURE, np.int64)
        sure = confidence >= self.threshold
        levels = confidence.shape[1]
        deepest = levels - 1 - sure[:, ::-1].argmax(axis=1)
        return np.where(sure.any(axis=1), deepest, UNSURE).astype(np.int64)
