"""Sizes that do not fit together end a run before it begins."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, MemoryDataset

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import ConfigError
from cannabis_ml.pipeline_registry import register_pipelines
from cannabis_ml.sizes import sizes_of_run
from cannabis_ml.tiers import TIERS

PROJECT = Path(__file__).parents[1]
ENVIRONMENTS = sorted(f.name for f in (PROJECT / "conf").iterdir() if f.is_dir())


@pytest.fixture(scope="module")
def registered():
    return register_pipelines()


def _catalog(parameters, **source):
    """What a run's catalog holds: parameters, and the parameters within them."""
    found = {f"params:{name}": MemoryDataset(value) for name, value in parameters.items()}
    source = source or {"source": {"kind": "sample", "path": "drawn", "size": 256}}
    return DataCatalog({**found, "source_photos": SourcePhotosDataset(**source)})


def _parameters(stored=256, copies=224, tier3=160, tier1=96, number=5):
    return {
        "ingestion.store": {"short_side": stored},
        "augmentation": {"copies": number, "policy": {"size": copies}},
        "tier3.model": {"image_size": tier3},
        "tier1.model": {"image_size": tier1},
        "tier3.model.image_size": tier3,
    }


def _check(pipeline, catalog):
    sizes_of_run(pipeline, catalog).check()


@pytest.mark.parametrize("name", ["__default__", "data", "ingestion", "augmentation", "training"])
def test_a_network_that_sees_more_than_is_stored_is_refused(registered, name):
    with pytest.raises(ConfigError) as refused:
        _check(registered[name], _catalog(_parameters(tier3=448)))
    message = str(refused.value)
    assert (
        "ingestion.store.short_side is 256, too small for tier3.model.image_size (448): set it to"
        " 448 or more, or that to 256 or less"
    ) in message
    assert "augmentation.policy.size is 224, too small for tier3.model.image_size (448)" in message
    assert "tier1" not in message
    drawn = "source_photos.source.size is 256, too small for tier3.model.image_size (448)"
    assert (drawn in message) == (name in {"__default__", "data", "ingestion"})


def test_a_phase_that_sees_more_than_is_stored_is_refused(registered):
    phases = [
        {"name": "small", "epochs": 1, "learning_rate": 1e-3, "image_size": 128},
        {"name": "large", "epochs": 1, "learning_rate": 1e-3, "image_size": 320},
    ]
    parameters = {**_parameters(number=0), "tier3.schedule": {"phases": phases}}
    with pytest.raises(ConfigError) as refused:
        _check(registered["training"], _catalog(parameters))
    assert (
        "short_side is 256, too small for tier3.schedule.phases[1].image_size (320): set it to"
        " 320 or more"
    ) in str(refused.value)
    assert "phases[0]" not in str(refused.value)


def test_copies_larger_than_what_they_are_made_of_are_refused(registered):
    with pytest.raises(ConfigError, match=r"short_side is 200, .*augmentation\.policy\.size \(224"):
        _check(registered["augmentation"], _catalog(_parameters(stored=200)))


def test_several_are_named_at_once_with_the_largest_of_them(registered):
    wrong = _parameters(stored=100, copies=90, tier3=160, tier1=120)
    with pytest.raises(ConfigError) as refused:
        _check(registered["training"], _catalog(wrong))
    stored, copies = str(refused.value).splitlines()[1:]
    assert stored.strip().startswith("ingestion.store.short_side is 100")
    assert "tier1.model.image_size (120), tier3.model.image_size (160)" in stored
    assert "set it to 160 or more, or those to 100 or less" in stored
    assert copies.strip().startswith("augmentation.policy.size is 90")


def test_the_size_of_copies_does_not_matter_where_there_are_none(registered):
    _check(registered["__default__"], _catalog(_parameters(copies=32, number=0)))


def test_sizes_that_are_equal_fit(registered):
    _check(registered["__default__"], _catalog(_parameters(256, 256, 256, 256)))


def test_photos_of_ones_own_have_the_size_they_have(registered):
    folder = {"source": {"kind": "folder", "path": "photos"}}
    wide = _parameters(stored=512, copies=448, tier3=448)
    _check(registered["__default__"], _catalog(wide, **folder))
    several = {"sources": {"mine": folder["source"], "ours": {"kind": "sample", "path": "drawn"}}}
    with pytest.raises(ConfigError, match=r"source_photos\.sources\.ours\.size is 256, too small"):
        _check(registered["__default__"], _catalog(wide, **several))


def test_what_neither_makes_photos_nor_trains_on_them_runs(registered):
    for name in ("export", "bundle", "balancing"):
        assert sizes_of_run(registered[name], _catalog(_parameters(tier3=448))) is None


@pytest.mark.parametrize("env", [e for e in ENVIRONMENTS if e != "local"])
def test_the_sizes_of_every_environment_fit(registered, env):
    loader = OmegaConfigLoader(
        conf_source=str(PROJECT / "conf"),
        base_env="base",
        default_run_env=env,
        merge_strategy={"parameters": "soft"},
        runtime_params={
            "photos": "a",
            "plantvillage": "b",
            "plantdoc": "c",
            "photos_repo": "ann/leaves",
            "photos_commit": "0" * 40,
        },
    )
    entry = {k: v for k, v in loader["catalog"]["source_photos"].items() if k != "type"}
    written = loader["parameters"]
    models = {f"{tier.name}.model": written[tier.name]["model"] for tier in TIERS}
    stored = {"ingestion.store": written["ingestion"]["store"]}
    catalog = _catalog({**stored, "augmentation": written["augmentation"], **models}, **entry)
    _check(registered["__default__"], catalog)


def test_a_run_is_refused_before_any_node(tmp_path, copy_project, monkeypatch):
    project = copy_project(tmp_path / "project")
    monkeypatch.chdir(project)
    bootstrap_project(project)
    wrong = {"tier2": {"model": {"image_size": 300}}}
    with (
        KedroSession.create(project, env="test", runtime_params=wrong) as session,
        pytest.raises(ConfigError, match=r"short_side is 256, .*tier2\.model\.image_size \(300"),
    ):
        session.run(pipeline_names=["ingestion"])
    assert not list((project / "data").rglob("*.parquet"))
