"""The recipe of a run with a limit of minutes, in the catalog."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from cannabis_ml.datasets.typed_json import TypedJSONDataset

if TYPE_CHECKING:
    from cannabis_ml.training.recipe_choice import ChosenRecipe


class ChosenRecipeDataset(TypedJSONDataset):
    """What a run of so many minutes does; without minutes it changes nothing.

    Args:
        filepath: The `.json` file; the other arguments are those of `PathDataset`.
        minutes: That the run may take; None: any number.
    """

    def __init__(
        self, *, filepath: str | os.PathLike[str], minutes: float | None = None, **options: Any
    ) -> None:
        model = "cannabis_ml.training.recipe_choice.ChosenRecipe"
        super().__init__(filepath=filepath, model=model, **options)
        self._minutes = minutes

    def load(self) -> ChosenRecipe:
        """The stored recipe, if it is for as many minutes.

        Raises:
            DatasetError: If there is none for them.
        """
        if self._minutes is None:
            return self._class()()  # type: ignore[return-value]
        stored = self.stored()
        if stored is None or stored.minutes != self._minutes:
            found = f"that of the last run is for {_minutes(stored)}" if stored else "there is none"
            raise DatasetError(
                f"No recipe was chosen for {self._minutes:g} minutes ({found}).\nRun a pipeline"
                f" that chooses one: kedro run --pipeline=train --params minutes={self._minutes:g};"
                " or leave minutes out."
            )
        return stored

    def stored(self) -> ChosenRecipe | None:
        """The newest that is stored."""
        return super().load() if self._exists() else None  # type: ignore[return-value]

    def _describe(self) -> dict[str, object]:
        return {**super()._describe(), "minutes": self._minutes}


class EarlierRecipeDataset(ChosenRecipeDataset):
    """The same file as it was before this run; None where it is for other minutes. Read-only."""

    def load(self) -> ChosenRecipe | None:  # type: ignore[override]
        stored = None if self._minutes is None else self.stored()
        return stored if stored is not None and stored.minutes == self._minutes else None

    def save(self, data: object) -> None:
        raise DatasetError(f"{self._filepath} is read-only under this name.")


def _minutes(recipe: ChosenRecipe) -> str:
    return "any number" if recipe.minutes is None else f"{recipe.minutes:g}"
