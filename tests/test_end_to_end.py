"""The project as a person uses it: commands in a copy of the project, on few and small photos."""

import json
import os
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient
from PIL import Image

pytestmark = pytest.mark.slow


def files_below(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


ASK_FOR_PREVIEWS = """
import json
from pathlib import Path
from fastapi.testclient import TestClient
from kedro.framework.startup import bootstrap_project
from kedro_viz.api.apps import create_api_app_from_project
from kedro_viz.data_access import data_access_manager
from kedro_viz.server import load_and_populate_data

bootstrap_project(Path.cwd())
load_and_populate_data(Path.cwd(), env="test", include_hooks=False)
client = TestClient(create_api_app_from_project(Path.cwd()), raise_server_exceptions=False)
catalog = data_access_manager.catalog.get_catalog()
said = {}
for node in client.get("/api/main").json()["nodes"]:
    if node["type"] == "data":
        dataset = catalog.get(node["name"])
        viz = (getattr(dataset, "metadata", None) or {}).get("kedro-viz", {})
        wanted = hasattr(dataset, "preview") and viz.get("preview") is not False
        answer = client.get("/api/nodes/" + node["id"])
        shown = answer.status_code == 200 and bool(answer.json().get("preview"))
        said[node["name"]] = [answer.status_code, wanted, shown]
print()
print(json.dumps(said))
"""


@pytest.fixture(scope="session")
def fresh(copy_project, tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("fresh") / "project")


def test_run_ends_with_metrics_of_every_head_and_where_to_look(finished):
    _, printed = finished
    for word in ("product_type", "quality_grade", "appearance", "accuracy", "Where to look next"):
        assert word in printed


def newest(project, tier_file):
    return max((project / "data/envs/test").glob(f"*/tier3/{tier_file}/*/{tier_file}"))


def test_run_leaves_model_metrics_and_figures(finished):
    project, _ = finished
    metrics = json.loads(newest(project, "test_metrics.json").read_text())
    assert set(metrics["heads"]) == {"product_type", "quality_grade", "appearance"}
    for figure in ("training_curves.png", "prediction_sheet.png"):
        assert newest(project, figure).stat().st_size > 10_000
    matrices = max((project / "data/envs/test").glob("*/tier3/confusion_matrices/*/*"))
    assert {p.name for p in matrices.iterdir()} == {f"{h}.png" for h in metrics["heads"]}


def test_bundle_answers_and_agrees_with_itself(finished):
    from cannabis_ml.inference.bundle import Bundle

    project, _ = finished
    (path,) = (project / "data/envs/test/06_models/bundle").glob("*/bundle.zip")
    bundle = Bundle.open(path)
    assert bundle.tiers == ["tier1", "tier2", "tier3"]
    assert bundle.manifest.run
    assert "cannabis-ml-samples" in bundle.model_card
    photos = [np.full((90, 120, 3), level, np.uint8) for level in (0, 128, 255)]
    for name, format_ in {"tier1": "tflite", "tier2": "onnx", "tier3": "onnx"}.items():
        assert bundle.model_file(name).format == format_
        assert bundle.model_file(name).card.run == bundle.manifest.run
        answers = bundle.predictor(name).probs(photos)
        assert {name: probs.shape for name, probs in answers.items()} == {
            "product_type": (3, 5),
            "quality_grade": (3, 5),
            "appearance": (3, 10),
        }
        np.testing.assert_allclose(answers["product_type"].sum(1), 1, atol=1e-5)
    page = bundle.model_file("tier2", kind="page")
    assert (page.format, page.quantization) == ("tflite", "weight_only_int8")
    assert page.card.decision == bundle.model_file("tier2").card.decision
    assert f"| tflite | weight_only_int8 | {len(page.data) / 1e6:.1f} | – | in web pages |" in (
        bundle.model_card
    )
    assert "Web pages get weight_only_int8" in bundle.model_card
    assert list(bundle.check_golden().tiers["tier2"]) == ["float", "quantized", "page"]
    assert bundle.check_golden().passed


def test_the_first_bundle_is_in_production_with_a_record(finished):
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.promotion.store import ChampionStore

    project, printed = finished
    models = project / "data/envs/test/06_models"
    (path,) = (models / "bundle").glob("*/bundle.zip")
    store = ChampionStore(models / "champion")
    (record,) = store.records()
    assert store.served.read_bytes() == path.read_bytes()
    assert record.bundle_id == Bundle.open(path).manifest.content_sha256
    assert "no champion yet" in record.reason
    assert store.checkpoint("tier1", record.bundle_id) is not None
    assert "champion and challenger" in printed
    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        query = "SELECT alias FROM registered_model_aliases WHERE name = 'cannabis-ml-test'"
        assert db.execute(query).fetchall() == [("champion",)]


def _scores(kind, classes, probs, said, truth, groups):
    """Scores of one head by scikit-learn, lowest and highest, from what a client got.

    Args:
        kind: Of the head.
        classes: Names, in class order.
        probs: (N, K).
        said: Per photo the class, or the list of attributes.
        truth: Per photo the class, or a dict of attributes; None where it is not known.
        groups: Per photo.
    """
    from sklearn import metrics

    if kind != "multilabel":
        known = [i for i, label in enumerate(truth) if label is not None]
        ours, theirs = [said[i] for i in known], [truth[i] for i in known]
        every = metrics.precision_recall_fscore_support(
            theirs, ours, labels=classes, zero_division=np.nan
        )
        per_class = {
            name: values[:3] for name, values in zip(classes, np.transpose(every), strict=True)
        }
        places = [[classes.index(name) for name in names] for names in (theirs, ours)]
        right = pd.Series([a == b for a, b in zip(ours, theirs, strict=True)], dtype=float)
        in_groups = right.groupby([groups[i] for i in known]).mean().mean()
        scores = {"accuracy": [metrics.accuracy_score(theirs, ours)] * 2}
        scores["accuracy per group"] = [in_groups] * 2
        kappa = metrics.cohen_kappa_score(*places, labels=range(len(classes)), weights="quadratic")
        scores["quadratic weighted kappa"] = [kappa] * 2
    else:
        per_class, ranked = {}, []
        for k, name in enumerate(classes):
            known = [i for i, labels in enumerate(truth) if labels[name] is not None]
            there = np.array([labels[name] for labels in truth if labels[name] is not None], bool)
            ours = np.array([name in said[i] for i in known], bool)
            hits = (ours & there).sum()
            with np.errstate(invalid="ignore"):
                of = np.array([ours.sum(), there.sum(), (ours.sum() + there.sum()) / 2])
                per_class[name] = hits / of
            if 0 < there.sum() < len(there):
                # Runtimes differ by about 1e-6: what is nearer than that ranks in either order.
                ends = [probs[known, k] + np.where(there, e, 0) for e in (-1e-5, 1e-5)]
                ranked.append([metrics.average_precision_score(there, end) for end in ends])
        scores = {"mean average precision": np.mean(ranked, axis=0)}
    f1 = [values[2] for values in per_class.values() if not np.isnan(values[2])]
    return {**scores, "macro F1": [np.mean(f1)] * 2}, per_class


def _tables(page):
    """Rows of every table of a page, as lists of cells."""
    rows = [line.strip().strip("|").split("|") for line in page.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in row] for row in rows]


def _bundle_and_test_photos(project):
    """The bundle of the run; and its test photos, labels and pixels."""
    from datasets import load_from_disk

    from cannabis_ml.inference.bundle import Bundle

    data = project / "data/envs/test"
    (path,) = (data / "06_models/bundle").glob("*/bundle.zip")
    (stored,) = data.glob("*/photo_set/*/photo_set")
    photos = load_from_disk(str(stored)).filter(
        lambda split: split == "test", input_columns="split"
    )
    pixels = [np.asarray(row["image"].convert("RGB")) for row in photos]
    return Bundle.open(path), photos, pixels


def test_promises_in_the_model_card_are_what_the_bundle_keeps(finished):
    bundle, photos, pixels = _bundle_and_test_photos(finished[0])
    rows = _tables(bundle.model_card)
    assert bundle.routing.head == "product_type"
    assert [tier.tier for tier in bundle.routing.tiers] == bundle.tiers
    for name in bundle.tiers:
        rules = bundle.rules(name)
        assert set(rules.reliability.bands) == {"product_type", "quality_grade", "appearance"}
        found = rules.apply(bundle.predictor(name).outputs(pixels, batch_size=1))
        for head in ("product_type", "quality_grade"):
            classes = bundle.taxonomy[head].class_names
            known = [i for i, label in enumerate(photos[head]) if label is not None]
            held = [found.sets[head][i, classes.index(photos[head][i])] for i in known]
            (told,) = (r for r in rows if r[:2] == [name, head] and r[3] == "90.0%")
            assert told[2].startswith(f"{len(known)} in ")
            assert told[4].split(":")[0] == f"{np.mean(held):.1%}"
        alarms = (found.unknown > rules.unknown.threshold).mean()
        (told,) = (r for r in rows if r[:2] == [name, rules.unknown.method])
        assert told[2].split(":")[0] == f"{alarms:.1%}"


def test_every_number_of_the_model_card_is_what_the_bundle_answers(finished):
    """Of the same test photos, decided by the bundle alone and scored by scikit-learn."""
    bundle, photos, pixels = _bundle_and_test_photos(finished[0])
    head, _, page = bundle.model_card.removeprefix("---\n").partition("\n---\n")
    told = {
        (result["task"]["name"], *metric["name"].split(": ")): metric["value"]
        for result in yaml.safe_load(head)["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    rows = _tables(page)
    in_table = {(row[0].split(" (")[0], row[1]): row[2:] for row in rows if len(row) == 5}
    checked = 0
    for place, name in enumerate(bundle.tiers):
        tier = bundle.predictor(name)
        assert set(tier.decision.thresholds(bundle.taxonomy["appearance"])) - {0.5}  # chosen ones
        answers = tier.outputs(pixels, batch_size=1)
        said = tier.decide(answers)
        for asked in bundle.taxonomy.heads:
            kind, classes = asked.kind, asked.class_names
            truth = (
                photos[asked.name]
                if kind != "multilabel"
                else [{c: row[f"{asked.name}.{c}"] for c in classes} for row in photos]
            )
            scores, per_class = _scores(
                kind, classes, answers[asked.name], said[asked.name], truth, photos["group"]
            )
            for title, (low, high) in scores.items():
                if (asked.name, name, title) not in told:
                    continue
                assert low - 1e-4 <= told[asked.name, name, title] <= high + 1e-4
                cell = in_table[asked.name, title][place].split(" ")[0]
                assert low - 6e-4 <= float(cell) <= high + 6e-4
                checked += 1
            if name == max(bundle.tiers):
                start = page.index(f"\n**{asked.name}**")
                listed = {
                    r[0]: [*r[4:6], r[7]]
                    for r in _tables(page[start:].split("\n**")[1])
                    if len(r) == 8
                }
                for label, values in per_class.items():
                    for cell, value in zip(listed[label], values, strict=True):
                        shown = np.nan if cell == "–" else float(cell.split(" ")[0])
                        assert shown == pytest.approx(value, abs=6e-4, nan_ok=True), label
    assert checked == len(told)


def test_every_tier_is_exported_float_and_quantized_and_timed(finished):
    project, _ = finished
    for tier in ("tier1", "tier2", "tier3"):
        reports = project / "data/envs/test/08_reporting" / tier
        parity = json.loads(next(reports.glob("parity.json/*/parity.json")).read_text())
        assert parity["files"]["float"]["passes"]
        assert parity["ships"] != "float"
        assert parity["files"][parity["ships"]]["share_of_float"] < 0.35
        timed = json.loads(next(reports.glob("latency.json/*/latency.json")).read_text())
        assert set(timed["files"]) == {"float", "quantized"}
        assert timed["files"]["float"]["one_thread"]["jpeg_ms"]["p50"] > 0


def test_mlflow_has_the_run_with_what_it_saw_and_made(finished):
    project, _ = finished
    with sqlite3.connect(project / "data/09_tracking/mlflow.db") as store:
        tags = dict(store.execute("select key, value from tags"))
        metrics = {key for (key,) in store.execute("select key from metrics")}
        params = dict(store.execute("select key, value from params"))
    assert len(tags["photo_set_fingerprint"]) == 64
    assert {"git_commit", "git_dirty"} <= set(tags)
    assert tags["mlflow.runName"] == "__default__ on test"
    assert params["training.batch_size"] == "32"
    assert params["tier1.model.image_size"] == "64"
    assert {"tier3.test.heads.product_type.accuracy", "tier1.validation_loss"} <= metrics
    kept = {p.name for p in files_below(project / "data/09_tracking/artifacts")}
    assert {"bundle.json", "checkpoint.safetensors", "prediction_sheet.png"} <= kept


def test_notebook_runs_on_what_the_run_left(finished, monkeypatch):
    project, _ = finished
    monkeypatch.setenv("KEDRO_ENV", "test")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = files_below(project / "data/envs/test")
    for path in sorted((project / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        folder = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
        assert any("image/png" in str(cell.get("outputs")) for cell in notebook.cells)
    assert files_below(project / "data/envs/test") == before


def test_same_photos_are_drawn_and_split_again(finished, photos_ready):
    projects = finished[0], photos_ready[0]
    for file in ("03_primary/photos.parquet/*/photos.parquet", "*/photo_index.parquet"):
        files = [next((project / "data/envs/test").glob(file)) for project in projects]
        a, b = (pd.read_parquet(path).drop(columns="path") for path in files)
        pd.testing.assert_frame_equal(a, b)


def photo(path, colour=(40, 120, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    noise = rng.integers(-30, 30, (64, 64, 3))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)


def empty_folder(at):
    at.mkdir()
    return "No photo was found"


def no_class_folders(at):
    for i in range(3):
        photo(at / f"{i}.jpg")
    return "has no class folders"


def single_class(at):
    for i in range(30):
        photo(at / "healthy" / f"{i}.jpg")
    return "at least two classes"


def missing_folder(at):
    return "does not exist"


@pytest.mark.parametrize("bad", [empty_folder, no_class_folders, single_class, missing_folder])
def test_bad_folder_ends_in_one_clear_message(kedro, bad, fresh, tmp_path):
    folder = tmp_path / "photos"
    expected = bad(folder)
    before = files_below(fresh / "data") if (fresh / "data").exists() else []
    done = kedro(fresh, "run", "--env", "folder", "--params", f"photos={folder}", check=False)
    assert done.returncode != 0
    assert expected in done.stderr
    assert done.stderr.count("Error:") == 1
    assert "Traceback" not in done.stdout + done.stderr
    left = [p for p in files_below(fresh / "data") if "09_tracking" not in p.parts]
    assert left == [p for p in before if "09_tracking" not in p.parts]


def test_folder_is_asked_for_when_none_is_given(kedro, fresh):
    done = kedro(fresh, "run", "--env", "folder", check=False)
    assert done.returncode != 0
    assert "--params photos=" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def table_project(fresh):
    """The fresh project with a table of photos as its source, in conf/local."""
    entry = """
source_photos:
  type: cannabis_ml.datasets.source_photos.SourcePhotosDataset
  source: {kind: table, path: TABLE}
"""
    local = fresh / "conf/local/catalog.yml"

    def use(table):
        local.write_text(entry.replace("TABLE", str(table)))
        return fresh

    yield use
    local.unlink()


def test_table_with_unknown_labels_lists_them(kedro, table_project, tmp_path):
    for i in range(4):
        photo(tmp_path / f"{i}.jpg")
    table = tmp_path / "labels.csv"
    table.write_text("path,product_type\n0.jpg,Dry Flower\n1.jpg,kief\n2.jpg,plant\n3.jpg,\n")
    done = kedro(table_project(table), "run", check=False)
    assert done.returncode != 0
    assert "'Dry Flower' (1 photo; did you mean 'dry_flower'?)" in done.stderr
    assert "'kief' (1 photo)" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_missing_table_is_named(kedro, table_project, tmp_path):
    done = kedro(table_project(tmp_path / "nowhere.csv"), "run", check=False)
    assert done.returncode != 0
    assert "nowhere.csv" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_verbose_shows_where_it_happened(kedro, fresh, tmp_path):
    arguments = ("--env", "folder", "--params", f"photos={tmp_path / 'nowhere'}")
    done = kedro(fresh, "run", "--verbose", *arguments, check=False)
    assert "Traceback" in done.stdout + done.stderr


def test_kedro_viz_shows_every_entry_that_has_a_preview(finished):
    pytest.importorskip("kedro_viz", reason="kedro-viz is not installed")
    project, _ = finished
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_PREVIEWS],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "DO_NOT_TRACK": "1", "COLUMNS": "140"},
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert {"photo_index", "checked_photos", "photo_set", "bundle"} <= set(said)
    assert [name for name, (status, *_) in said.items() if status != 200] == []
    assert [name for name, (_, wanted, shown) in said.items() if wanted != shown] == []
