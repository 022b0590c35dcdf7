"""What a run with a limit of minutes took, beside what was foreseen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kedro.framework.hooks import hook_impl

from cannabis_ml._io.terminal import literal_console

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from cannabis_ml.training.recipe_choice import ChosenRecipe

CHOSEN, CHOICE = "chosen_recipe", "planning.choose_recipe"


class MinutesHook:
    """Prints the minutes of every stage after a run that chose a recipe and made a bundle."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        self._nodes: dict[str, float] = {}
        self._node, self._last, self._chosen_at, self._total = "", time.monotonic(), 0.0, 0.0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        self._next(node.name)

    @hook_impl
    def after_dataset_saved(self) -> None:
        self._next(self._node)
        if self._node == CHOICE:
            self._chosen_at = self._total

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        self._next(self._node)
        if not {CHOSEN, "bundle"} <= pipeline.all_outputs():
            return
        chosen: ChosenRecipe = catalog.load(CHOSEN)
        if chosen.minutes is not None:
            console = literal_console()
            console.print(f"\nMinutes, of {chosen.minutes:g} that were given", style="bold")
            for line in self.lines(chosen):
                console.print(line, soft_wrap=True)

    def lines(self, chosen: ChosenRecipe) -> list[str]:
        """A line per stage: what was foreseen, what it took."""
        taken = self._by_stage(chosen)
        foreseen = {stage.name: stage.seconds for stage in chosen.stages}
        foreseen["together"] = sum(foreseen.values())
        taken["together"] = sum(taken.values())
        width = max(map(len, foreseen))
        head = f"  {'':<{width}}  foreseen   taken"
        return [
            head,
            *(
                f"  {name:<{width}}  {seconds / 60:>8.1f}  {taken.get(name, 0.0) / 60:>6.1f}"
                for name, seconds in foreseen.items()
            ),
        ]

    def _by_stage(self, chosen: ChosenRecipe) -> dict[str, float]:
        taken = {"so far": self._chosen_at, "after training": 0.0}
        later = self._total - self._chosen_at
        for name, seconds in self._nodes.items():
            stage, *inner = name.split(".")
            trains = inner[-1:] and inner[-1].startswith(("train_", "add_", "predict_"))
            if stage == "augmentation":
                taken["augmented copies"] = taken.get("augmented copies", 0.0) + seconds
            elif stage == "training" and trains and inner[0] in chosen.tiers:
                taken[inner[0]] = taken.get(inner[0], 0.0) + seconds
        before = sum(v for k, v in taken.items() if k not in ("so far", "after training"))
        taken["after training"] = max(0.0, later - before)
        return taken

    def _next(self, node: str) -> None:
        now = time.monotonic()
        self._nodes[self._node] = self._nodes.get(self._node, 0.0) + now - self._last
        self._total += now - self._last
        self._node, self._last = node, now
