import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.scores import Evaluation
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.training import nodes


@pytest.fixture(scope="module")
def scored(predictions, photo_set, taxonomy):
    return nodes.score_predictions(predictions, photo_set, taxonomy)


@pytest.fixture(scope="module")
def better(better_predictions, photo_set, taxonomy):
    return nodes.score_predictions(better_predictions, photo_set, taxonomy)[0]


def test_metrics_are_json_and_hold_every_part(scored, taxonomy):
    found = scored[0]
    text = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Evaluation.model_validate_json(text) == found
    assert list(found.heads) == [head.name for head in taxonomy.heads]
    assert list(found.hierarchy) == ["state"]
    assert found.hierarchy["state"].impossible_pairs == 0
    assert found.heads["crop"].in_words.startswith(("error above 20%", "no class"))


def test_only_the_test_split_is_scored(scored, photo_set):
    table = photo_set.labels()
    known = table[(table["split"] == "test") & table["crop"].notna()]
    assert scored[0].heads["crop"].n == len(known)


def test_thresholds_come_from_validation_photos_alone(scored, predictions, photo_set, taxonomy):
    """Other answers for the test photos, the same thresholds; and they are the ones used."""
    changed = predictions.copy()
    test = changed["split"] == "test"
    changed.loc[test, "marks"] = pd.Series([[0.5, 0.5]] * len(changed), dtype=object)[test]
    again = nodes.score_predictions(changed, photo_set, taxonomy)[0]
    assert again.thresholds == scored[0].thresholds

    table = photo_set.labels().set_index("photo_id")
    threshold = scored[0].thresholds["marks"]["spots"]
    part = predictions[test & table["marks.spots"].notna().to_numpy()]
    said = np.stack(part["marks"])[:, 0] >= threshold
    truth = table.loc[part["photo_id"], "marks.spots"].astype(bool)
    spots = scored[0].heads["marks"].per_class["spots"]
    assert spots.threshold == threshold
    assert spots.f1 == pytest.approx(reference.f1_score(truth, said))


def test_class_report_has_a_row_per_class_and_ends_of_intervals(scored, taxonomy):
    report = scored[1]
    assert len(report) == sum(len(head.classes) for head in taxonomy.heads)
    assert {"head", "class", "precision", "recall", "f1", "support"} <= set(report.columns)
    for measure in ("precision", "recall", "f1"):
        said = report.dropna(subset=measure)
        assert (said[f"{measure}_low"] <= said[measure]).all()
        assert (said[measure] <= said[f"{measure}_high"]).all()
    assert not any(column.endswith("_interval") for column in report.columns)


def test_the_limit_decides_which_classes_are_named(predictions, photo_set, taxonomy):
    strict, lax = (
        nodes.score_predictions(predictions, photo_set, taxonomy, ReportParams(error_limit=limit))
        for limit in (0.0, 0.99)
    )
    assert strict[0].heads["age"].in_words.startswith("error above 0% on: ")
    assert len(strict[0].heads["age"].worst_classes) > 0
    assert lax[0].heads["age"].worst_classes == []


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_head_report_shows_every_class_and_names_the_worst(scored, taxonomy):
    figures = nodes.draw_head_reports(scored[0])
    assert set(figures) == {head.name for head in taxonomy.heads}
    for head in taxonomy.heads:
        figure = figures[head.name]
        shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert shown == head.class_names
        said = figure.get_suptitle().replace("\n", " ")
        assert scored[0].heads[head.name].in_words in said
    assert "both right" in figures["state"].get_suptitle()


@pytest.mark.parametrize("part", ["head", "tiers"])
def test_nothing_is_cut_off(part, scored, better):
    if part == "tiers":
        figures = [nodes.compare_tiers(tier1=scored[0], tier3=better)[1]]
    else:
        figures = list(nodes.draw_head_reports(scored[0]).values())
    for figure in figures:
        figure.draw_without_rendering()
        inside, size = figure.get_tightbbox(), figure.get_size_inches()
        assert min(inside.x0, inside.y0) >= -0.05
        assert (np.array([inside.x1, inside.y1]) <= size + 0.05).all()


def test_mistakes_are_wrong_and_reported_with_both_probabilities(
    predictions, photo_set, taxonomy, scored
):
    reports = ReportParams(mistakes=5)
    sheets = nodes.draw_mistakes(predictions, photo_set, taxonomy, scored[0], reports)
    said = texts(sheets["age"])
    assert 1 <= len([text for text in said if text.startswith("predicted ")]) <= 5
    for told, true in zip(said[::3], said[1::3], strict=True):
        assert told.split()[1] != true.split()[1]
        assert told.endswith("as the median")  # by itself it may be less probable than the truth
    for sheet in sheets.values():
        sheet.draw_without_rendering()
        assert sheet.get_tightbbox().y0 >= -0.05


def test_a_head_without_a_mistake_reports_it(better_predictions, photo_set, taxonomy, better):
    sheets = nodes.draw_mistakes(better_predictions, photo_set, taxonomy, better)
    assert "no mistake" in sheets["age"].get_suptitle()


def test_every_figure_can_do_without_labels(predictions, photo_set, taxonomy):
    blank = PhotoSet(photo_set.arrow.map(lambda row: dict.fromkeys(taxonomy.columns)))
    found, report = nodes.score_predictions(predictions, blank, taxonomy)
    json.dumps(found.model_dump(), allow_nan=False)
    assert len(report) == sum(len(head.classes) for head in taxonomy.heads)
    figures = [
        *nodes.draw_head_reports(found).values(),
        *nodes.draw_mistakes(predictions, blank, taxonomy, found).values(),
        *nodes.draw_confusion_matrices(predictions, blank, taxonomy, found).values(),
        nodes.draw_prediction_sheet(predictions, blank, taxonomy, found),
        nodes.compare_tiers(tier1=found, tier3=found)[1],
    ]
    for figure in figures:
        figure.draw_without_rendering()


def test_tiers_stand_side_by_side(scored, better):
    table, figure = nodes.compare_tiers(tier1=scored[0], tier3=better)
    row = table[(table["head"] == "age") & (table["metric"] == "accuracy")].iloc[0]
    assert row["tier1"] == scored[0].heads["age"].accuracy
    assert row["tier3"] == better.heads["age"].accuracy
    assert (row["tier1_low"], row["tier1_high"]) == scored[0].heads["age"].accuracy_interval
    wanted = {
        ("age", "quadratic_weighted_kappa", "higher"),
        ("age", "mean_absolute_error", "lower"),
        ("marks", "mean_average_precision", "higher"),
        ("state", "joint_accuracy", "higher"),
        ("state", "impossible_pairs", "lower"),
    }
    assert wanted <= set(table[["head", "metric", "better"]].itertuples(index=False, name=None))
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["tier1", "tier3"]


def test_one_tier_alone_is_compared_with_none(scored):
    table, figure = nodes.compare_tiers(tier1=scored[0])
    assert {"tier1", "tier1_low", "tier1_high"} <= set(table.columns)
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["tier1"]


def test_a_tier_that_lacks_a_head_leaves_a_gap(scored, better):
    age = {"heads": {"age": better.heads["age"]}, "hierarchy": {}}
    fewer = better.model_copy(update=age)
    table, figure = nodes.compare_tiers(tier1=fewer, tier3=better)
    crop = table[(table["head"] == "crop") & (table["metric"] == "accuracy")].iloc[0]
    assert pd.isna(crop["tier1"])
    assert crop["tier3"] == better.heads["crop"].accuracy
    assert "–" in texts(figure)


def test_the_wiring_makes_every_report(scored, predictions, photo_set, taxonomy, better):
    """The nodes after prediction, as the pipeline wires them, on data in memory."""
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.runner import SequentialRunner

    from cannabis_ml.pipelines.training import create_pipeline

    drawn = ["confusion_matrices", "head_reports", "mistakes", "prediction_sheet", "class_report"]
    part = create_pipeline().from_inputs("tier3.predictions").only_nodes_with_namespaces(["tier3"])
    part = part.to_outputs(*(f"tier3.{name}" for name in drawn))
    part += create_pipeline().filter(node_names=["compare_tiers"])
    given = {
        "tier3.predictions": predictions,
        "photo_set": photo_set,
        "taxonomy": taxonomy,
        "params:reports": ReportParams(),
        "tier1.test_metrics": better,
        "tier2.test_metrics": better,
    }
    entries = {n: MemoryDataset(v, copy_mode="assign") for n, v in given.items()}
    made = SequentialRunner().run(part, DataCatalog(entries))
    assert {f"tier3.{name}" for name in drawn} <= set(made)
    assert {"tier_comparison", "tier_comparison_figure"} <= set(made)
    assert {"tier1", "tier2", "tier3"} <= set(made["tier_comparison"].load().columns)
