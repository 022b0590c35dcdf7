import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cannabis_ml.calibration.choices import CalibrationReport, Choice
from cannabis_ml.calibration.promise import RoutingFigures
from cannabis_ml.calibration.routing_choice import RoutingReport
from cannabis_ml.calibration.unknown_choice import UnknownReport
from cannabis_ml.evaluation.calibration_scores import (
    CalibrationComparison,
    CalibrationError,
    CalibrationScores,
)
from cannabis_ml.evaluation.latency import FileLatency, LatencyReport, Percentiles, Timing
from cannabis_ml.evaluation.parity import FileReport, HeadParity, ParityReport
from cannabis_ml.evaluation.reliability_scores import (
    BackOffScores,
    ReliabilityScores,
    SetScores,
    UnknownScores,
)
from cannabis_ml.evaluation.scores import (
    AttributeScores,
    ClassScores,
    Evaluation,
    MulticlassScores,
    MultilabelScores,
    OrdinalScores,
)
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.model_file import ModelFile
from cannabis_ml.inference.routing import TierCost
from cannabis_ml.photo_sets.link_report import DivisionCheck
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.bundle import model_card
from cannabis_ml.pipelines.bundle.nodes import (
    collect_trust,
    describe_tier,
    pick_golden_photos,
    write_model_card,
)
from cannabis_ml.pipelines.bundle.params import BundleParams
from cannabis_ml.publishing.params import PublishingParams
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe_choice import ChosenRecipe

BUNDLE = BundleParams(name="leaves", photos="Drawn.", use="A test.", golden_photos=4)
TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "look", "kind": "multilabel", "classes": ["spots"]},
            {"name": "kind", "classes": ["oak", "a|b"]},
        ]
    }
)


@pytest.fixture(scope="module")
def photo_set():
    """Ten test photos, two of them of the rare class, one without a label; one for training."""
    kinds = ["oak"] * 7 + ["a|b"] * 2 + [None] + ["oak"]
    splits = ["test"] * 10 + ["train"]
    images = [np.full((8, 8, 3), 20 * i, np.uint8) for i in range(11)]
    photos = datasets.Dataset.from_dict(
        {
            "photo_id": [str(i) for i in range(11)],
            "image": images,
            "split": splits,
            "kind": kinds,
            "look.spots": [1] + [None] * 10,
        },
        features=datasets.Features(
            {
                "photo_id": datasets.Value("string"),
                "image": datasets.Image(),
                "split": datasets.Value("string"),
                "kind": datasets.Value("string"),
                "look.spots": datasets.Value("int8"),
            }
        ),
    )
    return PhotoSet(photos)


def picked(photo_set, bundle=BUNDLE):
    """Of a source without licence; every photo's own is its number, of photo 1 none."""
    ids = photo_set.labels()["photo_id"]
    licences = [None if i == 1 else f"licence {i}" for i in range(len(ids))]
    photos = pd.DataFrame({"photo_id": ids, "source": "field", "license": licences})
    rows = photos.sample(frac=1, random_state=0)  # in another order
    return pick_golden_photos(photo_set, rows, TAXONOMY, bundle, PublishingParams())


def numbers(photos):
    return [int(photo[0, 0, 0]) // 20 for photo in photos]


def test_golden_photos_are_of_every_class_in_turn_and_of_the_test_split(photo_set):
    found = numbers(picked(photo_set).pixels)
    kinds = ["rare" if i in (7, 8) else "oak" for i in found]
    assert kinds == ["oak", "rare", "oak", "rare"]
    assert 10 not in found
    again = numbers(picked(photo_set).pixels)
    assert found == again
    all_of_them = BUNDLE.model_copy(update={"golden_photos": 99})
    golden = picked(photo_set, all_of_them)
    found = numbers(golden.pixels)
    assert sorted(found) == list(range(10))
    assert found[-1] == 9  # without a label
    licences = ["unknown" if i == 1 else f"licence-{i}" for i in found]
    assert [rights.licence for rights in golden.rights] == licences
    assert golden.labels.keys() == {"kind"}
    expected = {**dict.fromkeys(range(7), "oak"), 7: "a|b", 8: "a|b", 9: None}
    assert golden.labels["kind"] == [expected[i] for i in found]


class File(ModelFile):
    @property
    def card(self):
        weights = {"source": "here", "licence": "MIT"}
        return FileCard(taxonomy=TAXONOMY, image_size=8, backbone="b", weights=weights)


class Taught(File):
    @property
    def card(self):
        return super().card.model_copy(update={"taught": True})


class Fused(File):
    @property
    def card(self):
        return super().card.model_copy(update={"backbone": ["wide", "deep"]})


def scores(model, **known):
    return model.model_construct(**dict.fromkeys(model.model_fields) | known)


OF_KIND = {
    "n": 9,
    "groups": 4,
    "accuracy_per_group": 0.625,
    "accuracy_per_group_interval": (0.125, 0.875),
    "accuracy": 0.5,
    "accuracy_interval": (0.25, 0.75),
    "macro_f1": 0.4,
    "in_words": "error above 20% on: oak",
}


def evaluation(head="kind", classes=("oak", "a|b"), **changed):
    """Of a head with labels, and of one without any."""
    known = {"precision": 0.125, "precision_interval": (0.0, 0.5), "f1": 1.0, "support": 3}
    known |= {"groups": 2, "recall_per_group": 0.5}
    per_class = {name: scores(ClassScores, **known) for name in classes}
    unknown = {"spots": scores(AttributeScores, support=0, groups=0)}
    look = scores(MultilabelScores, kind="multilabel", n=0, groups=0, per_class=unknown)
    kind = {"kind": "multiclass", **OF_KIND, "per_class": per_class, **changed}
    model = OrdinalScores if kind["kind"] == "ordinal" else MulticlassScores
    heads = {"look": look, head: scores(model, **kind)}
    return Evaluation.model_construct(heads=heads, confidence=0.95)


def choices(chosen="none"):
    why = "none of 3 did better" if chosen == "none" else "lowest | log loss"
    head = Choice.model_construct(chosen=chosen, photos=40, groups=30, why=why)
    return CalibrationReport.model_construct(splits=["calibration"], heads={"kind": head})


def trust(chosen="none", **changed):
    """Sets that broke their promise, a back-off that kept it, and an unknown score."""
    error = {"value": 0.1234, "perfect_mean": 0.02, "perfect_interval": (0.01, 0.0456)}
    true = {"photos": 60, "groups": 50, "smooth_ece": CalibrationError(**error)}
    before, after = (
        {"kind": scores(CalibrationScores, log_loss=loss, **true)} for loss in (0.7, 0.5)
    )
    sets = {"promised": 0.9, "n": 60, "groups": 50, "coverage": 0.75, "mean_size": 1.25}
    sets |= {"least_by_chance": 0.81, "kept": False, "single": 0.8}
    back_off = {"promised": 0.05, "wrong_branch": 0.02, "wrong_without": 0.3, "kept": True}
    back_off |= {"answered": {"kind": 0.6, "": 0.4}}
    unknown = {"false_alarms": 0.04, "kept": True, "caught": {"noise": 1.0, "a|b": 0.5}}
    found = {
        "sets": {"kind": scores(SetScores, **sets)},
        "bands": {},
        "back_off": {"kind": scores(BackOffScores, **back_off)},
        "unknown": scores(UnknownScores, **unknown),
    }
    report = {"method": "knn", "because": "knn is best.", "kept": 0.95, "threshold": 2.0}
    return collect_trust(
        choices(chosen),
        CalibrationComparison(before=before, after=after),
        ReliabilityScores.model_construct(**found | changed),
        scores(UnknownReport, **report),
    )


def routing(**changed):
    figures = {
        "photos": 60,
        "groups": 50,
        "answered": {"tier1": 0.625, "tier3": 0.25, "": 0.125},
        "accepted": 0.875,
        "error_rate": 0.03,
        "error_interval": (0.01, 0.09),
        "cost": TierCost(30),
        "cost_of_last": TierCost(80),
    }
    known = {"head": "kind", "sentence": "At most 5% of accepted answers are wrong."}
    known |= {"costs": {"tier1": TierCost(10), "tier3": TierCost(80)}}
    known |= {"test": RoutingFigures(**figures), "calibration": RoutingFigures(**figures)}
    return RoutingReport.model_construct(**known | changed)


def reports(quantized: bool, chosen="none"):
    files = {"float": File(b"12345678", "onnx")}
    if quantized:
        files["quantized"] = File(b"1234", "onnx", "dynamic_int8")
    heads = {"kind": HeadParity.model_construct(accuracy=0.5)}
    tried = {f.quantization: FileReport.model_construct(heads=heads) for f in files.values()}
    jpeg = Percentiles.model_construct(p50=12.34)
    timing = Timing.model_construct(jpeg_ms=jpeg)
    return {
        "models": files,
        "file_metrics": evaluation(),
        "parity": ParityReport.model_construct(files=tried, in_words="ships."),
        "latency": LatencyReport.model_construct(
            machine={"processor": "A chip", "cores": 2, "python": "3"},
            files=dict.fromkeys(files, FileLatency.model_construct(one_thread=timing)),
        ),
        "trust": trust(chosen),
    }


def card(photo_set, **links):
    tiers = {
        name: describe_tier(name, **reports(quantized))
        for name, quantized in (("tier1", True), ("tier3", False))
    }
    checked = division(**links)
    started = "2031-05-06T07:08:09+00:00"
    return write_model_card(photo_set, TAXONOMY, BUNDLE, started, checked, routing(), **tiers)


LINKS = {
    "looked_for": True,
    "max_distance": 8,
    "max_difference": 0.045,
    "across_splits": 0,
    "kept": 30,
    "in_named_groups": 0,
    "named_groups_across": 0,
}


def division(**links):
    return DivisionCheck(links=LINKS | links)


@pytest.mark.parametrize(
    ("links", "claims", "does_not"),
    [
        ({}, ["No near-duplicates (within 8 bits", "was not checked"], ["none of these groups"]),
        ({"across_splits": 61}, ["61 pairs of near-duplicates", "too high"], ["No near"]),
        ({"across_splits": None, "looked_for": False}, ["were not looked for"], ["No near"]),
        ({"in_named_groups": 30}, ["every photo", "none of these groups"], ["not checked"]),
        ({"in_named_groups": 7}, ["7 of 30 photos", "of the others that was not checked"], []),
        (
            {"in_named_groups": 30, "named_groups_across": 2},
            ["2 of these groups lie in several splits"],
            ["none of these groups"],
        ),
    ],
)
def test_card_claims_of_the_splits_what_was_checked(photo_set, links, claims, does_not):
    page = card(photo_set, **links)
    assert all(claim in page for claim in claims)
    assert not any(claim in page for claim in does_not)
    assert "share no plant" not in page


def test_card_has_the_head_that_the_hub_reads(photo_set):
    _, head, page = card(photo_set).split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["license"] == "apache-2.0"
    assert found["pipeline_tag"] == "image-classification"
    (index,) = found["model-index"]
    (result,) = index["results"]  # nothing is known of the other head
    assert {m["name"]: m["value"] for m in result["metrics"]} == {
        "tier1: accuracy": 0.5,
        "tier1: accuracy per group": 0.625,
        "tier1: macro F1": 0.4,
        "tier3: accuracy": 0.5,
        "tier3: accuracy per group": 0.625,
        "tier3: macro F1": 0.4,
    }
    assert page.startswith("\n# leaves\n")


def test_card_names_the_tiers_that_there_are_and_their_teachers(photo_set):
    assert "heads: `tier1` (phone) and `tier3` (server)." in card(photo_set)

    def page(file):
        found = reports(quantized=False) | {"models": {"float": file(b"12345678", "onnx")}}
        started, checked = "2031-05-06T07:08:09+00:00", division()
        tiers = {"tier1": describe_tier("tier1", **found)}
        return write_model_card(photo_set, TAXONOMY, BUNDLE, started, checked, routing(), **tiers)

    assert "heads: `tier1` (phone)." in page(File)
    assert "taught by" not in page(File)
    assert "weights (MIT) and was taught by tier3." in page(Taught)
    assert "| tier1 | wide + deep, 8 px |" in page(Fused)


def test_card_lists_files_scores_and_counts(photo_set):
    page = card(photo_set)
    assert "| tier1 | b, 8 px | onnx | dynamic_int8 | 0.0 | 12.3 | yes |" in page
    assert "| tier1 | b, 8 px | onnx | float | 0.0 | 12.3 |  |" in page
    assert "| tier3 | b, 8 px | onnx | float | 0.0 | 12.3 | yes |" in page
    assert "A chip, 2 cores, python 3" in page
    assert (
        "| kind (9 photos in 4 groups) | accuracy |"
        " 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |" in page
    )
    assert "| accuracy per group | 0.625 (0.125 to 0.875) |" in page
    # One oak was trained on; a bar in a class name does not end the cell.
    assert "| oak | 1 | 3 | 2 | 0.125 (0.000 to 0.500) | – | 0.500 | 1.000 |" in page
    assert "| a\\|b | 0 | 3 | 2 |" in page
    assert "10 test" in page
    assert "2031-05-06" in page


@pytest.mark.parametrize("confidence", [0.5, 0.99])
@pytest.mark.parametrize("chosen", ["none", "temperature"])
def test_card_describes_calibration(photo_set, chosen, confidence):
    """Of every head of every tier; what intervals hold has nothing to do with it."""
    found = reports(True, chosen)
    found["file_metrics"] = found["file_metrics"].model_copy(update={"confidence": confidence})
    tiers = {"tier1": describe_tier("tier1", **found)}
    started, checked = "2031-05-06T07:08:09+00:00", division()
    page = write_model_card(photo_set, TAXONOMY, BUNDLE, started, checked, routing(), **tiers)
    why = "none of 3 did better" if chosen == "none" else "lowest \\| log loss"
    assert f"| tier1 | kind | 40 photos in 30 groups | {chosen} | {why} |" in page
    assert ("as the networks give them" in page) == (chosen == "none")


@pytest.mark.parametrize("minutes", [None, 12.5])
def test_card_tells_that_the_training_was_chosen_for_minutes(photo_set, minutes):
    tiers = {"tier1": describe_tier("tier1", **reports(True))}
    recipe = ChosenRecipe(minutes=minutes, name="heads | alone")
    started, checked = "2031-05-06T07:08:09+00:00", division()
    given = (photo_set, TAXONOMY, BUNDLE, started, checked, routing(), recipe)
    page = write_model_card(*given, **tiers)
    assert ("fit into 12.5 minutes: heads \\| alone." in page) == (minutes is not None)


def test_card_does_not_call_calibrated_what_photos_were_too_few_for(photo_set):
    found = reports(True)
    head = found["trust"].calibration.heads["kind"]
    few = head.model_copy(update={"is_calibrated": False, "why": "Not calibrated: 8 groups."})
    found["trust"].calibration.heads["kind"] = few
    tiers = {"tier1": describe_tier("tier1", **found)}
    started, checked = "2031-05-06T07:08:09+00:00", division()
    page = write_model_card(photo_set, TAXONOMY, BUNDLE, started, checked, routing(), **tiers)
    assert "| not calibrated | Not calibrated: 8 groups. |" in page
    assert "do not read it as a chance" in page
    assert "no calibrator did better" not in page


def test_card_has_promises_and_test_results(photo_set):
    page = card(photo_set)
    of_60 = "60 photos in 50 groups"
    assert f"| tier1 | kind | {of_60} | 0.700 | 0.500 | 0.123 | 0.123 | 0.046 |" in page
    assert (
        "| tier3 | kind | 60 in 50 groups | 90.0% | 75.0%: broken | 1.250 | 80.0% | 81.0% |" in page
    )
    assert "| tier1 | kind | 5.0% | 2.0% | 30.0% | kind 60.0%, no head 40.0% |" in page
    assert "| tier1 | knn | 4.0% | 5.0% | noise 100.0%, a\\|b 50.0% | knn is best. |" in page
    assert "by `kind`: At most 5% of accepted answers are wrong." in page
    assert "| tier1 | 62.5% | 10 ms |" in page
    assert "| none | 12.5% | |" in page
    told = " ".join(page.split())
    assert "87.5% of answers are accepted, of these 3.0% are wrong (1.0% to 9.0%)" in told
    assert "A photo costs 30 ms on average, by tier3 alone 80 ms." in told
    assert "of the test split, which nothing was chosen on" in told


def test_card_names_what_is_missing(photo_set):
    found = reports(True) | {"trust": trust(back_off={}, unknown=None, sets={})}
    tiers = {"tier1": describe_tier("tier1", **found)}
    checked = division()
    started = "2031-05-06T07:08:09+00:00"
    page = write_model_card(
        photo_set, TAXONOMY, BUNDLE, started, checked, routing(test=None), **tiers
    )
    assert "wrong branch" not in page
    assert "| tier1 | knn | – | 5.0% |  | knn is best. |" in page
    assert "of the calibration split, which it was chosen on" in " ".join(page.split())


def test_tables_of_the_card_are_whole(photo_set):
    """Rows of one table follow each other, with as many cells as its head."""
    lines = card(photo_set).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("|---")]
    # Files, metrics, calibrators, how true confidence is, sets, back-off, unknown, routing.
    assert len(rules) == 8 + len(TAXONOMY.heads)
    for rule in rules:
        cells = lines[rule].count("|")
        assert lines[rule - 1].count("|") == cells
        assert lines[rule + 1].replace("\\|", "").count("|") == cells


def test_every_headline_has_a_title():
    assert {m for metrics in model_card.HEADLINES.values() for m in metrics} <= set(
        model_card.TITLES
    )


def as_read(markdown):
    """What a reader sees of a line, and of the cells of a table."""
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    return [
        "".join(child.content if child.type == "text" else f"<{child.type}>" for child in inner)
        for token in parsed
        if (inner := token.children)
    ]


ODD = ["|", "*x*", "`x`", "_x_", "a_b", "<b>", "&lt;", "[x](y)", "~~x~~", "$x$", "# x", "1. x"]
ODD += [
    ": x",
    "- x",
    "+",
    "=",
    "---",
    "\\",
    "\\|",
    "\\*",
    "a\\",
    "**",
    "> x",
    "![x](y)",
    "1) x",
    "__a__b_",
]


@pytest.mark.parametrize("name", ODD)
def test_names_stand_in_the_card_as_they_are(name):
    assert as_read(f"{model_card.markdown_text(name)}\n") == [name]
    rows = f"| a | b |\n|---|---|\n| {model_card.markdown_text(name)} | x |\n"
    assert as_read(rows) == ["a", "b", name, "x"]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_whatever_a_name_is_the_card_has_it(name):
    line = " ".join(name.split())
    assert as_read(f"{model_card.markdown_text(name)}\n") == ([line] if line else [])


def test_heads_and_classes_with_odd_names_stand_in_the_card_as_they_are(photo_set):
    names = ["*oak*", "[a|b](c)"]
    (report,) = [reports(quantized=False)]
    report["file_metrics"] = evaluation("<kind>", names, in_words="error on: *oak*")
    odd = Taxonomy.model_validate({"heads": [{"name": "<kind>", "classes": names}]})
    tiers = {"tier1": describe_tier("tier1", **report)}
    started = "2031-05-06T07:08:09+00:00"
    page = write_model_card(photo_set, odd, BUNDLE, started, division(), routing(), **tiers)
    read = as_read(page.split("---\n", 2)[2])
    for name in names:
        assert name in read  # its row
    assert any(", ".join(names) in line for line in read)
    assert any("error on: *oak*" in line for line in read)
    assert any(line.startswith("<strong_open><kind><strong_close>") for line in read)


def test_card_explains_ordinal_answers(photo_set):
    grade = {"name": "kind", "kind": "ordinal", "classes": ["oak", "a|b"]}
    found = reports(quantized=False) | {"file_metrics": evaluation(kind="ordinal")}
    tiers = {"tier1": describe_tier("tier1", **found)}
    graded = Taxonomy.model_validate({"heads": [grade]})
    started = "2031-05-06T07:08:09+00:00"
    page = write_model_card(photo_set, graded, BUNDLE, started, division(), routing(), **tiers)
    assert "is the median" in page
    assert "is the median" not in card(photo_set)
