"""Free old versions of catalog entries that nothing that is kept rests on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kedro.io import AbstractVersionedDataset, DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline

from cannabis_ml import lineage
from cannabis_ml.datasets.freeing import remove_versions, stored_bytes
from cannabis_ml.datasets.lineage import LineageDataset, RunVersions
from cannabis_ml.datasets.places import root_of


@dataclass(frozen=True)
class Entry:
    """A versioned entry of the catalog.

    Attributes:
        name: In the catalog.
        dataset: What loads it.
        versions: Those that are there, newest first.
        parents: Versioned entries that it is made from.
    """

    name: str
    dataset: AbstractVersionedDataset[Any, Any]
    versions: list[str]
    parents: list[str]


@dataclass
class Plan:
    """What is freed.

    Attributes:
        freed: Versions by entry, in the order in which they are freed: what is made from others
            goes before them.
        rested_on: Older versions by entry that stay because something that is kept rests on them.
        bytes: By entry, with its shards.
        records: Runs of which nothing is left.
    """

    freed: dict[str, list[str]] = field(default_factory=dict)
    rested_on: dict[str, list[str]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)


class Versions:
    """The versions of a catalog, and what each rests on.

    Entries of one folder, of which runs read one and write the other, are one entry: that which
    is written. Its last version is read to save work, or to count on from; what a run writes anew
    does not rest on it.

    Args:
        catalog: Has a `LineageDataset` as its entry `lineage`.
        *pipelines: Their nodes define what is made from what; those of what several make, all of
            it.
    """

    def __init__(self, catalog: DataCatalog, *pipelines: Pipeline) -> None:
        self._nodes = [node for pipeline in pipelines for node in pipeline.nodes]
        self._makers: dict[str, list[Node]] = {}
        for node in self._nodes:
            for name in node.outputs:
                self._makers.setdefault(name, []).append(node)
        kept = catalog[lineage.ENTRY]
        if not isinstance(kept, LineageDataset):
            raise DatasetError(
                f"'{lineage.ENTRY}' of the catalog is a {type(kept).__name__}, no LineageDataset:"
                " without it nobody knows what rests on what."
            )
        self.lineage = kept
        self._runs: Mapping[str, RunVersions] = kept.load()
        names = set(catalog.keys()).union(*(pipeline.datasets() for pipeline in pipelines))
        found = lineage.versioned(names, catalog)
        by_folder: dict[str, list[str]] = {}
        for name in sorted(found, key=lambda name: (name not in self._makers, name)):
            by_folder.setdefault(root_of(found[name]), []).append(name)
        self._names = {same[0]: same for same in by_folder.values()}
        self._entry_of = {name: same[0] for same in by_folder.values() for name in same}
        found = {name: found[name] for name in self._names}
        self.entries = {
            name: Entry(name, found[name], _versions(found[name]), self._parents(name))
            for name in self._in_order(found)
        }

    def plan(self, keep: int, registered: Collection[str] = ()) -> Plan:
        """Find out what can be freed.

        What stays: the newest versions of every entry, what the newest runs read, all of registered
        runs, and whatever any of it was made from.

        Args:
            keep: How many versions of every entry stay in any case, at least 1.
            registered: MLflow's ids of the runs whose models are registered.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}, but one version of every entry has to stay.")
        newest = {(e.name, version) for e in self.entries.values() for version in e.versions[:keep]}
        needed = self._rested_on(newest | set(self._of_runs(keep, registered)))
        plan = Plan()
        for entry in self.entries.values():
            older = entry.versions[keep:]
            stay = [version for version in older if (entry.name, version) in needed]
            free = [version for version in older if version not in stay]
            if stay:
                plan.rested_on[entry.name] = stay
            if free:
                plan.freed[entry.name] = free
            size = stored_bytes(entry.dataset, free)
            if size:
                plan.bytes[entry.name] = size
        left = {version for e in self.entries.values() for version in e.versions}
        left -= {v for v in left if all(self._goes(e, v, plan) for e in self.entries.values())}
        plan.records = [run for run in sorted(self._runs)[:-keep] if run not in left]
        return plan

    def free(self, plan: Plan) -> None:
        """Free what was found; interrupted at any moment, what is left is whole.

        Raises:
            StorageError: If another run is writing photos.
        """
        for entry in self.entries.values():
            remove_versions(entry.dataset, plan.freed.get(entry.name, []))
        for run in plan.records:
            self.lineage.remove(run)

    def _goes(self, entry: Entry, version: str, plan: Plan) -> bool:
        return version not in entry.versions or version in plan.freed.get(entry.name, [])

    def _of_runs(self, keep: int, registered: Collection[str]) -> Iterator[tuple[str, str]]:
        """What the newest runs read, of which one may be going on, and all of registered runs."""
        newest = sorted(self._runs)[-keep:]
        for name, run in self._runs.items():
            if name in newest or run.mlflow_run in registered:
                for entry, version in run.read.items():
                    yield self._entry_of.get(entry, entry), version
            if run.mlflow_run in registered:
                for entry in run.written:
                    yield self._entry_of.get(entry, entry), run.version

    def _rested_on(self, kept: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """These versions, and all that they were made from."""
        waiting, kept_versions = list(kept), set(kept)
        while waiting:
            name, version = waiting.pop()
            entry = self.entries.get(name)
            for parent in entry.parents if entry else []:
                new = {(parent, v) for v in self._read_from(parent, version)} - kept_versions
                kept_versions |= new
                waiting += new
        return kept_versions

    def _read_from(self, parent: str, version: str) -> list[str]:
        """The versions of a parent that what a run wrote may have been made from."""
        run = self._runs.get(version)
        if run is None:  # nobody knows: it cannot have been a later one
            return [older for older in self.entries[parent].versions if older <= version]
        read = run.version_of(parent)
        return [read] if read else []

    def _parents(self, name: str) -> list[str]:
        """The versioned entries nearest above, through what is not versioned."""
        waiting, seen, parents = [name], {name}, set()
        while waiting:
            makers = self._makers.get(waiting.pop(), [])
            for source in {source for maker in makers for source in maker.inputs} - seen:
                seen.add(source)
                if source in self._names:
                    parents.add(source)
                elif source not in self._entry_of:
                    waiting.append(source)
        return sorted(parents)

    def _in_order(self, names: Collection[str]) -> list[str]:
        """What is made from others before them."""
        made = [name for node in self._nodes for name in node.outputs]
        place: dict[str, int] = {}
        for number, name in enumerate(made):
            place.setdefault(name, number)
        return sorted(names, key=lambda name: (-place.get(name, len(made)), name))


def registered_runs() -> set[str]:
    """MLflow's ids of the runs whose models are in its registry."""
    from mlflow import MlflowClient

    client, token, runs = MlflowClient(), None, set()
    while True:
        page = client.search_model_versions(page_token=token)
        runs |= {version.run_id for version in page if version.run_id}
        token = page.token
        if not token:
            return runs


def _versions(dataset: AbstractVersionedDataset[Any, Any]) -> list[str]:
    return sorted(set(dataset.list_versions(full_path=False)), reverse=True)
