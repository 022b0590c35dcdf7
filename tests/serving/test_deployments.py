"""The folder of deployments, and the command that changes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cannabis_ml._io.hub import version_of
from cannabis_ml.errors import BundleError, DeploymentError
from cannabis_ml.publishing.bundles import BundleToPublish, publish_bundle
from cannabis_ml.publishing.hub_commit import Target
from cannabis_ml.serving.deploy_command import main
from cannabis_ml.serving.deployments import Decided, Deployments

WHO = Decided(by="me", reason="because", at=datetime(2026, 11, 27, tzinfo=UTC))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deployments"


@pytest.fixture
def deploy(folder, capsys):
    """Run the command; gives its status, output and errors: `deploy(bundle, "--trial")`."""

    def run(*arguments):
        status = main([*map(str, arguments), "--to", str(folder), "--by", "me"])
        return (status, *capsys.readouterr())

    return run


def id_of(bundle):
    return bundle.manifest.content_sha256


def stands(folder):
    """Champion and challenger of every record."""
    return [(one.champion, one.challenger) for one in Deployments(folder).records()]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_bundle_is_checked_copied_and_recorded(deploy, folder, small_bundle, tmp_path, form):
    source = tmp_path / "given"
    if form == "folder":
        shutil.copytree(small_bundle.path, source)
    else:
        source = shutil.copyfile(f"{small_bundle.path}.zip", tmp_path / "given.zip")
    status, told, _ = deploy(source, "--reason", "the first")
    assert status == 0
    (record,) = Deployments(folder).records()
    assert (record.champion, record.by, record.reason) == (id_of(small_bundle), "me", "the first")
    assert "agree with their hashes" in record.checks[0]
    assert "3 golden photos get their answers" in record.checks[1]
    assert "/v2/analyze-mobile" in record.checks[2]
    assert all(check in told for check in record.checks)
    shutil.rmtree(source) if form == "folder" else source.unlink()
    assert id_of(Deployments(folder).open(record.champion)) == id_of(small_bundle)


def test_dry_run_shows_every_step_and_changes_nothing(deploy, folder, small_bundle):
    status, told, _ = deploy(small_bundle.path, "--dry-run")
    assert status == 0
    assert told.count("checked:") == 4
    assert id_of(small_bundle)[:12] in told.splitlines()[-1]
    assert not folder.exists()


def test_back_and_back_again_goes_further(deploy, folder, small_bundle, other_bundle, third_bundle):
    bundles = [small_bundle, other_bundle, third_bundle]
    for bundle in bundles:
        deploy(bundle.path)
    first, second, third = map(id_of, bundles)
    assert deploy("--back")[0] == deploy("--back")[0] == 0
    assert [champion for champion, _ in stands(folder)] == [first, second, third, second, first]
    status, _, told = deploy("--back")
    assert status == 2
    assert "No other bundle answered before" in told
    assert len(deploy("--list")[1].splitlines()) == 5


def test_a_challenger_is_tried_and_taken_out_or_becomes_champion(
    deploy, folder, small_bundle, other_bundle, third_bundle
):
    assert "deploy one first" in deploy(other_bundle.path, "--trial")[2]
    first, second, third = map(id_of, (small_bundle, other_bundle, third_bundle))
    deploy(small_bundle.path)
    deploy(other_bundle.path, "--trial")
    deploy("--end-trial")
    deploy(third_bundle.path, "--trial")
    deploy(other_bundle.path)
    deploy(third_bundle.path)
    assert stands(folder) == [
        (first, None),
        (first, second),
        (first, None),
        (first, third),
        (second, third),
        (third, None),
    ]
    assert "answers already" in deploy(third_bundle.path)[2]
    deploy("--back")
    assert stands(folder)[-1] == (second, None)


def test_an_altered_bundle_is_not_deployed(deploy, folder, small_bundle, tmp_path):
    source = shutil.copytree(small_bundle.path, tmp_path / "altered")
    (source / "README.md").write_text("Another card")
    status, _, told = deploy(source)
    assert (status, "README.md" in told) == (2, True)
    assert not folder.exists()


def test_a_bundle_that_answers_otherwise_here_is_not_deployed(deploy, folder, strange_bundle):
    status, _, told = deploy(strange_bundle.path)
    assert status == 2
    assert "golden photos get other answers" in told
    assert "tier1.float.onnx DIFFERS" in told
    assert not folder.exists()


@pytest.mark.parametrize(("right", "status"), [(3, 0), (1, 2)])
def test_accuracy_on_golden_labels_decides(deploy, folder, labelled_bundle, right, status):
    found, told, errors = deploy(labelled_bundle(right).path)
    assert found == status
    assert f"{right} of 3 golden labels" in told + errors
    assert folder.exists() == (status == 0)


def test_records_are_never_written_over(folder, small_bundle, other_bundle):
    one, other = Deployments(folder), Deployments(folder)
    first = one.next("deploy", id_of(small_bundle), None, WHO)
    late = other.next("deploy", id_of(other_bundle), None, WHO)
    one.append(first)
    with pytest.raises(DeploymentError, match="Somebody else deployed meanwhile"):
        other.append(late)
    assert other.records() == [first]
    assert [path.name for path in (folder / "records").iterdir()] == ["000001.json"]


def test_a_damaged_record_or_bundle_is_an_error(deploy, folder, small_bundle):
    deploy(small_bundle.path)
    deployments = Deployments(folder)
    (kept,) = (folder / "bundles").iterdir()
    (kept / "README.md").write_text("Another card")
    with pytest.raises(BundleError, match=r"README\.md"):
        deployments.open(id_of(small_bundle))
    shutil.rmtree(kept)
    with pytest.raises(DeploymentError, match="Restore it"):
        deployments.open(id_of(small_bundle))
    (record,) = (folder / "records").iterdir()
    record.write_text(json.dumps({"number": 1}))
    with pytest.raises(DeploymentError, match=r"000001\.json is not the record"):
        deployments.current()


@pytest.mark.parametrize("arguments", [[], ["--back", "--list"], ["bundle", "--back"]])
def test_one_thing_at_a_time(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "give a BUNDLE, or one of" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["models:/leaves", "models:/leaves/3", "models:/@x"])
def test_sources_that_name_no_alias(deploy, source):
    assert "models:/NAME@champion" in deploy(source)[2]


def test_the_champion_of_mlflows_registry(deploy, folder, small_bundle, tmp_path, monkeypatch):
    import mlflow

    from cannabis_ml.promotion.registry import register_champion

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        register_champion("leaves", small_bundle)
    finally:
        mlflow.set_tracking_uri(before)
    status, told, errors = deploy("models:/leaves@champion", "--tracking-uri", uri)
    assert status == 0, told + errors
    assert stands(folder) == [(id_of(small_bundle), None)]
    status, _, told = deploy("models:/leaves@nobody", "--tracking-uri", uri)
    assert status == 2
    assert "leaves@nobody" in told


@pytest.fixture
def deploy_from_hub(hub, tmp_path, folder):
    """`deploy` in a process of its own: where the hub is, is only looked at on import."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = outside | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}

    def run(source, **variables):
        command = ("-m", "cannabis_ml", "deploy", source, "--to", str(folder), "--by", "me")
        return subprocess.run(
            [sys.executable, *command],
            env=env | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_bundle_of_the_hub(deploy_from_hub, hub, folder, small_bundle):
    root = small_bundle.path
    files = {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    hub.put("ann/leaves", files, branch="v1.0", kind="model")
    done = deploy_from_hub("hf://ann/leaves@v1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stands(folder) == [(id_of(small_bundle), None)]

    altered = next(name for name in files if name.startswith("tiers/"))
    hub.put(
        "ann/leaves", files | {altered: files[altered][:-1] + b"?"}, branch="v1.1", kind="model"
    )
    refused = deploy_from_hub("hf://ann/leaves@v1.1")
    assert refused.returncode == 2
    assert altered in refused.stderr

    # Without a network it is opened from the hub's cache, and known to be the one that answers.
    again = deploy_from_hub("hf://ann/leaves@v1.0", HF_HUB_OFFLINE="1")
    assert f"{id_of(small_bundle)[:12]} answers already" in again.stderr


def test_publishing_comes_first_and_the_service_pulls_the_tag(
    deploy, hub_here, folder, small_bundle
):
    publish = ("--publish", "ann/first", "--version", "1.2.0", "--reason", "surer on hash")
    status, told, errors = deploy(small_bundle.path, *publish, "--dry-run")
    assert status == 0, errors
    steps = ["would publish ann/first 1.2.0", "would pull ann/first 1.2.0", "golden photos get"]
    steps += ["would copy", "Would be recorded"]
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
    assert ("model", "ann/first") not in hub_here.repos
    assert stands(folder) == []

    status, told, errors = deploy(small_bundle.path, *publish)
    assert status == 0, errors
    place = hub_here.repos["model", "ann/first"]
    commit = place.tags["1.2.0"]
    (record,) = Deployments(folder).records()
    assert record.champion == id_of(small_bundle)
    assert record.checks[0].startswith("published: ann/first 1.2.0")
    assert record.checks[1] == f"pulled ann/first 1.2.0 at commit {commit[:12]}"

    # Nothing is published of what answers already; another version of it neither.
    assert deploy(small_bundle.path, *publish)[0] == 2
    assert len(place.commits) == 2


def test_golden_photos_are_published_where_their_licence_allows_it(
    deploy, hub_here, folder, private_bundle
):
    publish = ("--publish", "ann/private", "--version", "1.0.0", "--dry-run")
    status, told, errors = deploy(private_bundle.path, *publish)
    assert status == 2
    assert "3 photos of 3 may not be published as golden photos" in errors
    assert "3 photos of source 'field': the licence cc-by-nc-4.0" in errors
    assert "--allow-licence cc-by-nc-4.0" in errors
    assert "would publish" not in told
    status, told, errors = deploy(private_bundle.path, *publish, "--allow-licence", "CC BY-NC 4.0")
    assert status == 0, errors
    assert "would publish ann/private 1.0.0" in told


def test_the_highest_version_is_deployed_where_none_is_named(
    deploy, hub_here, folder, small_bundle, other_bundle
):
    for version, bundle in (("1.10.0", other_bundle), ("1.9.0", small_bundle)):
        target = Target("ann/highest", "model", version_of(version))
        publish_bundle(BundleToPublish(bundle, target, None))
    status, _, errors = deploy("hf://ann/highest")
    assert status == 0, errors
    assert stands(folder) == [(id_of(other_bundle), None)]
    assert Deployments(folder).records()[0].checks[0].startswith("pulled ann/highest 1.10.0 at")


def test_what_differs_from_what_was_published_is_not_deployed(
    deploy, hub_here, folder, small_bundle, other_bundle
):
    target = Target("ann/taken", "model", version_of("1.0.0"))
    publish_bundle(BundleToPublish(other_bundle, target, None))
    status, _, errors = deploy(small_bundle.path, "--publish", "ann/taken", "--version", "1.0.0")
    assert status == 2
    assert "never replaced" in errors
    assert stands(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://leaves", "hf://OWNER/NAME@REVISION"),
        ("hf://ann/nothing", "has no model 'ann/nothing'"),
    ],
)
def test_the_hub_has_no_such_bundle(deploy_from_hub, source, message):
    done = deploy_from_hub(source)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
