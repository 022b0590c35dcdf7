"""The name of a tier in the catalog."""

from __future__ import annotations

from typing import NoReturn

from kedro.io import AbstractDataset, DatasetError

from cannabis_ml.tiers import tier_named


class TierNameDataset(AbstractDataset[str, str]):
    """The name of the tier whose namespace a node is in. Read-only.

    ```yaml
    "{tier}.name":
      type: cannabis_ml.datasets.tier_name.TierNameDataset
      name: "{tier}"
    ```

    Args:
        name: One of the names in `TIERS`.
        metadata: For plugins; Kedro ignores it.

    Raises:
        ConfigError: If there is no tier of that name.
    """

    def __init__(self, *, name: str, metadata: dict[str, object] | None = None) -> None:
        self._name = tier_named(name).name
        self.metadata = metadata

    def load(self) -> str:
        return self._name

    def save(self, data: str) -> NoReturn:
        raise DatasetError("TierNameDataset is read-only: names of tiers are set in tiers.py.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"name": self._name}
