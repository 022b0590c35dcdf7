"""Bundles in the catalog; here, where the bundles to test with are."""

import json

import pytest
from kedro.io import DataCatalog, DatasetError, Version

from cannabis_ml.datasets.bundle import BundleDataset


def entry(path, **more):
    return {"type": "cannabis_ml.datasets.bundle.BundleDataset", "filepath": str(path), **more}


def test_round_trip_through_the_catalog(contents, tmp_path):
    catalog = DataCatalog.from_config({"bundle": entry(tmp_path / "b", metadata={"a": 1})})
    assert not catalog.exists("bundle")
    catalog.save("bundle", contents())
    assert catalog.exists("bundle")
    assert catalog.load("bundle").tiers == ["tier1", "tier2"]
    assert (tmp_path / "b.zip").is_file()


def test_versions_are_kept_beside_each_other(contents, tmp_path):
    path = tmp_path / "bundle"
    for day in ("01", "02"):
        version = Version(None, f"2026-01-{day}T00.00.00.000Z")
        BundleDataset(filepath=str(path), version=version).save(contents(name=day))
    newest = BundleDataset(filepath=str(path), version=Version(None, None))
    assert newest.exists()
    assert newest.load().manifest.name == "02"
    assert len(list(path.glob("*/bundle.zip"))) == 2


def test_a_bundle_on_another_file_system(contents):
    address = "memory://bundles/bundle"
    for day in ("01", "02"):
        BundleDataset(filepath=address, version=Version(None, day)).save(contents(name=day))
    newest = BundleDataset(filepath=address, version=Version(None, None))
    assert newest.load().manifest.name == "02"
    assert newest.load().check_golden().passed
    assert json.loads(newest.preview())["name"] == "02"
    assert newest.remote.fs.isfile("/bundles/bundle/01/bundle.zip")


def test_an_altered_bundle_is_named(bundle):
    (bundle / "README.md").write_text("other")
    with pytest.raises(DatasetError, match=r"README\.md was altered"):
        BundleDataset(filepath=str(bundle)).load()


def test_preview_is_the_manifest(written):
    assert json.loads(BundleDataset(filepath=str(written)).preview())["name"] == "small"
