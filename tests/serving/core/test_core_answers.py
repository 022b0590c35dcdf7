"""The phone's answer is the server's: random bundles, answered by Python and by TypeScript."""

import math
from collections import Counter
from itertools import product
from typing import get_args

import numpy as np
import pytest

from cannabis_ml.inference.answer import shortest
from cannabis_ml.inference.confidence import SCORES
from cannabis_ml.inference.language import languages
from cannabis_ml.inference.report import Level, Part
from cannabis_ml.inference.unknown import METHODS

CASES = 500
TOLERANCE = 1e-9
"""Of numbers, relative to those above 1. Texts, classes, sets and flags are compared exactly."""


@pytest.fixture(scope="module")
def made(cases):
    return [cases.make_case(seed) for seed in range(CASES)]


@pytest.fixture(scope="module")
def others(cases, made):
    return [cases.others_of(case, seed) for seed, case in enumerate(made)]


@pytest.fixture(scope="module")
def answers(core, made, others):
    return core("answer", [c.as_json(o) for c, o in zip(made, others, strict=True)])


def differences(ours, theirs, where=""):
    """Places where two pieces of plain data differ."""
    if isinstance(theirs, float) and not isinstance(theirs, bool):
        near = (
            isinstance(ours, int | float)
            and not isinstance(ours, bool)
            and (ours == theirs or abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs)))
        )
        both_nan = isinstance(ours, float) and math.isnan(ours) and math.isnan(theirs)
        return [] if near or both_nan else [f"{where}: {ours!r} is not {theirs!r}"]
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if set(ours) != set(theirs):
            return [f"{where}: {sorted(ours)} are not {sorted(theirs)}"]
        return [d for k in theirs for d in differences(ours[k], theirs[k], f"{where}.{k}")]
    if isinstance(theirs, list | tuple) and isinstance(ours, list):
        if len(ours) != len(theirs):
            return [f"{where}: {ours!r} is not {theirs!r}"]
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}[{i}]")]
    same = type(ours) is type(theirs) and ours == theirs
    return [] if same else [f"{where}: {ours!r} is not {theirs!r}"]


def assert_same(ours, theirs):
    found = [
        f"seed {seed} {d}"
        for seed, (a, b) in enumerate(zip(ours, theirs, strict=True))
        for d in differences(a, b)
    ]
    assert not found, f"{len(found)} differences\n" + "\n".join(found[:20])


@pytest.fixture(scope="module")
def reports(made):
    return [case.reports() for case in made]


@pytest.fixture(scope="module")
def golden_reports(made, others):
    return [case.golden_report(other) for case, other in zip(made, others, strict=True)]


def test_reports_are_the_same_in_both_languages(reports, answers):
    assert_same([one["reports"] for one in answers], reports)


def test_the_same_tier_is_asked_next(made, answers):
    assert_same([one["verdict"] for one in answers], [case.verdict() for case in made])


def test_golden_answers_are_compared_alike(golden_reports, answers):
    assert_same([one["golden"] for one in answers], golden_reports)


def test_cases_hold_all_that_bundles_can(made):
    rules = [case.rules for case in made]
    taxonomies = [one.decision.taxonomy for one in rules]
    calibrators = Counter(c.kind for one in rules for c in one.decision.rule.calibrators.values())
    assert set(calibrators) == {
        *("none", "temperature", "structured", "platt", "beta", "isotonic", "ordinal", "affine")
    }
    assert {one.unknown and one.unknown.method for one in rules} == {None, *METHODS}
    assert {(head.kind, t.limits(head)) for t in taxonomies for head in t.heads} == set(
        product(["multiclass", "ordinal", "multilabel"], [False, True])
    )
    assert {one.routing.score for one in made} == set(SCORES)
    assert {one.routing.promised is None for one in made} == {True, False}
    assert {"routing.json" in one.files for one in made} == {True, False}


def test_reports_hold_all_that_reports_can(reports, answers, golden_reports):
    english = [report for report, _ in reports]
    levels = {h["recommendation"]["level"] for one in english for h in one["heads"].values()}
    assert levels == {*get_args(Level), None}
    assert {part for one in english for part in one["missing"]} == set(get_args(Part))
    faults = {fault["name"] for one in english for fault in one["photo_faults"]}
    assert faults == {"too_small", "blurred", "dark", "burnt_out", "almost_uniform"}
    flags = {h["backed_off"] for one in english for h in one["heads"].values()}
    assert flags == {True, False, None}
    assert {one["verdict"]["accepted"] for one in answers} == {True, False}
    assert {one["verdict"]["next"] for one in answers} == {"tier2", None}
    assert {one["passed"] for one in golden_reports} == {True, False}


def test_languages_are_those_of_the_files(core):
    assert core("languages", [{}]) == [languages()]


def test_float32_are_written_with_the_same_digits(core):
    singles = np.concatenate(
        [
            np.float32(2.0) ** np.arange(-149, 5, dtype=np.float32),
            np.random.default_rng(0).random(5000, np.float32),
            np.nextafter(np.float32(2.0) ** np.arange(-60, 2, dtype=np.float32), np.float32(0)),
        ]
    )
    found = core("shortest", [{"values": singles.tolist()}])[0]
    assert found == [shortest(value) for value in singles]
