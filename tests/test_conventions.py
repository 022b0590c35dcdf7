"""What every registered pipeline keeps to, whoever adds one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.io import CatalogConfigResolver
from kedro.validation.type_extractor import TypeExtractor

from cannabis_ml.inference import bundle_reading, model_file
from cannabis_ml.pipeline_registry import AFTER_TRAINING, LOOP, STAGES
from cannabis_ml.tiers import TIERS

PROJECT = Path(__file__).parents[1]
LIGHT = {"ingestion", "balancing", "planning", "augmentation", "data", "feedback", "label_next"}
"""Pipelines that run without a training framework."""

TYPED = {"__default__", "data", "train", "retrain", "add_class", *LOOP}
"""What people type, besides the stages."""

HEAVY = ("torch", "torchvision", "timm", "lightning", "tensorflow")


@pytest.fixture(scope="module")
def registered():
    configure_project("cannabis_ml")
    return dict(pipelines)


@pytest.fixture(scope="module")
def catalog():
    loader = OmegaConfigLoader(
        conf_source=str(PROJECT / "conf"),
        base_env="base",
        default_run_env="local",
        custom_resolvers={"project_path": lambda: str(PROJECT)},
    )
    return CatalogConfigResolver(loader["catalog"])


def test_the_pipelines_that_people_type_are_there(registered):
    assert {*TYPED, *STAGES} <= set(registered)


def test_a_stage_that_is_added_is_checked_run_and_shown(registered):
    """Whatever the registry holds beside what people type is a stage, in its order."""
    assert list(STAGES) == [name for name in registered if name not in TYPED]
    everything = {node.name for name in STAGES for node in registered[name].nodes}
    assert {node.name for node in registered["__default__"].nodes} == everything
    packages = (PROJECT / "src" / "cannabis_ml" / "pipelines").glob("*/pipeline.py")
    assert {*STAGES, *LOOP} == {package.parent.name for package in packages}


def test_every_step_is_inside_the_box_of_its_stage(registered):
    for stage in STAGES:
        for node in registered[stage].nodes:
            assert node.namespace.split(".")[0] == stage
    assert all(node.namespace for node in registered["__default__"].nodes)


def test_data_sets_keep_their_names_whatever_the_box(registered):
    for stage, module in STAGES.items():
        assert registered[stage].datasets() == module.create_pipeline().datasets()


RUN = ("__default__", "retrain", "add_class", *LOOP)


@pytest.mark.parametrize("name", RUN)
def test_every_node_has_a_name_of_its_own_and_a_docstring(registered, name):
    for node in registered[name].nodes:
        assert node.func.__doc__, f"{node.name} has no docstring"
        assert node._name, f"{node.func.__name__} has no name of its own"
        assert node.func.__name__ != "<lambda>"


@pytest.mark.parametrize("name", RUN)
def test_parameters_are_checked_before_any_node_runs(registered, name):
    types = TypeExtractor({"all": registered[name]}).extract_types_from_pipelines()
    taken = {n for n in registered[name].inputs() if n.startswith("params:")}
    assert {f"params:{name}" for name in types} == taken


def test_what_crosses_stages_is_in_the_catalog(registered, catalog):
    made = {name: registered[name].all_outputs() for name in (*STAGES, *LOOP)}
    for taker in made:
        taken = {n for n in registered[taker].inputs() if not n.startswith("params:")}
        for name in taken:
            makers = [stage for stage in made if name in made[stage]]
            assert catalog.match_dataset_pattern(name) or name in catalog.config, (
                f"'{name}', made by {makers or 'nobody'} for {taker}, is not in the catalog"
            )


@pytest.mark.parametrize("pipeline", RUN)
def test_every_end_result_is_kept(registered, catalog, pipeline):
    for name in registered[pipeline].outputs():
        assert catalog.match_dataset_pattern(name) or name in catalog.config, f"'{name}' is lost"


def test_advice_names_pipelines_that_are_there_and_make_what_is_missing(registered):
    files = [*(PROJECT / "src").rglob("*.py"), *(PROJECT / "conf").rglob("*.yml")]
    texts = "\n".join(file.read_text(encoding="utf-8") for file in [*files, PROJECT / "README.md"])
    groups = re.findall(r"--pipelines?=([\w,]+)", texts)
    named = {name for group in groups for name in group.split(",")} - {"NAME"}
    assert {"training", "bundle"} <= named <= set(registered)
    made = {name: registered[name].all_outputs() for name in named}
    for module, output in ((bundle_reading, "bundle"), (model_file, "tier1.models")):
        advice = Path(module.__file__).read_text(encoding="utf-8")
        for name in re.findall(r"kedro run --pipeline=(\w+)", advice):
            assert output in made[name], f"{module.__name__} sends to {name} for a {output}"


def test_what_people_open_is_versioned(catalog):
    for name, entry in catalog.config.items():
        if "08_reporting" in entry.get("filepath", ""):
            assert entry.get("versioned"), f"'{name}' would be overwritten by the next run"


def test_metrics_of_one_tier_do_not_overwrite_those_of_another(catalog):
    logged = {
        name: entry["metadata"]["mlflow"]["metrics"]
        for name, entry in catalog._dataset_patterns.items()
        if "metrics" in entry["metadata"].get("mlflow", {})
    }
    assert {"{tier}.test_metrics", "{tier}.parity", "{tier}.latency"} <= set(logged)
    for name, prefix in logged.items():
        assert prefix.startswith("{tier}."), name


LIVING = {
    *("source_photos", "unlabelled_photos", "split_ledger", "split_ledger_before", "lineage"),
    *("champion", "promotion", "{tier}.workspace", "{tier}.champion_start", "feedback_photos"),
    *("vetted_photos", "judged_answers", "annotators", "proposed_classes"),
    *("photos_seen", "index_workspace"),
}
"""Entries on disk that one run takes over from another: no version of them is a run's own."""

REMADE = {"photo_index", "checked_photos", "grouped_photos", "divided_photos"}
"""What ingestion needs between its own steps, and nothing after it."""


def test_what_a_model_rests_on_is_versioned(registered, catalog):
    entries = {**catalog.config, **catalog._dataset_patterns}
    on_disk = {name for name, entry in entries.items() if "filepath" in entry}
    unversioned = {name for name in on_disk if not entries[name].get("versioned")}
    assert unversioned <= LIVING | REMADE
    later = [node for name in STAGES if name != "ingestion" for node in registered[name].nodes]
    assert not REMADE & {name for node in later for name in node.inputs}


def test_every_entry_has_a_layer_for_kedro_viz(catalog):
    patterns = {**catalog.config, **catalog._dataset_patterns}
    for name, entry in patterns.items():
        assert entry["metadata"]["kedro-viz"]["layer"], name


@pytest.mark.slow
def test_listing_pipelines_imports_nothing_heavy():
    listing = (
        "import sys; from kedro.framework.startup import bootstrap_project as start;"
        f"start({str(PROJECT)!r});"
        "from kedro.framework.project import pipelines; list(pipelines.items());"
        f"print([m for m in {(*HEAVY, 'scipy.stats', 'sklearn')} if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert told.stdout.strip().splitlines()[-1] == "[]"


def test_light_pipelines_name_nothing_heavy(registered):
    for name in LIGHT:
        for node in registered[name].nodes:
            module = sys.modules[node.func.__module__]
            heavy = [m for m in HEAVY if m in vars(module)]
            assert heavy == [], f"{node.name} of {name} imports {heavy}"


def test_text_is_written_and_read_as_utf8_whatever_the_locale(registered, catalog):
    names = (n for n in registered["__default__"].datasets() if not n.startswith("params:"))
    configs = {name: catalog.resolve_pattern(name) for name in names}
    texts = {
        name: config
        for name, config in configs.items()
        if config["type"].endswith("TextDataset")
        or config.get("save_args", {}).get("ensure_ascii") is False
    }
    assert {"model_card", "ingestion_report"} <= set(texts)
    for name, config in texts.items():
        for way in ("open_args_load", "open_args_save"):
            assert config["fs_args"][way]["encoding"] == "utf-8", name


def test_retraining_starts_from_the_champion_and_does_all_that_a_run_does(registered):
    everything, retrain = registered["__default__"], registered["retrain"]
    assert everything.all_outputs() <= retrain.all_outputs()
    for tier in TIERS:
        assert f"{tier.name}.start" not in retrain.datasets()
        assert f"{tier.name}.champion_start" in retrain.inputs()


def test_adding_a_class_trains_no_backbone_and_ends_with_the_champion(registered):
    stages = {node.namespace.split(".")[0] for node in registered["add_class"].nodes}
    assert stages == {"ingestion", "augmentation", "add_class", *AFTER_TRAINING}
    assert {"bundle", "promotion", "tier1.closed_form"} <= registered["add_class"].all_outputs()


def test_options_of_data_sets_have_no_key_that_kedro_takes_for_a_path(registered, catalog):
    """In `load_args: {dtype: {path: str}}` Kedro makes of `str` a file of the project."""

    def keys(options):
        for key, value in options.items():
            yield key
            if isinstance(value, dict):
                yield from keys(value)

    names = set().union(*(pipeline.datasets() for pipeline in registered.values()))
    for name in sorted(names):
        config = None if name.startswith("params:") else catalog.resolve_pattern(name)
        for way in ("load_args", "save_args"):
            found = set(keys((config or {}).get(way) or {}))
            assert not found & {"path", "filepath", "filename"}, name
