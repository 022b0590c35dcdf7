import mlflow
import pytest
from mlflow import MlflowClient

from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.promotion.registry import (
    CHALLENGER,
    CHAMPION,
    register_challenger,
    register_champion,
)
from cannabis_ml.pruning import registered_runs


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Of a database that all tests share: making one takes seconds. Each has its own model."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture
def model(request):
    return request.node.name


@pytest.fixture
def bundles(onnx_contents, tmp_path, client, model):
    experiment = client.create_experiment(
        model, artifact_location=(tmp_path / "artifacts").as_uri()
    )
    runs = [client.create_run(experiment).info.run_id for _ in "abc"]
    return [
        write_bundle(tmp_path / run / "bundle", onnx_contents(name=name, run=run))
        for name, run in zip("abc", runs, strict=True)
    ]


def aliases(client, model):
    return {
        alias: client.get_model_version(model, version).tags["bundle_id"]
        for alias, version in client.get_registered_model(model).aliases.items()
    }


def id_of(bundle):
    return bundle.manifest.content_sha256


def test_the_aliases_follow_and_a_champion_is_challenger_no_more(client, model, bundles):
    first, second, _ = bundles
    register_champion(model, first)
    register_challenger(model, second)
    assert aliases(client, model) == {CHAMPION: id_of(first), CHALLENGER: id_of(second)}
    register_champion(model, second)
    assert aliases(client, model) == {CHAMPION: id_of(second)}


def test_a_rollback_moves_the_alias_back_to_the_same_version(client, model, bundles):
    for bundle in (*bundles[:2], bundles[0]):
        register_champion(model, bundle)
    assert aliases(client, model) == {CHAMPION: id_of(bundles[0])}
    assert len(client.search_model_versions(f"name = '{model}'")) == 2


def test_the_source_is_the_bundle_among_the_artifacts_of_its_run(client, model, bundles):
    register_champion(model, bundles[0])
    version = client.get_model_version_by_alias(model, CHAMPION)
    run = bundles[0].manifest.run
    assert version.run_id == run
    assert version.source == f"{client.get_run(run).info.artifact_uri}/bundle/bundle"


def test_challengers_that_never_were_champion_may_be_pruned(client, model, bundles):
    first, second, third = bundles
    register_champion(model, first)
    register_challenger(model, second)
    register_challenger(model, third)
    ours = {bundle.manifest.run for bundle in bundles}
    assert registered_runs() & ours == {first.manifest.run, third.manifest.run}
    register_champion(model, third)
    register_challenger(model, first)  # as after a rollback
    register_challenger(model, second)
    assert registered_runs() >= ours


def test_a_bundle_of_another_tracking_server_is_registered_by_its_file(
    client, model, onnx_contents, tmp_path
):
    bundle = write_bundle(tmp_path / "other" / "bundle", onnx_contents(run="f" * 32))
    register_champion(model, bundle)
    version = client.get_model_version_by_alias(model, CHAMPION)
    assert version.source == bundle.path.as_uri()
