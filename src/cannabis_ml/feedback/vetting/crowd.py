"""Answers of many people to many tasks, as arrays that do not depend on the order of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Votes:
    """Who chose which class in which task; sorted by task and person, each pair once.

    A task is one question on one photo: a head, or one attribute of a multilabel head.

    Attributes:
        task: int64 (V,), 0 to `tasks` - 1.
        person: int64 (V,), 0 to `people` - 1.
        label: int64 (V,), 0 to `classes` - 1.
        weight: float64 (V,), in [0, 1]: exponent of the vote's likelihood.
        tasks: Number of tasks, with votes or without.
        people: Number of people.
        classes: Number of classes, K.
    """

    task: np.ndarray
    person: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    tasks: int
    people: int
    classes: int

    def __post_init__(self) -> None:
        pairs = self.task * max(self.people, 1) + self.person
        if len(pairs) and (np.diff(pairs) <= 0).any():
            raise ValueError("votes are not sorted by task and person, or a pair is there twice")

    @classmethod
    def sort(
        cls,
        columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        sizes: tuple[int, int, int],
    ) -> Votes:
        """Sort votes by task and person.

        Args:
            columns: Task, person, label and weight of each vote, (V,).
            sizes: Number of tasks, people and classes.

        Raises:
            ValueError: If a person votes twice on a task.
        """
        task, person, label, weight = columns
        order = np.lexsort((person, task))
        return cls(
            np.asarray(task, np.int64)[order],
            np.asarray(person, np.int64)[order],
            np.asarray(label, np.int64)[order],
            np.asarray(weight, np.float64)[order],
            *sizes,
        )

    def __len__(self) -> int:
        return len(self.task)


class Sums:
    """Sums of rows that belong together, always added in the same order."""

    def __init__(self, which: np.ndarray, groups: int) -> None:
        """Prepare sums over `which`, int64 (V,), 0 to `groups` - 1."""
        self._order = np.argsort(which, kind="stable")
        counts = np.bincount(which, minlength=groups)
        self._found = np.flatnonzero(counts)
        self._starts = (counts.cumsum() - counts)[self._found]
        self._groups = groups

    def of(self, values: np.ndarray) -> np.ndarray:
        """Sum `values`, (V, M), to (groups, M); zeros where nothing belongs."""
        sums = np.zeros((self._groups, values.shape[1]))
        if len(self._starts):
            sums[self._found] = np.add.reduceat(values[self._order], self._starts, axis=0)
        return sums
