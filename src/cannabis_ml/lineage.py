"""Lineage: which versions of catalog entries a run reads and writes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.io.core import VersionNotFoundError
from kedro.pipeline import Pipeline

from cannabis_ml.datasets.chosen_recipe import EarlierRecipeDataset
from cannabis_ml.datasets.lineage import RunVersions

ENTRY = "lineage"
"""The catalog entry that keeps what every run read and wrote."""

CHAMPION_START = ".champion_start"
"""How entries end that hold the champion's weights of a tier."""

GATE = "gate"
"""The stage that promotes what a run made."""


def versioned(
    names: set[str], catalog: DataCatalog
) -> dict[str, AbstractVersionedDataset[Any, Any]]:
    """Those of the names that are versioned entries, in order.

    Without the recipe as it was before the run: it is written anew in any case, so nothing rests on
    what it was.
    """
    entries = {name: catalog.get(name) for name in sorted(names) if not is_parameter(name)}
    return {
        name: dataset
        for name, dataset in entries.items()
        if isinstance(dataset, AbstractVersionedDataset)
        and dataset._version is not None
        and not isinstance(dataset, EarlierRecipeDataset)
    }


def is_parameter(name: str) -> bool:
    """Whether a data set of a pipeline is a parameter."""
    return name == "parameters" or name.startswith("params:")


def planned(version: str, pipeline: Pipeline, catalog: DataCatalog) -> RunVersions:
    """What a run is going to read and to write.

    Args:
        version: What all that the run writes is called.
        pipeline: What it runs.
        catalog: Knows which versions are there, and which were asked for.
    """
    read = {}
    free = pipeline.inputs()
    for name, dataset in versioned(_loaded(pipeline), catalog).items():
        if name in free or (dataset._version and dataset._version.load):
            try:
                read[name] = str(dataset.resolve_load_version())
            except VersionNotFoundError:  # the run fails where it wants to read it
                continue
    written = sorted(versioned(pipeline.all_outputs(), catalog))
    starts = [catalog[name] for name in sorted(free) if name.endswith(CHAMPION_START)]
    from cannabis_ml.datasets.champion import ChampionStartDataset  # opens bundles

    champion = next((s.bundle_id for s in starts if isinstance(s, ChampionStartDataset)), None)
    return RunVersions(version=version, read=read, written=written, champion=champion)


def remake_command(
    run: RunVersions,
    pipeline: Pipeline,
    registered: Mapping[str, Pipeline],
    catalog: DataCatalog,
    run_params: Mapping[str, Any],
) -> str | None:
    """The command that makes the models of a run again, whatever became of the photos since.

    It begins where photos are ready for training, and names the version of all that is read there.
    It ends before the gate: what is made again does not ask to be champion.

    Args:
        run: What the run reads and writes.
        pipeline: What it runs.
        registered: Pipelines by name; `data` gets photos ready.
        catalog: Knows what is versioned.
        run_params: As Kedro gives them to hooks.

    Returns:
        None where the run only gets photos ready.
    """
    left_out = {node.name for node in registered["data"].nodes}
    left_out |= {node.name for node in registered[GATE].nodes} if GATE in registered else set()
    models = Pipeline([node for node in pipeline.nodes if node.name not in left_out])
    if not models.nodes:
        return None
    stages = list(dict.fromkeys(str(node.namespace).split(".")[0] for node in models.nodes))
    if run.champion:  # stages by themselves start from elsewhere
        stages = list(run_params.get("pipeline_names") or stages)
    names = sorted(versioned(models.inputs(), catalog))
    pairs = {name: run.version_of(name) for name in names}
    parts = [f"--pipelines={','.join(stages)}"]
    if {node.name for node in models.nodes} != {
        node.name for stage in stages for node in registered[stage].nodes
    }:
        parts.append(f"--nodes={','.join(node.name for node in models.nodes)}")
    parts.append(f"--load-versions={','.join(f'{n}:{v}' for n, v in pairs.items() if v)}")
    if run_params.get("env"):
        parts.append(f"--env={run_params['env']}")
    typed = dict(_flat(run_params.get("runtime_params") or {}))
    if run.champion:
        typed["champion"] = run.champion
    if typed:
        parts.append(f"--params={','.join(f'{name}={value}' for name, value in typed.items())}")
    return shlex.join(["kedro", "run", *parts])


def _loaded(pipeline: Pipeline) -> set[str]:
    return {name for node in pipeline.nodes for name in node.inputs}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
