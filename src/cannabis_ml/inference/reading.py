"""Confidence of an ordinal answer, in words that cannot contradict it.

The answer is the median (`Head.answer`), which need not be the most probable class: of A+ 0.44,
A 0.25 and B 0.31 it is A. Beside the most probable class it would look like a mistake. What it
stands on is that "A or better" is more likely than not, so that is what is reported.
"""

from __future__ import annotations

import numpy as np

from cannabis_ml.taxonomy import Head


def sureness(
    head: Head, probs: np.ndarray, answer: str, parent_answer: str | None = None
) -> dict[str, float]:
    """How probable it is that an ordinal answer is not too good, and that it is nearly right.

    Args:
        head: An ordinal head.
        probs: (K,), in class order, best first.
        answer: The decided class.
        parent_answer: The class of the head's parent, if that limits this head: classes that it
            does not allow then count no more.

    Returns:
        `or_better`, the probability of the answer or a better class, 1 for the worst class; and
        `within_one`, of the answer or one of its neighbors.
    """
    likely = _possible(head, np.asarray(probs, np.float64), parent_answer)
    k = head.class_names.index(answer)
    return {
        "or_better": float(min(1.0, likely[: k + 1].sum())),
        "within_one": float(min(1.0, likely[max(0, k - 1) : k + 2].sum())),
    }


def in_words(
    head: Head, probs: np.ndarray, answer: str, parent_answer: str | None = None
) -> list[str]:
    """`sureness` for a table: `["A or better 0.69", "A+ to B 0.95"]`.

    The best and the worst class have their own probability instead, as "or better" is trivial
    there; neighbors are left out where they are all the classes there are.

    Args:
        head: As for `sureness`.
        probs: As for `sureness`.
        answer: As for `sureness`.
        parent_answer: As for `sureness`.
    """
    names = head.class_names
    sure = sureness(head, probs, answer, parent_answer)
    k, last = names.index(answer), len(names) - 1
    if 0 < k < last:
        parts = [f"{answer} or better {sure['or_better']:.2f}"]
    else:
        own = _possible(head, np.asarray(probs, np.float64), parent_answer)[k]
        parts = [f"{answer} {own:.2f}"]
    best, worst = max(0, k - 1), min(last, k + 1)
    if (best, worst) != (0, last):
        parts.append(f"{names[best]} to {names[worst]} {sure['within_one']:.2f}")
    return parts


def _possible(head: Head, probs: np.ndarray, parent_answer: str | None) -> np.ndarray:
    """Probabilities given the parent's class; unchanged where that limits nothing."""
    allowed = (head.allowed or {}).get(parent_answer or "")
    if not allowed:
        return probs
    likely = np.where([name in allowed for name in head.class_names], probs, 0.0)
    return likely / likely.sum() if likely.sum() > 0 else probs
