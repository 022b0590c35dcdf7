"""Tiers are listed once; one may be added or left out there, and every stage follows."""

import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline

from cannabis_ml.datasets.tier_name import TierNameDataset
from cannabis_ml.errors import ConfigError
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.pipeline_registry import STAGES, register_pipelines
from cannabis_ml.pipelines.export.params import TierExportParams
from cannabis_ml.tiers import TIERS, Tier, check_tiers, tier_named
from cannabis_ml.training.schedule import Schedule

PROJECT = Path(__file__).parents[1]
CONF = PROJECT / "conf"
ENVIRONMENTS = sorted(f.name for f in CONF.iterdir() if f.is_dir() and f.name != "local")

ALONE = (Tier("tier1", "phone"),)
PAIR = (Tier("tier1", "phone", teacher="tier3"), Tier("tier3", "server"))
CHAIN = (
    Tier("watch", "watch", teacher="tier1"),
    Tier("tier1", "phone", teacher="tier3"),
    Tier("tier3", "server"),
)


TIER_SETS = pytest.mark.parametrize(
    "tiers", [TIERS, ALONE, PAIR, CHAIN], ids=["all", "alone", "pair", "chain"]
)


def names(tiers):
    return {tier.name for tier in tiers}


def namespaces(datasets):
    """What stands before the dot in names of data sets; parameters of a stage are no tier's."""
    found = {name.partition(".")[0] for name in datasets if "." in name}
    return {name.removeprefix("params:") for name in found} - {"ingestion"}


@pytest.fixture(scope="module")
def catalog():
    loader = OmegaConfigLoader(
        conf_source=str(CONF),
        base_env="base",
        default_run_env="local",
        custom_resolvers={"project_path": lambda: str(PROJECT)},
    )
    return DataCatalog.from_config(loader["catalog"])


PER_TIER = {"planning", "training", "export", "calibration", "bundle", "gate"}


@TIER_SETS
def test_every_stage_has_the_tiers_that_are_listed(tiers):
    registered = register_pipelines(tiers)
    found = {stage: namespaces(registered[stage].datasets()) for stage in STAGES}
    assert found == {stage: names(tiers) if stage in PER_TIER else set() for stage in STAGES}


@TIER_SETS
def test_what_all_tiers_go_into_has_each_of_them(tiers):
    run = register_pipelines(tiers)["__default__"]
    ends = ("training.compare_tiers", "bundle.write_model_card", "bundle.assemble_bundle")
    for node in run.filter(node_names=ends).nodes:
        assert namespaces(node.inputs) == names(tiers), node.name


@TIER_SETS
def test_a_tier_that_is_added_needs_parameters_and_no_catalog_entry(tiers, catalog):
    run = register_pipelines(tiers)["__default__"]
    own = {f"params:{n}.{part}" for n in names(tiers) for part in ("model", "schedule", "export")}
    assert own <= run.inputs()
    taken = {name for name in run.inputs() if not name.startswith("params:")}
    assert [name for name in taken if name not in catalog] == []


@TIER_SETS
def test_a_tier_with_a_teacher_learns_from_its_predictions(tiers):
    training = register_pipelines(tiers)["training"]
    trained = {node.name: node for node in training.nodes if ".train_" in node.name}
    for tier in tiers:
        node = trained.pop(
            f"training.{tier.name}.{'train_student' if tier.teacher else 'train_model'}"
        )
        predictions = {name for name in node.inputs if name.endswith("predictions")}
        assert predictions == ({f"{tier.teacher}.predictions"} if tier.teacher else set())
    assert trained == {}


def test_a_stage_that_works_per_tier_costs_one_entry_in_the_registry(monkeypatch):
    """The stage is the example of the how-to."""
    how_to = (PROJECT / "docs/how-to/add-a-stage.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", how_to, re.DOTALL)
    stage = {"Any": Any, "Node": Node, "Pipeline": Pipeline, "TIERS": TIERS, "Tier": Tier}
    stage["summarize"] = lambda tier, predictions, params: None
    exec(textwrap.dedent(example), stage)
    monkeypatch.setitem(STAGES, "summary", SimpleNamespace(**stage))
    run = register_pipelines()["__default__"]
    added = run.filter(node_namespaces=["summary"])
    assert {node.name for node in added.nodes} == {
        f"summary.{tier.name}.summarize" for tier in TIERS
    }
    assert added.outputs() == {f"{tier.name}.summary" for tier in TIERS}
    assert added.inputs() == {"params:summary"} | {
        f"{tier.name}.{name}" for tier in TIERS for name in ("name", "predictions")
    }


def test_one_tier_of_one_stage_runs_alone():
    run = register_pipelines()["__default__"]
    for stage in ("training", "export", "calibration", "bundle"):
        for tier in TIERS:
            part = run.filter(node_namespaces=[f"{stage}.{tier.name}"])
            assert part.nodes
            assert all(node.name.startswith(f"{stage}.{tier.name}.") for node in part.nodes)


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        ((), "lists no tier"),
        (TIERS[:1], "tier1 is taught by tier3, which is not listed after it"),
        ((TIERS[2], TIERS[1]), "tier2 is taught by tier3, which is not listed after it"),
        ((Tier("a", "phone", teacher="a"),), "a is taught by a, which is not listed after it"),
        ((*TIERS, TIERS[2]), "tier3 is listed 2 times"),
    ],
)
def test_tiers_that_contradict_each_other_are_refused(tiers, said):
    with pytest.raises(ConfigError, match=said):
        register_pipelines(tiers)


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigError) as refused:
        check_tiers((TIERS[0], TIERS[0], TIERS[1]))
    assert len(str(refused.value).splitlines()) == 1 + 4


def test_a_node_gets_the_name_of_its_tier(catalog):
    assert [catalog.load(f"{tier.name}.name") for tier in TIERS] == [t.name for t in TIERS]
    run = register_pipelines()["__default__"]
    named = {node.name: set(node.inputs) for node in run.nodes}
    for tier in TIERS:
        kind = "train_student" if tier.teacher else "train_model"
        for step in (f"training.{tier.name}.{kind}", f"export.{tier.name}.export_float"):
            assert {n for n in named[step] if n.endswith(".name")} == {f"{tier.name}.name"}


def test_a_tier_that_is_not_listed_has_no_name():
    with pytest.raises(ConfigError, match=r"no tier 'tier9': tiers\.py lists tier1, tier2, tier3"):
        tier_named("tier9")
    with pytest.raises(ConfigError, match="no tier 'tier9'"):
        TierNameDataset(name="tier9")
    with pytest.raises(DatasetError, match="read-only"):
        TierNameDataset(name="tier1").save("tier2")


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_tier_has_sound_parameters_in_every_environment(env):
    written = {}
    for folder in ("base", env):
        for file in sorted((CONF / folder).glob("parameters_*.yml")):
            written = merged(written, yaml.safe_load(file.read_text("utf-8")) or {})
    for tier in TIERS:
        ModelParams.model_validate(written[tier.name]["model"])
        Schedule.model_validate(written[tier.name]["schedule"])
        TierExportParams.model_validate(written[tier.name]["export"])
