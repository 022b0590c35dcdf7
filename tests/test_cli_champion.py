from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kedro.io import DataCatalog, MemoryDataset

from cannabis_ml import cli_champion
from cannabis_ml.cli import cli
from cannabis_ml.datasets.champion import ChampionDataset, ChampionStartDataset
from cannabis_ml.evaluation.comparison.verdict import the_champion_itself
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.pipelines.gate.params import GateStageParams


@pytest.fixture
def bundles(onnx_contents, tmp_path):
    return [write_bundle(tmp_path / n / "bundle", onnx_contents(name=n)) for n in ("old", "new")]


@pytest.fixture
def project(monkeypatch, tmp_path, bundles):
    """A project of a champion entry and a newest bundle, that nothing tracks."""
    entry = ChampionDataset(filepath=tmp_path / "champion")
    newest = MemoryDataset(bundles[1], copy_mode="assign")
    gate = MemoryDataset(GateStageParams())
    catalog = DataCatalog({"champion": entry, "bundle": newest, "params:gate": gate})
    context = SimpleNamespace(catalog=catalog)
    inside = cli_champion.project.__wrapped__

    @contextmanager
    def fake(env):
        opened = SimpleNamespace(create=lambda env: session())
        monkeypatch.setattr("kedro.framework.session.KedroSession", opened)
        yield from inside(env)

    @contextmanager
    def session():
        yield SimpleNamespace(load_context=lambda: context)

    monkeypatch.setattr(cli_champion, "project", fake)
    return SimpleNamespace(catalog=catalog, entry=entry)


def run(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_promote_rollback_and_the_list_of_both(project, bundles):
    assert "no champion" in run("champion").output
    old = run("promote", "--bundle", str(bundles[0].path), "--reason", "the first", "--by", "Ada")
    assert old.exit_code == 0, old.output
    assert run("promote", "--reason", "surer on hash", "--by", "Bo").exit_code == 0
    assert Bundle.open(project.entry.store.served).manifest.name == "new"
    back = run("rollback", "--by", "Cy", "--reason", "wrong on trim")
    assert back.exit_code == 0
    assert Bundle.open(project.entry.store.served).manifest.name == "old"
    lines = run("champion").output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["1", "2", "3"]
    assert "by Bo: surer on hash" in lines[1]
    assert "rollback" in lines[2]
    assert "wrong on trim" in lines[2]


def test_a_promotion_by_hand_needs_a_reason(project):
    assert "--reason" in run("promote").output
    assert project.entry.store.current() is None


def test_what_cannot_be_done_ends_in_a_message(project, bundles):
    nothing = run("rollback")
    assert nothing.exit_code == 1
    assert "no champion" in nothing.output
    run("promote", "--reason", "x")
    again = run("promote", "--reason", "x")
    assert again.exit_code == 1
    assert "champion already" in again.output
    assert "no champion before" in run("rollback").output


def test_what_the_gate_found_is_kept_if_it_was_about_this_bundle(project, bundles):
    about = the_champion_itself(bundles[1].manifest.content_sha256)
    project.catalog["gate_report"] = MemoryDataset(about)
    run("promote", "--bundle", str(bundles[0].path), "--reason", "x")
    run("promote", "--reason", "x")
    first, second = project.entry.store.records()
    assert (first.outcome, first.test) == (None, [])
    assert second.test == about.reasons


def test_checkpoints_of_another_network_are_not_kept(project, bundles):
    card = bundles[1].model_file("tier1").card
    facts = {"taxonomy": card.taxonomy, "image_size": card.image_size}
    same = Checkpoint({}, NetworkCard(**facts, training_key=card.training_key))
    other = Checkpoint({}, NetworkCard(**facts, training_key="another"))
    project.catalog["tier1.checkpoint"] = MemoryDataset(same, copy_mode="assign")
    project.catalog["tier2.checkpoint"] = MemoryDataset(other, copy_mode="assign")
    promoted = run("promote", "--reason", "x")
    assert "tier2: the newest checkpoint is of another network" in promoted.output
    kept = {
        tier: ChampionStartDataset(filepath=project.entry.store.root, tier=tier).load()
        for tier in ("tier1", "tier2")
    }
    assert kept["tier1"].card == same.card
    assert kept["tier2"] is None
