"""Gain of distillation: a student compared with its teacher, and with training without one."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from cannabis_ml.evaluation.scores import HeadScores, Record
from cannabis_ml.evaluation.tables import value_of

METRICS = ("accuracy", "macro_f1")
"""By which students are compared."""


class Gain(Record):
    """One metric of teacher and student; None where it is not known."""

    teacher: float | None
    with_teacher: float | None
    without_teacher: float | None
    gain: float | None = Field(description="`with_teacher` less `without_teacher`")


class DistillationReport(Record):
    """Gain of distillation for one student."""

    split: str = Field(description="That scores are of")
    weight: float = Field(description="Share of the loss that is the teacher's")
    temperature: float
    heads: dict[str, dict[str, Gain]] = Field(description="By head and metric")


def compare_students(
    teacher: Mapping[str, HeadScores],
    with_teacher: Mapping[str, HeadScores],
    without_teacher: Mapping[str, HeadScores] | None = None,
) -> dict[str, dict[str, Gain]]:
    """Compare a student with its teacher, and with itself trained without one.

    Args:
        teacher: Its scores by head, on the same photos as the others.
        with_teacher: Those of the student.
        without_teacher: Those of the student trained on labels alone, all else equal; None if
            there is none.

    Returns:
        By head and metric.
    """
    return {
        head: {
            metric: _gain(
                value_of(teacher[head], metric),
                value_of(with_teacher[head], metric),
                value_of(without_teacher[head], metric) if without_teacher else None,
            )
            for metric in METRICS
        }
        for head in teacher
    }


def _gain(teacher: float | None, taught: float | None, untaught: float | None) -> Gain:
    gain = None if taught is None or untaught is None else taught - untaught
    return Gain(teacher=teacher, with_teacher=taught, without_teacher=untaught, gain=gain)
