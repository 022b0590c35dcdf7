"""Which calibrator is chosen, why, and on which photos."""

import json

import numpy as np
import pytest
from scipy.special import expit

from cannabis_ml.calibration.calibrator_choice import (
    choose,
    choose_calibrators,
    held_out,
    methods_for,
)
from cannabis_ml.calibration.calibrator_fits import fit_isotonic, fit_temperature, mean_log_loss
from cannabis_ml.calibration.choices import Choice, ChoiceParams
from cannabis_ml.calibration.examples import Examples, calibrated, examples_of
from cannabis_ml.evaluation.calibration_scores import log_losses
from cannabis_ml.inference.calibrators import Temperature
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy

FOUR = Head(name="kind", classes=list("abcd"))
GRADE = Head(name="grade", kind="ordinal", classes=list("abcd"))


def test_a_sharp_model_gets_a_temperature(drawn):
    choice = choose(FOUR, drawn.examples(photos=600, power=2.0))
    assert choice.chosen == "temperature"
    assert choice.calibrator.temperature == pytest.approx(2.0, abs=0.3)
    assert "temperature lowers the held-out log loss from" in choice.why


@pytest.mark.slow
def test_a_calibrated_model_is_left_alone(drawn):
    """Over 40 sets of photos most are, and a temperature costs the others next to nothing."""
    once = ChoiceParams(repeats=1)
    choices = [choose(FOUR, drawn.examples(photos=200, seed=seed), once) for seed in range(40)]
    chosen = [choice.chosen for choice in choices]
    assert chosen.count("none") >= 22
    assert chosen.count("none") + chosen.count("temperature") >= 34
    other = drawn.examples(photos=3000, seed=999)
    lost = [
        mean_log_loss(other, calibrated(other, choice.calibrator))
        - mean_log_loss(other, other.probs)
        for choice in choices
        if choice.chosen == "temperature"
    ]
    assert np.mean(lost) < 0.01


@pytest.mark.slow
def test_the_choice_is_not_worse_than_doing_nothing_on_other_photos(drawn):
    """On the mean of 30 sets of 150 photos, judged on 3,000 others."""
    other = drawn.examples(photos=3000, power=1.5, seed=999)
    gained = []
    for seed in range(30):
        photos = drawn.examples(photos=150, power=1.5, seed=seed)
        choice = choose(FOUR, photos, ChoiceParams(repeats=1))
        after = calibrated(other, choice.calibrator)
        gained.append(mean_log_loss(other, other.probs) - mean_log_loss(other, after))
    assert np.mean(gained) > 0
    assert np.mean(np.array(gained) >= -1e-12) > 0.8


@pytest.mark.parametrize("head", [FOUR, GRADE])
def test_the_same_photos_give_the_same_choice(drawn, head):
    examples = drawn.examples(photos=120, power=2.0)
    first, again = choose(head, examples), choose(head, examples)
    assert first.model_dump_json() == again.model_dump_json()
    assert Choice.model_validate_json(first.model_dump_json()) == first
    assert "NaN" not in json.dumps(first.model_dump())


def test_a_temperature_keeps_every_answer(drawn):
    examples = drawn.examples(photos=400, power=3.0)
    choice = choose(FOUR, examples, ChoiceParams(candidates=["temperature"]))
    assert isinstance(choice.calibrator, Temperature)
    after = calibrated(examples, choice.calibrator)
    np.testing.assert_array_equal(after.argmax(axis=1), examples.probs.argmax(axis=1))


def test_isotonic_regression_is_refused_for_few_photos_and_reports_it(drawn):
    examples = drawn.examples(photos=300, power=2.0)
    found = {one.name: one for one in choose(FOUR, examples).candidates}
    assert found["isotonic"].log_loss is None
    assert "300 groups" in found["isotonic"].refused
    assert "10,000" in found["isotonic"].refused
    assert "isotonic" in choose(FOUR, examples).supports
    allowed = choose(FOUR, examples, ChoiceParams(isotonic_groups=200, repeats=1))
    assert {one.name: one for one in allowed.candidates}["isotonic"].log_loss is not None


def test_isotonic_regression_is_worse_than_a_temperature_with_few_photos(drawn):
    """Why it is refused: the mean of 20 sets of 100 photos, held out."""
    more = []
    for seed in range(20):
        examples = drawn.examples(photos=100, power=2.0, seed=seed)
        losses = [
            log_losses(held_out(examples, fit)[0], examples.labels).mean()
            for fit in (fit_isotonic, fit_temperature)
        ]
        more.append(losses[0] - losses[1])
    assert np.mean(more) > 0


def test_scaling_of_each_class_is_refused_where_its_gain_is_not_shown(drawn):
    few = {one.name: one for one in choose(FOUR, drawn.examples(photos=100)).candidates}
    assert "shown from 400 on" in few["svs"].refused
    assert "shown from 400 on" in few["sms"].refused
    enough = {one.name: one for one in choose(FOUR, drawn.examples(photos=400)).candidates}
    assert enough["svs"].log_loss is not None
    assert enough["sms"].log_loss is not None


def test_with_very_few_photos_nothing_is_fitted(drawn):
    choice = choose(FOUR, drawn.examples(photos=19, power=3.0))
    assert choice.chosen == "none"
    assert choice.why == "Not calibrated: 19 groups of photos, 20 are needed."
    assert not choice.is_calibrated
    assert choose(FOUR, drawn.examples(photos=20)).is_calibrated
    assert all(one.refused for one in choice.candidates if one.name != "none")


def test_without_photos_the_choice_gives_that_reason():
    empty = Examples(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.int64))
    choice = choose(FOUR, empty)
    assert (choice.chosen, choice.photos, choice.groups) == ("none", 0, 0)
    assert choice.why == "Not calibrated: no photo has a label."
    assert not choice.is_calibrated


def test_a_lower_loss_is_enough_for_a_temperature(drawn):
    """Its gain lies within one standard error, which is not enough for more numbers."""
    photos = drawn.examples(photos=100, power=1.15, seed=3)
    choice = choose(FOUR, photos)
    none, temperature = choice.candidates[:2]
    assert temperature.log_loss < none.log_loss
    assert none.more_than_best <= none.standard_error
    assert choice.chosen == "temperature"
    assert "which may be chance; one number" in choice.why
    assert choose(FOUR, photos, ChoiceParams(one_number_groups=101)).chosen == "none"


def test_of_candidates_that_do_as_well_the_simplest_is_chosen(drawn):
    """The truth is a temperature: vector and matrix scaling hold it, and fit more numbers."""
    choice = choose(FOUR, drawn.examples(photos=2000, power=2.0))
    numbers = [one.numbers for one in choice.candidates]
    assert numbers[:-1] == sorted(numbers[:-1])
    assert choice.chosen == "temperature"


def test_the_standard_error_is_that_of_the_difference_over_groups(drawn):
    """By hand, from held-out probabilities."""
    examples = drawn.examples(photos=80, power=2.0)
    params = ChoiceParams(candidates=["temperature"], repeats=2, folds=4, seed=5)
    choice = choose(FOUR, examples, params)
    by_name = {one.name: one for one in choice.candidates}
    folded = held_out(examples, fit_temperature, folds=4, repeats=2, seed=5)
    after = np.mean([log_losses(p, examples.labels) for p in folded], axis=0)
    apart = log_losses(examples.probs, examples.labels) - after
    assert by_name["temperature"].log_loss == pytest.approx(after.mean())
    best, other = sorted((by_name["none"], by_name["temperature"]), key=lambda one: one.log_loss)
    assert other.more_than_best == pytest.approx(abs(apart.mean()))
    assert other.standard_error == pytest.approx(apart.std(ddof=1) / np.sqrt(80))
    assert (best.more_than_best, best.standard_error) == (0, 0)


def test_groups_are_never_divided(drawn):
    """What a photo's calibrator was fitted to holds none of its group."""
    examples = drawn.examples(photos=60)
    grouped = Examples(examples.probs, examples.labels, np.arange(60) // 4)
    seen = []

    def fit(part):
        seen.append(set(part.groups.tolist()))
        return Temperature(temperature=1.0)

    held_out(grouped, fit, folds=5, repeats=3)
    assert len(seen) == 15
    for repeat in range(3):
        left_out = [set(range(15)) - used for used in seen[5 * repeat : 5 * repeat + 5]]
        assert sorted(group for part in left_out for group in part) == list(range(15))


def test_copies_of_photos_do_not_make_a_choice_surer(drawn):
    """Each photo ten times, as near-duplicates: losses and their errors are as without them."""
    once = drawn.examples(photos=60, power=1.5)
    copies = once.at(np.repeat(np.arange(60), 10))
    first, second = choose(FOUR, once), choose(FOUR, copies)
    assert (second.photos, second.groups) == (600, 60)
    assert second.chosen == first.chosen
    for one, other in zip(first.candidates, second.candidates, strict=True):
        assert one.log_loss == pytest.approx(other.log_loss, abs=1e-5)
        assert one.standard_error == pytest.approx(other.standard_error, abs=1e-5)


def test_unknown_candidates_are_refused():
    with pytest.raises(ValueError, match="candidates"):
        ChoiceParams(candidates=["temprature"])


def test_every_kind_of_head_has_candidates_from_the_simplest_on():
    for kind in ("multiclass", "ordinal", "multilabel"):
        names = [method.name for method in methods_for(kind, 5)]
        assert names[0] == "none"
        assert len(set(names)) == len(names) >= 3


# --- heads that imply each other

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
                "name": "mark",
                "kind": "multilabel",
                "classes": ["scab", "rust"],
                "parent": "crop",
                "allowed": {"apple": ["scab"], "maize": ["scab", "rust"]},
            },
        ]
    }
)


def _outputs(drawn, photos, sharp_crop=1.0, sharp_state=1.0, seed=0):
    """Truth drawn from parent, table and attributes; what is said of them is sharper."""
    crop = drawn.true_probs(photos, 3, seed, spread=1.5)
    allowed = PLANTS.allowed_pairs(PLANTS["state"])
    table = drawn.true_probs(photos * 3, 3, seed + 1).reshape(photos, 3, 3) * allowed
    table /= np.maximum(table.sum(axis=2, keepdims=True), 1e-30)
    z = np.random.default_rng(seed + 2).normal(size=(photos, 2)) * 2
    truth = {"crop": drawn.labels_from(crop, seed)}
    own = table[np.arange(photos), truth["crop"]]
    has_state = own.sum(axis=1) > 0
    truth["state"] = np.where(has_state, drawn.labels_from(own, seed + 3), MISSING)
    can = PLANTS.allowed_pairs(PLANTS["mark"])
    marks = np.random.default_rng(seed + 4).random((photos, 2)) < expit(0.5 * z)
    truth["mark"] = (marks & can[truth["crop"]]).astype(np.float32)
    said_crop = drawn.sharpened(crop, sharp_crop)
    said_table = np.where(allowed, np.maximum(table, 1e-30) ** sharp_state, 0.0)
    said_table /= np.maximum(said_table.sum(axis=2, keepdims=True), 1e-30)
    mass = np.einsum("np,npk->nk", said_crop, said_table)
    outputs = {
        "crop": said_crop,
        "state": mass / mass.sum(axis=1, keepdims=True),
        "state" + GIVEN: said_table,
        "mark": expit(z) * (said_crop @ can),
    }
    return outputs, truth


def test_a_child_is_fitted_given_the_true_class_of_its_parent(drawn):
    """The parent is wrong by a temperature of 3, the child by one of 0.5: neither is mixed up."""
    outputs, truth = _outputs(drawn, 6000, sharp_crop=3.0, sharp_state=0.5)
    crop = fit_temperature(examples_of(PLANTS["crop"], PLANTS, outputs, truth))
    state = fit_temperature(examples_of(PLANTS["state"], PLANTS, outputs, truth))
    assert crop.temperature == pytest.approx(3.0, abs=0.15)
    assert state.temperature == pytest.approx(0.5, abs=0.05)


def test_photos_whose_parent_is_unknown_or_allows_no_such_label_are_left_out(drawn):
    outputs, truth = _outputs(drawn, 300)
    fern = truth["crop"] == 2
    assert 0 < fern.sum() < 300
    unknown = np.arange(300) < 50
    truth["crop"] = np.where(unknown, MISSING, truth["crop"])
    found = examples_of(PLANTS["state"], PLANTS, outputs, truth)
    assert len(found) == (~fern & ~unknown).sum()
    assert found.allowed[np.arange(len(found)), found.labels].all()
    np.testing.assert_allclose(found.probs.sum(axis=1), 1)


def test_attributes_are_fitted_given_that_the_parent_allows_them(drawn):
    """rust is of maize only: of other crops it has no label, and is not "absent"."""
    outputs, truth = _outputs(drawn, 8000, sharp_crop=2.0)
    found = examples_of(PLANTS["mark"], PLANTS, outputs, truth)
    assert np.isnan(found.labels[:, 1]).sum() == (truth["crop"] == 0).sum()
    choice = choose(PLANTS["mark"], found)
    np.testing.assert_allclose(choice.calibrator.slopes, 0.5, atol=0.1)
    np.testing.assert_allclose(choice.calibrator.shifts, 0.0, atol=0.15)


def test_calibrated_heads_are_possible_together_and_lose_less(drawn):
    """Chosen on 1,500 photos, judged on 1,500 others by the marginals that people see."""
    outputs, truth = _outputs(drawn, 3000, sharp_crop=2.5, sharp_state=2.5)
    part = {name: values[:1500] for name, values in outputs.items()}
    chosen = choose_calibrators(PLANTS, part, {n: v[:1500] for n, v in truth.items()})
    assert list(chosen) == ["crop", "state", "mark"]
    rule = DecisionRule(calibrators={name: one.calibrator for name, one in chosen.items()})
    rest = {name: values[1500:] for name, values in outputs.items()}
    after = Decision(PLANTS, rule).calibrated(rest)
    for name in ("crop", "state"):
        labels = truth[name][1500:]
        known = labels != MISSING
        before = log_losses(rest[name][known], labels[known]).mean()
        assert log_losses(after[name][known], labels[known]).mean() < before - 0.05
    said = Decision(PLANTS, rule).decide(rest)
    pairs = PLANTS.allowed_pairs(PLANTS["state"])
    there = said["state"] != MISSING
    assert pairs[said["crop"][there], said["state"][there]].all()


def test_multilabel_losses_are_the_mean_over_known_attributes():
    losses = log_losses(np.array([[0.8, 0.5], [0.9, 0.1]]), np.array([[1.0, np.nan], [0.0, 0.0]]))
    expected = [-np.log(0.8), (-np.log(0.1) - np.log(0.9)) / 2]
    np.testing.assert_allclose(losses, expected)
