"""Reviewing labels, checking answers, judging flips, explaining, and measuring all that."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from model_server import example_of

from cannabis_ml.assistant.checking import (
    AnsweredPhoto,
    answers_in_short,
    check_questions,
    checked,
    flags,
)
from cannabis_ml.assistant.evaluating import score_heads
from cannabis_ml.assistant.explaining import (
    explanation_question,
    read_explanation,
    where_it_lies,
)
from cannabis_ml.assistant.judging import Flip, flip_questions, judge
from cannabis_ml.assistant.outgoing import photos_in
from cannabis_ml.assistant.params import ExplainParams
from cannabis_ml.assistant.reviewing import LabelledPhoto, doubts, review_questions, reviewed
from cannabis_ml.assistant.suggesting import to_store
from cannabis_ml.assistant.treatments import Treatments, read_treatments
from cannabis_ml.errors import ConfigError
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.inference.bundle_writer import write_bundle


@pytest.fixture
def store(tmp_path):
    with FeedbackStore(f"sqlite:///{tmp_path}/feedback.db") as opened:
        yield opened


@pytest.fixture
def bundle(onnx_contents, tmp_path):
    return write_bundle(tmp_path / "bundle", onnx_contents())


def test_labels_that_are_doubted_come_first_and_are_put_up(server, runner, folder, taxonomy, store):
    given = [
        LabelledPhoto(photo, label)
        for photo, label in zip(photos_in(folder(3)), ("plant", "hash", "hash"), strict=True)
    ]
    found = {"plant": ("plant", 0.9), "hash": ("plant", 0.6)}

    def answer(asked):
        label = "plant" if '"plant"' in asked.text else "hash"
        name, sure = found[label]
        return {"label": name, "confidence": sure, "reason": "serrated leaves"}

    server.answer = answer
    head = taxonomy["product"]
    result = runner().run(review_questions(given, head, 256))
    table = reviewed(given, result.outcomes)
    assert table["verdict"].tolist() == ["wrong", "wrong", "right"]
    assert table["suggested"].tolist() == ["plant"] * 3
    assert set(table["reason"]) == {"serrated leaves"}
    wrong = doubts(given, result.outcomes, head)
    to_store(store, wrong, "m")
    assert store.waiting("ada", 1, 10)[0] == 2
    assert set(store.opinions()["label"]) == {"plant"}


def test_answers_that_are_doubted_are_flagged_and_stay_as_they_are(
    server, runner, folder, bundle, store
):
    predictor = bundle.predictor("tier2")
    given = [
        AnsweredPhoto(photo, answers_in_short(predictor.predict(photo.read())))
        for photo in photos_in(folder(3))
    ]
    first = given[0].answers
    assert set(first) <= {head.name for head in bundle.taxonomy.heads}
    verdicts = iter(["agree", "disagree", "uncertain"])
    head = bundle.taxonomy.heads[0].name

    def answer(asked):
        verdict = next(verdicts)
        heads = [] if verdict == "agree" else [head]
        return {"verdict": verdict, "heads": heads, "concerns": ["no leaf in view"] * len(heads)}

    server.answer = answer
    result = runner(pace={"concurrency": 1}).run(check_questions(given, bundle.taxonomy, 256))
    table = checked(given, result.outcomes)
    assert table["verdict"].tolist() == ["disagree", "uncertain", "agree"]
    assert table["concerns"].tolist() == ["no leaf in view", "no leaf in view", ""]
    to_store(store, flags(result.outcomes, bundle.taxonomy), "m")
    count, waiting = store.waiting("ada", 1, 10)
    assert count == 2
    assert {one.suggestion for one in waiting} == {None}
    assert "no leaf in view" in waiting[0].reason
    assert set(store.opinions()["verdict"]) == {"unsure"}
    assert store.answers().empty


def flips(folder, count):
    return [Flip(photo, "plant", "hash") for photo in photos_in(folder(count))]


def test_flips_are_judged_in_both_orders(server, runner, folder, taxonomy):
    given = flips(folder, 20)

    def answer(asked):  # right about which one it is, whatever the order
        first = asked.text.splitlines()[1]
        choice = "first" if "hash" in first else "second"
        return {"choice": choice, "confidence": 0.9, "reason": "brown"}

    server.answer = answer
    items, new_first = flip_questions(given, taxonomy["product"], 256, seed=0)
    assert len(items) == 40
    assert 0 < new_first[::2].sum() < 20  # which order is asked first is random
    assert (new_first[::2] != new_first[1::2]).all()
    report = judge(runner().run(items).outcomes, new_first)
    assert (report.flips, report.new_right, report.old_right) == (20, 20, 0)
    assert report.first_share == 0.5
    assert not report.has_position_bias
    assert report.new_low > 0.8


def test_a_judge_that_always_takes_the_first_is_found_out(server, runner, folder, taxonomy):
    server.answer = lambda asked: {"choice": "first", "confidence": 0.9, "reason": "it is first"}
    items, new_first = flip_questions(flips(folder, 20), taxonomy["product"], 256, seed=0)
    report = judge(runner().run(items).outcomes, new_first)
    assert (report.new_right, report.old_right, report.inconsistent) == (0, 0, 20)
    assert report.first_share == 1
    assert report.has_position_bias


RULES = {
    "dry": {
        "head": "part",
        "classes": ["leaf"],
        "advice": "Dry it for 3 days at 20 degrees.",
        "source": "A handbook of drying, 2025",
        "date": date(2026, 11, 28),
    }
}


@pytest.fixture
def explained(bundle, folder):
    """A question on one photo, with a rule for what was found on it."""
    (photo,) = photos_in(folder(1))
    report = bundle.report(photo.read(), tier="tier2", heat_map=True)
    head = next(one for one in report.heads.values() if isinstance(one.decided, str))
    rule = RULES["dry"] | {"head": head.head.name, "classes": [head.decided]}
    other = rule | {"classes": [c for c in head.head.class_names if c != head.decided]}
    rules = read_treatments({"dry": rule, "other": other}, bundle.taxonomy)
    return explanation_question(photo, report, report.heat_map, rules, ExplainParams(language="es"))


def test_an_explanation_words_the_rules_that_apply(server, runner, explained):
    assert list(explained.rules) == ["dry"]
    assert '"dry"' in explained.item.prompt.text
    wording = "Séquela 3 días a 20 grados."
    server.answer = lambda asked: {
        "text": "Es una hoja. Se ve <b>verde</b>.",
        "treatments": [{"rule": "dry", "wording": wording}],
    }
    result = runner().run([explained.item])
    found = read_explanation(explained, result.outcomes[0], "m")
    assert found.text == "Es una hoja. Se ve b verde /b ."
    (one,) = found.treatments
    assert (one.wording, one.advice) == (wording, "Dry it for 3 days at 20 degrees.")
    assert (one.source, one.date) == ("A handbook of drying, 2025", "2026-11-28")
    assert "es" in server.asked[0].system


@pytest.mark.parametrize(
    ("text", "treatments", "reason"),
    [
        ("One. Two.", [], "not each of"),
        ("One. Two.", [("dry", "Dry it 5 days.")], "no number 5"),
        ("One. Two.", [("dry", "Dry it."), ("dry", "Dry it.")], "not each of"),
        ("One. Two.", [("other", "Spray it.")], "dry"),
        ("One.", [("dry", "Dry it.")], "1 sentences"),
        ("One. Two. Three. Four.", [("dry", "Dry it.")], "4 sentences"),
        ("a" * 1000 + ". Two.", [("dry", "Dry it.")], "characters"),
    ],
)
def test_an_explanation_that_makes_up_a_rule_is_none(
    anthropic_server, tmp_path, explained, text, treatments, reason
):
    from cannabis_ml.assistant.asking import read_answer
    from cannabis_ml.assistant.provider import Reply, Usage

    given = {
        "text": text,
        "treatments": [{"rule": rule, "wording": wording} for rule, wording in treatments],
    }
    import json
    from datetime import UTC, datetime

    usage = Usage(input_tokens=1, output_tokens=1)
    reply = Reply(text=json.dumps(given), usage=usage, ended="end_turn", at=datetime.now(UTC))
    answer, why = read_answer(explained.item, reply)
    assert answer is None
    assert reason in why


def test_where_a_heat_map_lies_is_said_in_words():
    cells = np.zeros((8, 8))
    cells[:3, :3] = 1
    there = SimpleNamespace(is_even=False, cells=cells)
    assert where_it_lies(there) == "mainly in these parts of the photo: upper left"
    cells[-3:, -3:] = 1
    assert where_it_lies(there).endswith("upper left, lower right")
    assert where_it_lies(SimpleNamespace(is_even=True)) == "on no part more than on others"


def test_a_table_of_rules_that_is_not_valid_says_every_fault(taxonomy):
    with pytest.raises(ConfigError) as found:
        read_treatments({"dry": {"head": "product", "classes": []}, "B d": RULES["dry"]})
    for word in ("dry.classes", "dry.advice", "dry.source", "dry.date", "B d"):
        assert word in str(found.value)
    rule = RULES["dry"] | {"head": "product", "classes": ["gold"]}
    with pytest.raises(ConfigError, match="'gold' is not a class of 'product'"):
        read_treatments({"dry": rule}, taxonomy)
    assert read_treatments(RULES, taxonomy) == Treatments({})  # of another taxonomy


def test_scores_by_hand(taxonomy):
    """Ten photos; the assistant is not sure of two, and right on six of eight."""
    labels = {"product": ["plant"] * 5 + ["hash"] * 5, "grade": [None] * 10}
    mine = [("plant", 0.75)] * 5 + [("plant", 0.75)] * 2 + [("hash", 0.75)] + [(None, 0.0)] * 2
    tier = [("plant", 0.9)] * 5 + [("hash", 0.9)] * 5
    answers = {"assistant": {"product": mine}, "tier1": {"product": tier}}
    heads = [taxonomy["product"]]
    found = score_heads(heads, labels, list(range(10)), answers)["product"]
    one = found["assistant"]
    assert (one.photos, one.not_sure, one.accuracy) == (8, 2, 0.75)
    assert one.agreement == {"tier1": 0.75}
    assert one.mean_confidence == 0.75
    assert one.calibration_error == pytest.approx(0, abs=1e-6)
    assert one.low < 0.75 < one.high
    assert found["tier1"].accuracy == 1
    assert found["tier1"].calibration_error == pytest.approx(0.1, abs=0.02)


def test_who_is_sure_of_nothing_has_no_score(taxonomy):
    answers = {"assistant": {"product": [(None, 0.0)] * 2}}
    labels = {"product": ["plant", "hash"]}
    found = score_heads([taxonomy["product"]], labels, [0, 1], answers)
    one = found["product"]["assistant"]
    assert (one.photos, one.not_sure, one.accuracy) == (0, 2, None)


def test_the_least_answers_of_all_forms_are_valid(server, runner, folder, taxonomy):
    photos = photos_in(folder(1))
    items = review_questions([LabelledPhoto(photos[0], "plant")], taxonomy["product"], 256)
    items += check_questions([AnsweredPhoto(photos[0], {})], taxonomy, 256)
    items += flip_questions(flips(folder, 1), taxonomy["product"], 256, 0)[0]
    server.answer = lambda asked: example_of(asked.schema)
    assert {outcome.status for outcome in runner().run(items).outcomes} == {"answered"}
