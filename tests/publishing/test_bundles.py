"""Bundles as versions of a model, and their loading."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from cannabis_ml._io.hub import Version
from cannabis_ml.errors import BundleError, HubError, PublishingError
from cannabis_ml.inference import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.golden_rights import PhotoRights
from cannabis_ml.inference.hub import BundlePublication
from cannabis_ml.publishing.bundles import (
    BundleToPublish,
    photos_named,
    publish_bundle,
    refuse_unlicensed_golden,
)
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.publishing.params import PublishingParams

CARD = """---
license: apache-2.0
model-index:
- name: small
  results:
  - task: {type: image-classification, name: kind}
    dataset: {name: test split of the run's photos, type: private}
    metrics:
    - {type: accuracy, name: 'tier1: accuracy', value: 0.9}
---

# small

A small bundle.
"""


@pytest.fixture(scope="session")
def bundles(onnx_contents, tmp_path_factory):
    """Two small bundles of other names."""
    folder = tmp_path_factory.mktemp("bundles")
    return [
        write_bundle(folder / name, onnx_contents(model_card=CARD, name=name))
        for name in ("first", "second")
    ]


@pytest.fixture
def publish(hub_here, repo, bundles):
    """Publish the first or second bundle: `publish("1.0.0", 0)`; gives the commit."""

    def run(version, number=0, photos=None):
        target = Target(repo, "model", Version(*map(int, version.split("."))))
        return publish_bundle(BundleToPublish(bundles[number], target, photos)).commit

    return run


@pytest.fixture
def of_rights(onnx_contents, tmp_path):
    """A bundle whose golden photos have these licences: `of_rights("mit", "mit", "unknown")`."""

    def make(*licences, credit=None):
        rights = [PhotoRights(source="field", licence=name, credit=credit) for name in licences]
        contents = onnx_contents(model_card=CARD, golden_rights=rights)
        return write_bundle(tmp_path / "bundle", contents)

    return make


def test_golden_photos_need_a_licence_that_is_allowed(of_rights, bundles):
    refuse_unlicensed_golden(of_rights("mit", "mit", "cc-by-4.0"), PublishingParams())
    bundle = of_rights("mit", "cc-by-nc-4.0", "unknown")
    with pytest.raises(PublishingError) as caught:
        refuse_unlicensed_golden(bundle, PublishingParams())
    text = str(caught.value)
    assert "2 photos of 3 may not be published as golden photos" in text
    assert "1 photo of source 'field': the licence cc-by-nc-4.0" in text
    assert "publishing.licences ({field: …})" in text
    known = PublishingParams(licences={"field": "CC0"}, allowed_licences=("mit", "cc0-1.0"))
    with pytest.raises(PublishingError, match="1 photo of 3 may not"):
        refuse_unlicensed_golden(bundle, known)
    with pytest.raises(PublishingError, match="does not tell under which licences"):
        refuse_unlicensed_golden(bundles[0], known)


def test_the_card_names_licence_and_authors_of_golden_photos(of_rights):
    bundle = of_rights("cc-by-4.0", "cc-by-4.0", "mit", credit="Ann")
    card = BundleToPublish(bundle, Target("ann/x", "model", Version(1, 0, 0)), None).card
    assert "photos (licence: cc-by-4.0, mit) with the answers" in card
    assert "Photos by Ann: see `bundle/golden/rights.json`." in card
    assert Bundle.open(bundle.path).golden_rights()[0].credit == "Ann"


@pytest.fixture
def offline(monkeypatch, hub_here):
    """From now on there is no network: `offline()`; nothing may be asked then."""
    asked = []

    def start():
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        hub_here.watch = lambda _, request: asked.append(request.path)

    yield start
    assert asked == []


def id_of(bundle):
    return bundle.manifest.content_sha256


def test_the_bundle_is_published_as_it_is(publish, hub_here, repo, bundles):
    commit = publish("1.0.0")
    place = hub_here.repos["model", repo]
    assert place.private
    assert place.tags == {"1.0.0": commit}
    files = place.commits[commit]
    for name, sha256 in bundles[0].manifest.files.items():
        assert hashlib.sha256(files[f"bundle/{name}"]).hexdigest() == sha256
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])


def test_a_zip_is_published_as_its_folder_is(hub_here, repo, bundles):
    packed = Bundle.open(f"{bundles[0].path}.zip")
    target = Target(repo, "model", Version(1, 0, 0))
    first = publish_bundle(BundleToPublish(packed, target, None))
    again = publish_bundle(BundleToPublish(bundles[0], target, None))
    assert (again.commit, again.was_there) == (first.commit, True)
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])


def test_a_cache_of_ones_own(publish, repo, bundles, tmp_path):
    publish("1.0.0")
    bundle = Bundle.from_hub(repo, "1.0.0", cache=tmp_path / "mine")
    assert Path(bundle.path).is_relative_to(tmp_path / "mine")


def test_two_versions_are_loaded_side_by_side(publish, repo, bundles):
    publish("1.0.0", 0)
    publish("1.1.0", 1)
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])
    assert id_of(Bundle.from_hub(repo, "1.1.0")) == id_of(bundles[1])
    assert id_of(Bundle.from_hub(repo, "v1.0.0")) == id_of(bundles[0])
    assert Bundle.from_hub(repo, "1.0.0").check_golden().passed


def test_latest_is_the_highest_version_not_main(publish, repo, bundles, hub_here):
    publish("1.9.0", 0)
    publish("1.10.0", 1)
    publish("1.2.1", 0)  # main
    hub_here.repos["model", repo].tags["nightly"] = "0" * 40
    assert id_of(Bundle.from_hub(repo)) == id_of(bundles[1])


def test_a_tag_is_resolved_once(publish, repo, bundles, hub_here):
    publish("1.0.0", 0)
    moved = publish("1.1.0", 1)
    Bundle.from_hub(repo, "1.0.0")
    hub_here.repos["model", repo].tags["1.0.0"] = moved
    sent = len(hub_here.requests)
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])
    assert hub_here.requests[sent:] == []


def test_a_moved_tag_is_noticed_where_it_is_new(publish, repo, hub_here):
    publish("1.0.0", 0)
    hub_here.repos["model", repo].tags["1.0.0"] = publish("1.1.0", 1)
    with pytest.raises(HubError, match=r"published as version 1\.1\.0: somebody moved the tag"):
        Bundle.from_hub(repo, "1.0.0")


def test_without_a_network(publish, repo, bundles, offline, hub_here):
    commit = publish("1.0.0", 0)
    publish("1.1.0", 1)
    Bundle.from_hub(repo, "1.0.0")
    offline()
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])
    assert id_of(Bundle.from_hub(repo, "latest")) == id_of(bundles[0])  # of those that are here
    assert id_of(Bundle.from_hub(repo, commit)) == id_of(bundles[0])
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        Bundle.from_hub(repo, "1.1.0")


def test_there_is_no_such_version(publish, repo):
    publish("1.0.0")
    with pytest.raises(HubError, match=r"no version 1\.0\.1: it has 1\.0\.0"):
        Bundle.from_hub(repo, "1.0.1")
    with pytest.raises(HubError, match="'newest' is not a version"):
        Bundle.from_hub(repo, "newest")
    with pytest.raises(HubError, match="has no model 'me/nothing'"):
        Bundle.from_hub("me/nothing", "1.0.0")


def test_a_private_bundle_needs_a_token(publish, repo, monkeypatch):
    publish("1.0.0")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="for a private one"):
        Bundle.from_hub(repo, "1.0.0")


MODEL = "tiers/tier1.float.onnx"


def test_an_altered_file_is_refused_and_not_kept(publish, repo, bundles, hub_here):
    publish("1.0.0")
    data = bundles[0].read(MODEL)
    hub_here.spoilt[f"bundle/{MODEL}"] = data[:-70] + b"?" + data[-69:]
    with pytest.raises(BundleError, match=rf"{MODEL} was altered"):
        Bundle.from_hub(repo, "1.0.0")
    hub_here.spoilt.clear()
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])


def test_a_truncated_download_is_refused_and_completed_later(publish, repo, bundles, hub_here):
    publish("1.0.0")
    hub_here.spoilt[f"bundle/{MODEL}"] = bundles[0].read(MODEL)[:100]
    with pytest.raises(HubError, match=f"{repo} cannot be loaded"):
        Bundle.from_hub(repo, "1.0.0")
    hub_here.spoilt.clear()
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])


def test_a_damaged_copy_is_replaced(publish, repo, bundles):
    publish("1.0.0")
    copy = (Path(Bundle.from_hub(repo, "1.0.0").path) / MODEL).resolve()
    copy.chmod(0o644)
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    assert id_of(Bundle.from_hub(repo, "1.0.0")) == id_of(bundles[0])


def test_a_damaged_copy_is_refused_without_a_network(publish, repo, offline):
    publish("1.0.0")
    copy = (Path(Bundle.from_hub(repo, "1.0.0").path) / MODEL).resolve()
    copy.chmod(0o644)
    copy.write_bytes(copy.read_bytes()[:-1])
    offline()
    with pytest.raises(BundleError, match=rf"{MODEL} was altered"):
        Bundle.from_hub(repo, "1.0.0")


def test_another_bundle_under_the_same_version_is_refused(publish, repo, hub_here):
    commit = publish("1.0.0", 0)
    assert publish("1.0.0", 0) == commit
    with pytest.raises(PublishingError, match="never replaced"):
        publish("1.0.0", 1)
    assert hub_here.repos["model", repo].tags == {"1.0.0": commit}


def test_scores_are_tied_to_the_commit_of_the_photos(
    onnx_contents, tmp_path, photos_at, hub_here, repo
):
    from cannabis_ml.publishing.photos import publish_photos

    first, second = photos_at("1.0.0"), photos_at("1.1.0", count=16)
    publish_photos(first)
    commit = publish_photos(second).commit
    fingerprint = second.photos.photo_set.fingerprint
    contents = onnx_contents(model_card=CARD, photo_set_fingerprint=fingerprint)
    bundle = write_bundle(tmp_path / "bundle", contents)
    photos = photos_named(repo, fingerprint)
    assert (photos.commit, photos.version) == (commit, "1.1.0")
    assert photos_named(f"{repo}@1.1.0", fingerprint) == photos
    assert photos_named(f"{repo}@{commit}", fingerprint) == photos
    with pytest.raises(PublishingError, match="has another"):
        photos_named(f"{repo}@1.0.0", fingerprint)

    publish_bundle(BundleToPublish(bundle, Target(repo, "model", Version(1, 0, 0)), photos))
    card = ModelCard.load(repo)
    (result,) = card.data.eval_results
    assert (result.dataset_type, result.dataset_revision) == (repo, commit)
    assert (result.metric_value, result.dataset_split) == (0.9, "test")
    assert card.data.datasets == [repo]
    assert commit in card.text
    told = hub_here.repos["model", repo]
    publication = told.commits[told.tags["1.0.0"]]["publication.json"]
    assert BundlePublication.model_validate_json(publication).photos == photos


def test_photos_that_are_the_source_of_the_project_are_named_by_themselves(
    onnx_contents, tmp_path, photos_at, hub_here, repo
):
    from types import SimpleNamespace

    from kedro.io import DataCatalog

    from cannabis_ml.cli_publish import _photos_of
    from cannabis_ml.datasets.source_photos import SourcePhotosDataset
    from cannabis_ml.publishing.photos import publish_photos

    commit = publish_photos(photos_at("1.0.0")).commit
    bundle = write_bundle(tmp_path / "bundle", onnx_contents(photo_set_fingerprint="f" * 64))

    def photos_of(source, name=None, trained_here=True):
        catalog = DataCatalog({"source_photos": SourcePhotosDataset(source=source)})
        return _photos_of(SimpleNamespace(catalog=catalog), bundle, name, trained_here)

    source = {"kind": "hub", "path": str(tmp_path), "repo": repo, "revision": commit}
    for name in (None, repo, f"{repo}@1.0.0"):
        found = photos_of(source, name)
        assert (found.repo, found.commit, found.version) == (repo, commit, "1.0.0")
    assert photos_of(source, trained_here=False) is None
    assert photos_of({"kind": "folder", "path": str(tmp_path)}) is None
    with pytest.raises(PublishingError, match="trained on the photo set ffffffffffff"):
        photos_of({"kind": "folder", "path": str(tmp_path)}, repo)
