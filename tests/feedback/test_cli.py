"""`cannabis_ml feedback` on the command line."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cannabis_ml.cli_feedback import feedback
from cannabis_ml.feedback.closed_form import ClosedFormHead, EmbeddedPhotos
from cannabis_ml.feedback.closed_form_file import read_heads, write_heads
from cannabis_ml.feedback.store import FeedbackStore


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store/feedback.db"


@pytest.fixture
def photo_id(url, submit, encode):
    with FeedbackStore(url) as store:
        return store.add(submit(), encode()).photo_id


@pytest.fixture
def run(url, photo_id):
    def run(*arguments, store=url, **options):
        return CliRunner().invoke(feedback, ["--store", store, *map(str, arguments)], **options)

    return run


def test_a_store_is_exported_and_imported(run, tmp_path):
    assert run("export", tmp_path / "out").output == (
        f"1 submissions and 1 photos in {tmp_path / 'out'}.\n"
    )
    other = f"sqlite:///{tmp_path}/other/feedback.db"
    done = run("import", tmp_path / "out", store=other)
    assert done.output == "1 submissions with 1 new opinions; 0 were there already.\n"
    assert json.loads(run("summary", "--json", store=other).output)["by_verdict"]["corrected"] == 1


def test_refused_records_are_named_and_the_exit_status_tells(run, tmp_path):
    run("export", tmp_path / "out")
    with (tmp_path / "out/feedback.jsonl").open("a") as file:
        file.write("{}\n")
    done = run("import", tmp_path / "out")
    assert done.exit_code == 1
    assert "refused: feedback.jsonl, line 2: submission: Field required" in done.stderr
    assert "1 refused." in done.stderr


def test_the_summary_is_for_people(run):
    lines = run("summary").output.splitlines()
    assert lines[0] == (
        "1 opinions of 1 people on 1 photos, 1 of which were kept; 2026-05-01 to 2026-05-01"
    )
    assert "  corrected              1" in lines
    assert lines[-1] == "  corrected: product 'hash' 1"


def test_erasing_asks_first(run):
    assert run("erase", "--person", "ann", input="n\n").exit_code == 1
    assert "1 opinions" in run("summary").output
    done = run("erase", "--person", "ann", input="y\n")
    assert "Erased 1 opinions, 1 submissions and 1 photos." in done.output
    assert "0 opinions of 0 people" in run("summary").output


def test_a_photo_and_what_is_expired_are_erased(run, photo_id):
    days = '{"photos_days": 36500}'
    assert "and 0 photos" in run("erase", "--expired", "--retention", days, "--yes").output
    assert "and 1 photos" in run("erase", "--photo", photo_id, "--yes").output


@pytest.mark.parametrize("way", ["photo", "person"])
def test_what_is_erased_is_taken_out_of_closed_form_heads(run, url, photo_id, tmp_path, way):
    with FeedbackStore(url) as store:
        (person,) = set(store.opinions()["person"])
    kept = "e" * 64
    path = tmp_path / "tier1" / "1" / "closed_form.safetensors"
    photos = EmbeddedPhotos((photo_id, kept), np.eye(2, 3, dtype=np.float32), ("leaf", "bud"))
    write_heads(path, {"product": ClosedFormHead.of(photos)})
    named = {"photo": photo_id, "person": person}[way]
    done = run("erase", f"--{way}", named, "--heads", tmp_path / "tier1", "--yes")
    assert "Took photos out of 1 files" in done.output
    assert photo_id.encode() not in path.read_bytes()
    assert read_heads(path)["product"].photos.photo_ids == (kept,)


@pytest.mark.parametrize("chosen", [(), ("--person", "a", "--expired")])
def test_what_to_erase_is_named_once(run, chosen):
    done = run("erase", "--yes", *chosen)
    assert done.exit_code == 2
    assert "Name one" in done.output


def test_an_error_is_one_message(run, tmp_path):
    for arguments in (("erase", "--person", "zoe", "--yes"), ("import", tmp_path)):
        done = run(*arguments)
        assert done.exit_code == 1
        assert done.output.startswith("Error: ")
        assert "Traceback" not in done.output


def test_label_studio_needs_to_know_the_classes(run, tmp_path):
    done = run("export", tmp_path / "tasks.json", "--label-studio")
    assert "name a bundle, --bundle PATH" in done.output


@pytest.mark.slow
def test_the_configured_store_is_found(copy_project, processes, tmp_path, url, run):
    project = copy_project(tmp_path / "project")
    run("export", tmp_path / "out")
    for arguments in (
        ["import", str(tmp_path / "out")],
        ["summary"],
        ["erase", "--expired", "--yes"],
    ):
        command = ["-m", "cannabis_ml", "feedback", "-e", "test", *arguments]
        done = processes.run(command, cwd=project)
        assert done.returncode == 0, done.stderr
    assert (project / "data/envs/test/01_raw/feedback/feedback.db").is_file()
    assert "Erased 0 opinions" in done.stdout
