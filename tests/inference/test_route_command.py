"""`python -m cannabis_ml.inference BUNDLE PHOTO --route`."""

import json

import pytest
from PIL import Image

from cannabis_ml.inference.__main__ import main
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.report import ReportSettings
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.routing import Promised, RoutingRule, TierCost, TierThresholds

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def bundle(contents, model_file, tmp_path_factory):
    """Tiers 1 and 3, with a promise."""
    tiers = {
        "tier1": {"float": model_file("tflite", tier="tier1")},
        "tier3": {"float": model_file("onnx", tier="tier3")},
    }
    head = contents().taxonomy.heads[0].name
    rule = RoutingRule(
        head=head,
        tiers=[
            TierThresholds(tier="tier1", accept_from=0.6, by_class={"red": 0.9}, cost=TierCost(15)),
            TierThresholds(tier="tier3", accept_from=0.0, cost=TierCost(250, 0.001)),
        ],
        promised=Promised(error_rate=0.1, confidence=0.95, groups=200, accepted=90, errors=3),
        promised_by_class={
            "red": Promised(error_rate=0.1, confidence=0.95, groups=200, accepted=60, errors=1)
        },
    )
    folder = tmp_path_factory.mktemp("routed") / "bundle"
    return write_bundle(folder, contents(tiers=tiers, routing=rule))


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for index, photo in enumerate(photos(8)):
        found.append(folder / f"{index}.png")
        Image.fromarray(photo).save(found[-1])
    return found


@pytest.fixture
def run(bundle, capfd):
    def run(*arguments):
        try:
            status = main([str(bundle.path), *map(str, arguments), "--route"])
        except SystemExit as ended:  # argparse
            status = ended.code
        return status, *capfd.readouterr()

    return run


def answers(out, file):
    found = [json.loads(line) for line in out.splitlines()]
    return [one for one in found if one["photo"] == str(file)]


def test_a_fast_answer_comes_first_and_a_better_one_later(run, bundle, files):
    status, out, err = run(*files, "--json")
    assert (status, err) == (0, "")
    head = bundle.routing.head
    seen = set()
    for file in files:
        routed = answers(out, file)
        first = bundle.predict(file, "tier1")
        least = 0.9 if first[head].decided == "red" else 0.6
        stays = first[head].probs.max() >= least
        seen.add(stays)
        assert [one["tier"] for one in routed] == (["tier1"] if stays else ["tier1", "tier3"])
        assert [one["final"] for one in routed] == ([True] if stays else [False, True])
        last = bundle.predict(file, routed[-1]["tier"]).as_json()
        assert routed[-1]["answer"] == last
        report = bundle.report(file, tier=routed[-1]["tier"]).as_json()
        assert routed[-1]["report"] == report
        assert all("report" not in one for one in routed[:-1])
        spent = 15 if stays else 265
        assert routed[-1]["cost"]["milliseconds"] == spent
    assert seen == {True, False}


def test_people_read_which_tier_answered_why_and_at_what_cost(run, bundle, files):
    _, out, _ = run(*files)
    lines = out.splitlines()
    assert lines[0] == (
        f"by {bundle.routing.head}, max probability: at most 10% of accepted answers are wrong,"
        " with 95% confidence (3 of 90 were, among 200 groups of photos)"
    )
    assert lines[1] == "tier1 accepts from 0.6; red from 0.9 (1 of 60 wrong); costs 15 ms"
    assert lines[2] == "tier3 accepts from 0; costs 250 ms, 0.001 money"
    assert any(
        line.startswith("  tier1 after ")
        and ", cost 15 ms: not accepted (score 0." in line
        and line.endswith(", a larger tier is asked")
        for line in lines
    )
    assert any(", cost 265 ms, 0.001 money: accepted (score " in line for line in lines)
    assert lines[-1].startswith("8 photos: final answers by tier1 ")


def test_people_get_the_report_on_the_final_answer_in_their_language(run, bundle, files):
    _, out, _ = run(files[0], "--language", "es", "--levels", "0.9", "0.8", "0.7")
    final = [line for line in out.splitlines() if line.startswith("  tier")][-1].split()[0]
    settings = ReportSettings(reliable=0.9, likely=0.8, retake=0.7)
    reporter = Reporter(bundle.predictor(final), bundle.rules(final), settings)
    expected = reporter.report(files[0], language="es").in_words(str(files[0]))
    printed = " ".join(out.split())
    assert all(" ".join(line.split()) in printed for line in expected)
    with pytest.raises(SystemExit):
        main([str(bundle.path), str(files[0]), "--route", "--heat-map", "folder"])


def test_tier_3_may_be_elsewhere_and_away(run, bundle, files):
    pytest.importorskip("httpx", reason="needs pip install cannabis_ml[remote]")
    head = bundle.routing.head
    unsure = next(f for f in files if bundle.predict(f, "tier1")[head].probs.max() < 0.6)
    status, out, _ = run(unsure, "--json", "--tier3-url", NOBODY)
    assert status == 0
    first, last = answers(out, unsure)
    assert (first["tier"], first["degraded"]) == ("tier1", False)
    assert (last["tier"], last["degraded"], last["final"]) == ("tier1", True, True)
    assert "ConnectError" in last["missing"]["tier3"]
    assert last["answer"] == first["answer"]
    assert last["report"] == bundle.report(unsure, tier="tier1").as_json()
    told = run(unsure, "--tier3-url", NOBODY)[1]
    assert "the best answer so far, not accepted (score" in told
    assert "Not reached: tier3: tier3: ConnectError" in told


def test_fixed_thresholds(run, bundle, files):
    _, out, _ = run(files[0], "--thresholds", "1.5")
    assert "fixed thresholds, nothing is promised" in out
    assert "tier3 accepts every answer; costs 250 ms, 0.001 money" in out
    assert "(every answer of this tier is accepted)" in out
    assert run(files[0], "--thresholds", "0.5,0.5")[0] == 2


def test_what_is_no_photo_is_named_and_the_others_are_answered(run, files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 cut")
    status, out, err = run(bad, files[0], "--json")
    assert status == 1
    assert f"{bad}: " in err
    assert "error" in answers(out, bad)[0]
    assert answers(out, files[0])[-1]["final"]


def test_options_of_routing_go_with_it(bundle, files, capfd):
    with pytest.raises(SystemExit):
        main([str(bundle.path), str(files[0]), "--tier3-url", NOBODY])
    assert "go with --route" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main([str(bundle.path), str(files[0]), "--route", "--tier", "tier1"])
    assert "--tier and --float do not go with it" in capfd.readouterr().err


def test_a_rule_that_accepts_nothing_is_reported():
    nothing = RoutingRule(head="h", tiers=[TierThresholds(tier="tier1", accept_from=None)])
    assert nothing.in_words() == [
        "by h, max probability: no answer is accepted, as no error rate could be promised",
        "tier1 accepts no answer",
    ]
