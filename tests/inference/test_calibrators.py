"""What calibrators do to probabilities, and what no file of theirs can make them do."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cannabis_ml.errors import BundleError
from cannabis_ml.inference.calibrators import (
    Affine,
    Beta,
    Isotonic,
    Ordinal,
    Platt,
    Structured,
    Temperature,
    Uncalibrated,
    cumulative_logits,
    from_json,
    to_json,
)
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.taxonomy import Head, Taxonomy

K = 4

OF_CLASSES = {
    "none": Uncalibrated(),
    "hot": Temperature(temperature=3.0, smoothing=0.02),
    "cold": Temperature(temperature=0.1),
    "diagonal": Structured(
        temperature=1.5, smoothing=0.01, diagonal=(1.2, 0.9, 1.0, 0.5), bias=(0.1, -0.4, 0.0, 2.0)
    ),
    "matrix": Structured(
        temperature=1.0,
        diagonal=(1.0, 1.0, 1.0, 1.0),
        bias=(0.0, 0.0, 0.0, 0.0),
        others=((0.0, 0.2, 0.0, 0.0), (0.1, 0.0, 0.0, 0.0), (0.0,) * 4, (0.0, 0.0, -0.3, 0.0)),
    ),
    "platt": Platt(slope=0.5, shift=-1.0),
    "beta": Beta(a=0.7, b=0.2, shift=0.1),
    "isotonic": Isotonic(confidence=(0.3, 0.6, 0.9), right=(0.1, 0.5, 0.7), smoothing=0.01),
}
GRADES = {
    "scaled": Ordinal(scale=0.4, shifts=(0.0, 0.0, 0.0), smoothing=0.03),
    "shifted": Ordinal(scale=1.5, shifts=(0.5, 0.2, -1.0)),
}
ATTRIBUTES = {"affine": Affine(slopes=(1.0, 0.5, 2.0, 0.0), shifts=(0.0, -1.0, 0.3, 0.0))}
EVERY = OF_CLASSES | GRADES | ATTRIBUTES

OF_CONFIDENCE = {"platt", "beta", "isotonic"}


def _drawn(photos=300, seed=0):
    random = np.random.default_rng(seed)
    return random.dirichlet([0.3] * K, photos).astype(np.float32)


def rows():
    """float32 rows that sum to 1, with ties, zeros, ones and neighbours that hardly differ."""
    values = st.one_of(
        st.sampled_from([0.0, 0.25, 0.5, float(np.nextafter(np.float32(0.5), 1)), 1.0]),
        st.floats(0, 1, width=32),
    )
    drawn = arrays(np.float32, (K,), elements=values).filter(lambda row: row.sum() > 0)
    return drawn.map(lambda row: (row / row.sum()).astype(np.float32))


def test_nothing_is_changed_by_none():
    probs = _drawn()
    np.testing.assert_array_equal(Uncalibrated().apply(probs), probs)


def test_temperature_by_hand():
    """Square roots of 0.8 and 0.2 are as 2 to 1; then a tenth of one half each is mixed in."""
    found = Temperature(temperature=2.0, smoothing=0.1).apply(np.array([[0.8, 0.2]]))
    np.testing.assert_allclose(found, [[0.9 * 2 / 3 + 0.05, 0.9 / 3 + 0.05]], rtol=1e-12)


@settings(max_examples=300)
@given(row=rows(), temperature=st.floats(0.05, 20), smoothing=st.floats(0, 0.99))
def test_no_temperature_changes_the_answer(row, temperature, smoothing):
    found = Temperature(temperature=temperature, smoothing=smoothing).apply(row)
    assert found.argmax() == row.argmax()


@settings(max_examples=300)
@given(row=rows(), name=st.sampled_from(sorted(OF_CONFIDENCE)))
def test_calibrators_of_confidence_keep_the_answer(row, name):
    found = OF_CLASSES[name].apply(row)
    assert found.argmax() == row.argmax()
    assert found.sum() == pytest.approx(1)


def test_platt_by_hand():
    """Odds of 4 become sqrt(4) = 2; the others share a third as they shared a fifth: 3 to 1."""
    found = Platt(slope=0.5, shift=0.0).apply(np.array([0.15, 0.8, 0.05]))
    np.testing.assert_allclose(found, [0.25, 2 / 3, 1 / 12], rtol=1e-12)


def test_beta_by_hand():
    """c² / (c² + (1 - c)³ e^-s), of c = 0.8 and s = log 2: 0.64 to 0.004."""
    found = Beta(a=2.0, b=3.0, shift=float(np.log(2))).apply(np.array([0.8, 0.2]))
    np.testing.assert_allclose(found, [0.64 / 0.644, 0.004 / 0.644], rtol=1e-12)


def test_isotonic_is_straight_between_knots_and_flat_beyond():
    curve = Isotonic(confidence=(0.6, 0.8), right=(0.55, 0.65))
    probs = np.array([[0.51, 0.49], [0.7, 0.3], [0.99, 0.01]])
    np.testing.assert_allclose(curve.apply(probs)[:, 0], [0.55, 0.6, 0.65], rtol=1e-12)


def test_structured_scaling_by_hand():
    """W log p + b: 0.5 ** 2 * 2, 0.25 and 0.25 * 0.5, of 0.5, 0.25, 0.25."""
    scaling = Structured(
        temperature=1.0,
        diagonal=(2.0, 1.0, 1.0),
        bias=(float(np.log(2)), 0.0, 0.0),
        others=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    )
    found = scaling.apply(np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(found, np.array([0.5, 0.25, 0.125]) / 0.875, rtol=1e-12)


def test_affine_by_hand():
    found = Affine(slopes=(1.0, 0.5), shifts=(float(np.log(3)), 0.0)).apply(np.array([0.5, 0.8]))
    np.testing.assert_allclose(found, [0.75, 2 / 3], rtol=1e-12)


@settings(max_examples=300)
@given(row=rows(), scale=st.floats(0.05, 20), smoothing=st.floats(0, 0.99))
def test_scaling_an_ordinal_head_keeps_its_median(row, scale, smoothing):
    head = Head(name="grade", kind="ordinal", classes=list("abcd"))
    row = row.astype(np.float64)
    if np.abs(row.cumsum() - 0.5).min() < 1e-6:
        return  # a median that rounding decides
    found = Ordinal(scale=scale, shifts=(0.0,) * 3, smoothing=smoothing).apply(row)
    assert head.answer(found) == head.answer(row)


@settings(max_examples=300)
@given(row=rows(), name=st.sampled_from(sorted(GRADES)))
def test_ordinal_order_is_kept(row, name):
    found = GRADES[name].apply(row)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)
    assert (np.diff(cumulative_logits(found)) <= 1e-9).all()


@pytest.mark.parametrize("name", list(OF_CLASSES | GRADES))
def test_classes_that_cannot_be_stay_impossible(name):
    allowed = np.array([[True, True, False, True], [False, True, False, False], [False] * 4])
    probs = np.maximum(_drawn(200).astype(np.float64), 1e-6)[:, None] * allowed
    probs = probs / np.maximum(probs.sum(axis=2, keepdims=True), 1e-30)
    found = EVERY[name].apply(probs, allowed)
    assert (found[:, ~allowed] == 0).all()
    np.testing.assert_allclose(found.sum(axis=2), [[1, 1, 0]] * 200, atol=1e-12)


@pytest.mark.parametrize("name", list(EVERY))
def test_certainty_gives_finite_probabilities(name):
    found = EVERY[name].apply(np.eye(K, dtype=np.float32))
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", list(EVERY))
def test_json_brings_back_the_same_calibrator(name):
    text = to_json({"head": EVERY[name]})
    again = from_json(text)
    assert again == {"head": EVERY[name]}
    np.testing.assert_array_equal(again["head"].apply(_drawn()), EVERY[name].apply(_drawn()))
    assert to_json(again) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"h": null}',
        b'{"h": {}}',
        b'{"h": {"kind": "pickle"}}',
        b'{"h": {"kind": "none", "run": "rm"}}',
        b'{"h": {"kind": "temperature"}}',
        b'{"h": {"kind": "temperature", "temperature": NaN}}',
        b'{"h": {"kind": "temperature", "temperature": 1e999}}',
        b'{"h": {"kind": "temperature", "temperature": Infinity}}',
        b'{"h": {"kind": "temperature", "temperature": -1242}}',
        b'{"h": {"kind": "temperature", "temperature": 0}}',
        b'{"h": {"kind": "temperature", "temperature": "1"}}',
        b'{"h": {"kind": "temperature", "temperature": true}}',
        b'{"h": {"kind": "temperature", "temperature": 1, "smoothing": 2}}',
        b'{"h": {"kind": "platt", "slope": -1, "shift": 0}}',
        b'{"h": {"kind": "platt", "slope": 1, "shift": 1e300}}',
        b'{"h": {"kind": "structured", "temperature": 1, "diagonal": [1, 1], "bias": [0]}}',
        b'{"h": {"kind": "structured", "temperature": 1, "diagonal": [1, 1], "bias": [0, 0],'
        b' "others": [[0, 0]]}}',
        b'{"h": {"kind": "isotonic", "confidence": [0.5, 0.4], "right": [0.1, 0.2]}}',
        b'{"h": {"kind": "isotonic", "confidence": [0.4, 0.5], "right": [0.2, 0.1]}}',
        b'{"h": {"kind": "isotonic", "confidence": [], "right": []}}',
        b'{"h": {"kind": "ordinal", "scale": 1, "shifts": [0, 1]}}',
        b'{"h": {"kind": "affine", "slopes": [1, 1], "shifts": [0]}}',
        b'{"h":' * 100_000,
    ],
    ids=lambda text: text[:60].decode(errors="replace"),
)
def test_a_damaged_or_hostile_file_is_refused_with_a_reason(text):
    with pytest.raises(BundleError, match=r"file\.json does not hold calibrators: .+"):
        from_json(text, "file.json")


def test_every_cut_of_a_file_is_refused():
    text = to_json(EVERY)
    for end in range(0, len(text), 7):
        with pytest.raises(BundleError):
            from_json(text[:end])


# --- inside the decision

PLANTS = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "crop", "classes": ["apple", "maize", "fern"]},
            {
                "name": "state",
                "classes": ["sound", "sick", "stored"],
                "parent": "crop",
                "allowed": {"apple": ["sound", "sick"], "maize": ["sick", "stored"]},
            },
            {
                "name": "grade",
                "kind": "ordinal",
                "classes": ["a", "b", "c"],
                "parent": "state",
                "allowed": {"sound": ["a", "b"], "sick": ["b", "c"], "stored": ["a", "b", "c"]},
            },
            {
                "name": "mark",
                "kind": "multilabel",
                "classes": ["scab", "rust"],
                "parent": "crop",
                "allowed": {"apple": ["scab"], "maize": ["scab", "rust"]},
            },
        ]
    }
)
CHOSEN = {
    "crop": Temperature(temperature=2.0, smoothing=0.01),
    "state": Structured(temperature=0.7, diagonal=(1.0, 1.3, 0.8), bias=(0.2, 0.0, 0.0)),
    "grade": Ordinal(scale=0.5, shifts=(0.3, 0.0)),
    "mark": Affine(slopes=(0.5, 2.0), shifts=(0.1, 0.0)),
}


def _outputs(photos=400, seed=0):
    """As model files give them: tables given the parent, and the marginals that follow."""
    random = np.random.default_rng(seed)
    outputs = {"crop": random.dirichlet([0.5] * 3, photos)}
    for name in ("state", "grade"):
        head = PLANTS[name]
        allowed = PLANTS.allowed_pairs(head)
        table = random.dirichlet([0.5] * 3, (photos, len(allowed))) * allowed
        table /= np.maximum(table.sum(axis=2, keepdims=True), 1e-30)
        mass = np.einsum("np,npk->nk", outputs[head.parent], table)
        outputs |= {name: mass / mass.sum(axis=1, keepdims=True), name + GIVEN: table}
    outputs["mark"] = random.random((photos, 2)) * (
        outputs["crop"] @ PLANTS.allowed_pairs(PLANTS["mark"])
    )
    return {name: values.astype(np.float32) for name, values in outputs.items()}


def test_no_calibrated_pair_of_answers_is_impossible():
    outputs = _outputs()
    said = Decision(PLANTS, DecisionRule(calibrators=CHOSEN)).decide(outputs)
    changed = 0
    for name in ("state", "grade"):
        allowed = PLANTS.allowed_pairs(PLANTS[name])
        for parent, child in zip(said[PLANTS[name].parent], said[name], strict=True):
            assert (
                child == -1 if parent == -1 or not allowed[parent].any() else allowed[parent][child]
            )
        changed += (said[name] != Decision(PLANTS).decide(outputs)[name]).sum()
    assert changed > 0  # calibration did matter
    possible = PLANTS.allowed_pairs(PLANTS["mark"])[said["crop"]]
    assert not (said["mark"] & ~possible).any()


def test_calibrated_marginals_follow_from_parent_and_table_by_the_sum_over_parents():
    """P(grade) = sum over states of P(state) P(grade | state), one photo at a time."""
    outputs = _outputs(20)
    found = Decision(PLANTS, DecisionRule(calibrators=CHOSEN)).calibrated(outputs)
    for photo in range(20):
        expected = np.zeros(3)
        for state in range(3):
            allowed = PLANTS.allowed_pairs(PLANTS["grade"])[state]
            given_state = CHOSEN["grade"].apply(outputs["grade.given"][photo, state], allowed)
            np.testing.assert_allclose(found["grade.given"][photo, state], given_state)
            expected += found["state"][photo, state] * given_state
        np.testing.assert_allclose(found["grade"][photo], expected, rtol=1e-9)
    for name in ("crop", "state", "grade"):
        np.testing.assert_allclose(found[name].sum(axis=1), 1)


def test_attributes_are_calibrated_given_that_the_parent_allows_them():
    """By hand: fern, 0.2, allows none. scab is 0.4 / 0.8 of the rest; rust only of maize."""
    outputs = {
        "crop": np.array([[0.5, 0.3, 0.2]]),
        "mark": np.array([[0.4, 0.24]]),
        "state": np.array([[1 / 3] * 3]),
        "grade": np.array([[1 / 3] * 3]),
    }
    rule = DecisionRule(
        calibrators={"mark": Affine(slopes=(1.0, 0.5), shifts=(float(np.log(3)), 0.0))}
    )
    found = Decision(PLANTS, rule).calibrated(outputs)["mark"]
    np.testing.assert_allclose(found, [[0.75 * 0.8, 2 / 3 * 0.3]], rtol=1e-9)


def test_calibrators_that_change_nothing_change_no_answer():
    outputs = _outputs()
    neutral = DecisionRule(
        calibrators={
            "crop": Temperature(temperature=1.0),
            "state": Temperature(temperature=1.0),
            "grade": Ordinal(scale=1.0, shifts=(0.0, 0.0)),
            "mark": Affine(slopes=(1.0, 1.0), shifts=(0.0, 0.0)),
        }
    )
    found = Decision(PLANTS, neutral).calibrated(outputs)
    for name, values in outputs.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    for name, said in Decision(PLANTS, neutral).decide(outputs).items():
        np.testing.assert_array_equal(said, Decision(PLANTS).decide(outputs)[name])


def test_outputs_without_tables_are_calibrated_given_the_parent_as_well():
    outputs = {name: v for name, v in _outputs().items() if not name.endswith(GIVEN)}
    found = Decision(PLANTS, DecisionRule(calibrators=CHOSEN)).calibrated(outputs)
    assert found["state.given"].shape == (400, 3, 3)
    allowed = PLANTS.allowed_pairs(PLANTS["state"])
    assert (found["state.given"][:, ~allowed] == 0).all()
    said = Decision(PLANTS, DecisionRule(calibrators=CHOSEN)).decide(outputs)
    assert allowed[said["crop"], said["state"]][said["state"] >= 0].all()


def test_a_head_without_calibrator_or_calibrated_parent_is_left_alone():
    outputs = _outputs()
    rule = DecisionRule(calibrators={"grade": CHOSEN["grade"]})
    found = Decision(PLANTS, rule).calibrated(outputs)
    for name in ("crop", "state", "state.given", "mark"):
        assert found[name] is outputs[name]
    plain = Decision(PLANTS).calibrated(outputs)
    assert all(plain[name] is outputs[name] for name in outputs)


def test_thresholds_move_along_with_calibration():
    """Attributes of a head without a parent are claimed as before, at calibrated thresholds."""
    head = {"name": "look", "kind": "multilabel", "classes": ["mould", "seeds"]}
    look = Taxonomy.model_validate({"heads": [head]})
    affine = Affine(slopes=(0.4, 2.0), shifts=(-2.0, 0.5))
    raw = DecisionRule(thresholds={"look": {"mould": 0.3}})
    rule = raw.calibrated_by({"look": affine}, look)
    outputs = {"look": np.random.default_rng(0).random((500, 2)).astype(np.float32)}
    before, after = (Decision(look, r).decide(outputs)["look"] for r in (raw, rule))
    np.testing.assert_array_equal(before, after)
    assert rule.thresholds["look"] == pytest.approx(
        dict(zip(["mould", "seeds"], affine.apply(np.array([0.3, 0.5])), strict=True))
    )


def test_a_rule_without_calibrators_reads_as_before():
    assert DecisionRule().model_dump() == {"thresholds": {}}
    assert json.loads(DecisionRule().model_dump_json()) == {"thresholds": {}}


def test_a_rule_with_calibrators_survives_json():
    rule = DecisionRule(calibrators=CHOSEN)
    assert DecisionRule.model_validate(json.loads(json.dumps(rule.model_dump()))) == rule
    assert DecisionRule.model_validate_json(rule.model_dump_json()) == rule


def test_calibrators_of_another_taxonomy_are_faults():
    rule = DecisionRule(
        calibrators={
            "crop": GRADES["scaled"],
            "grade": GRADES["scaled"],
            "colour": Uncalibrated(),
            "state": Temperature(temperature=1.0),
        }
    )
    assert list(rule.faults(PLANTS)) == [
        "the calibrator of multiclass head 'crop' is 'ordinal', which is for ordinal heads",
        "the calibrator of 'grade' has 4 classes, not 3",
        "a calibrator is for 'colour', which is not a head",
    ]
