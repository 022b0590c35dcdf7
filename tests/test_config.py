"""Paths in the configuration and in `--params` stay what the person wrote."""

from types import SimpleNamespace

import pytest

from cannabis_ml.cli import read_params
from cannabis_ml.config import NOTHING_TYPED, ProjectConfigLoader, params_as_typed
from cannabis_ml.errors import ConfigError

NAMES = ["2024.10", "007", "1e3", "0x10", "1_000", "2024-10-01", "yes", "12:30:00"]
"""YAML reads each of them as something else than text, or may do so."""


@pytest.fixture(autouse=True)
def nothing_typed():
    token = params_as_typed.set(NOTHING_TYPED)
    yield
    params_as_typed.reset(token)


@pytest.fixture
def load(tmp_path):
    """Read a catalog, with `--params` as typed: `load("entry: …", "photos=x")`."""

    def load(catalog, params="", globals_yml=""):
        for env in ("base", "local"):
            (tmp_path / env).mkdir(exist_ok=True)
        (tmp_path / "base/catalog.yml").write_text(catalog)
        (tmp_path / "base/globals.yml").write_text(globals_yml)
        read = read_params(
            SimpleNamespace(fail=pytest.fail), SimpleNamespace(name="params"), params
        )
        loader = ProjectConfigLoader(
            str(tmp_path), runtime_params=read, base_env="base", default_run_env="local"
        )
        return loader["catalog"]

    return load


@pytest.mark.parametrize("name", NAMES)
def test_a_path_in_the_catalog_is_no_number(load, name):
    catalog = f"a: {{source: {{path: {name}}}}}\nb: {{filepath: {name}, photos_root: '{name}'}}"
    found = load(catalog)
    assert found == {
        "a": {"source": {"path": name}},
        "b": {"filepath": name, "photos_root": name},
    }


@pytest.mark.parametrize("name", [*NAMES, "[old]/a", "[old]", "a: b", "@x", "*x", "%x", "a #1"])
def test_a_path_in_params_is_as_typed(load, name):
    catalog = "a: {path: '${runtime_params:photos,null}'}\nb: {path: '${runtime_params:c.d}/e'}"
    found = load(catalog, f"photos={name},c.d={name}")
    assert found == {"a": {"path": name}, "b": {"path": f"{name}/e"}}


def test_numbers_elsewhere_stay_numbers(load):
    catalog = "a: {count: 007, size: '${runtime_params:size}', seed: 1.50}"
    assert load(catalog, "size=1e3")["a"] == {"count": 7, "size": 1000.0, "seed": 1.5}


def test_null_and_quotes_are_yamls_in_params(load):
    catalog = "a: {path: '${runtime_params:photos,null}'}"
    assert load(catalog)["a"]["path"] is None
    assert load(catalog, "photos=null")["a"]["path"] is None
    assert load(catalog, "photos='20.10'")["a"]["path"] == "20.10"


def test_globals_hold_a_folder_too(load):
    catalog = "a: {filepath: '${globals:data}/x'}"
    assert load(catalog, globals_yml="data: 2024.10")["a"]["filepath"] == "2024.10/x"
    assert load(catalog, globals_yml="data: data/envs")["a"]["filepath"] == "data/envs/x"


@pytest.mark.parametrize("typed", ["~", "~/x", "~/a~b/~"])
def test_the_home_folder_stands_for_a_tilde(load, typed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    meant = typed.replace("~", str(tmp_path / "home"), 1)
    catalog = "a: {source: {kind: sample, path: '${runtime_params:photos}'}}"
    assert load(catalog, f"photos={typed}")["a"]["source"]["path"] == meant
    sources = f"a: {{sources: {{one: {{path: '{typed}'}}}}}}\nb: {{filepath: '{typed}'}}"
    found = load(sources)
    assert found["a"]["sources"]["one"]["path"] == found["b"]["filepath"] == meant
    assert load("a: {filepath: '${globals:data}'}", globals_yml=f"data: '{typed}'")["a"] == {
        "filepath": meant
    }


def test_a_tilde_inside_a_name_is_a_tilde(load):
    assert load("a: {path: x/~/y~}")["a"]["path"] == "x/~/y~"


def test_an_unknown_home_is_refused_not_made(load):
    with pytest.raises(ConfigError, match=r"'~nobody-here/x'.* \./~nobody-here/x|\./~nobody"):
        load("a: {path: ~nobody-here/x}")


def test_a_project_that_kedro_cannot_search_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[old\].*'\['"):
        ProjectConfigLoader(str(tmp_path / "[old]"))


def test_params_are_read_as_kedro_reads_them():
    def fail(said):
        raise ValueError(said)

    ctx, option = SimpleNamespace(fail=fail), SimpleNamespace(name="params")
    read = read_params(ctx, option, "a.b=1, a.c=0.5,d=true,e=null,f=text")
    assert read == {"a": {"b": 1, "c": 0.5}, "d": True, "e": None, "f": "text"}
    assert read_params(ctx, option, {"from": "a file"}) == {"from": "a file"}
    with pytest.raises(ValueError, match="separated by `=`"):
        read_params(ctx, option, "a=1,b")


def project(tmp_path, **files):
    """A loader of this configuration: `project(tmp_path, base_globals="data: x", env="full")`."""
    env = files.pop("env", None)
    runtime_params = files.pop("runtime_params", None)
    for name in ("base", "local", "full"):
        (tmp_path / name).mkdir(exist_ok=True)
    for name, text in files.items():
        folder, _, kind = name.partition("_")
        (tmp_path / folder / f"{kind}.yml").write_text(text)
    return ProjectConfigLoader(
        str(tmp_path),
        env=env,
        runtime_params=runtime_params,
        base_env="base",
        default_run_env="local",
    )


ENTRIES = """
ours: {type: x, filepath: "${globals:data}/a.json"}
own: {type: x, filepath: "${globals:data}/b.json", credentials: mine}
source: {type: x, source: {kind: folder, path: "s3://other/photos"}}
record: {type: x, filepath: "${globals:data}/c", champion: {filepath: "${globals:data}/d"}}
elsewhere: {type: x, filepath: "gs://other/a.json"}
here: {type: x, filepath: data/a.json}
"""


def test_entries_in_a_bucket_get_the_credentials_of_globals(tmp_path):
    data = "data: s3://bucket/x\nstorage: {credentials: bucket}"
    found = project(tmp_path, base_globals=data, base_catalog=ENTRIES)["catalog"]
    assert {name: entry.get("credentials") for name, entry in found.items()} == {
        "ours": "bucket",
        "own": "mine",
        "source": "bucket",
        "record": "bucket",
        "elsewhere": None,
        "here": None,
    }
    assert found["record"]["champion"]["credentials"] == "bucket"
    assert found["ours"]["filepath"] == "s3://bucket/x/a.json"


@pytest.mark.parametrize("data", ["data: s3://bucket/x", "data: x\nstorage: {credentials: bucket}"])
def test_without_a_name_or_a_bucket_no_entry_gets_credentials(tmp_path, data):
    found = project(tmp_path, base_globals=data, base_catalog=ENTRIES)["catalog"]
    assert [name for name, entry in found.items() if "credentials" in entry] == ["own"]


def test_the_data_root_of_params_comes_before_that_of_globals(tmp_path):
    config = project(
        tmp_path,
        base_globals="data: data",
        full_globals="data: data/envs/full",
        base_catalog=ENTRIES,
        env="full",
        runtime_params={"data": "gs://bucket/x"},
    )
    assert config["catalog"]["ours"]["filepath"] == "gs://bucket/x/a.json"


def test_azure_has_the_name_that_kedro_knows(tmp_path):
    found = project(tmp_path, base_globals="data: az://box/x", base_catalog=ENTRIES)["catalog"]
    assert found["ours"]["filepath"] == "abfs://box/x/a.json"


def test_credentials_of_conf_local_hold_in_every_environment(tmp_path):
    files = {
        "base_catalog": ENTRIES,
        "local_credentials": "bucket: {key: a}\nmine: {key: b}",
        "full_credentials": "mine: {key: c}",
    }
    assert project(tmp_path, env="full", **files)["credentials"] == {
        "bucket": {"key": "a"},
        "mine": {"key": "c"},
    }
    assert project(tmp_path, **files)["credentials"]["mine"] == {"key": "b"}
    (tmp_path / "full/credentials.yml").unlink()
    (tmp_path / "local/credentials.yml").unlink()
    assert project(tmp_path, env="full")["credentials"] == {}
