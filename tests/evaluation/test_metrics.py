import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from cannabis_ml.evaluation.metrics import confusion, score, score_hierarchy
from cannabis_ml.evaluation.mistakes import confident_mistakes, confused_classes
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.evaluation.predictions import decide
from cannabis_ml.evaluation.scores import ClassScores
from cannabis_ml.evaluation.thresholds import RESOLUTION, choose_thresholds
from cannabis_ml.inference.decision import THRESHOLD
from cannabis_ml.taxonomy import MISSING, Taxonomy


@pytest.fixture
def photos():
    return pd.DataFrame(
        {
            "photo_id": list("abcde"),
            "colour": ["red", "red", "green", None, "green"],
            "shade": ["pale", "dark", "middle", "deep", None],
            "marks.line": pd.array([1, 0, 1, None, 0], dtype="Int8"),
            "marks.dot": pd.array([1, 1, None, None, 1], dtype="Int8"),
        }
    )


@pytest.fixture
def predictions():
    """In another order than the photos, and not of all of them."""
    return pd.DataFrame(
        {
            "photo_id": list("edcba"),
            "split": "test",
            "colour": [
                [0.1, 0.9, 0.0],
                [0.1, 0.8, 0.1],
                [0.5, 0.3, 0.2],
                [0.7, 0.2, 0.1],
                [0.6, 0.2, 0.2],
            ],
            "shade": [
                [1.0, 0, 0, 0],
                [0, 0, 1.0, 0],
                [0, 0, 1.0, 0],
                [0, 1.0, 0, 0],
                [1.0, 0, 0, 0],
            ],
            "marks": [[0.7, 0.9], [0.1, 0.1], [0.6, 0.9], [0.2, 0.4], [0.9, 0.8]],
        }
    )


def wilson_of(hits, n):
    return list(binomtest(hits, n).proportion_ci(method="wilson"))


def test_multiclass_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["colour"]
    # Known: a, b red -> red, red; c green -> red; e green -> green. Blue: neither said nor there.
    assert found.n == 4
    assert found.accuracy == 3 / 4
    red = found.per_class["red"]
    assert red.precision == 2 / 3
    assert red.precision_interval == pytest.approx(wilson_of(2, 3))
    assert red.recall == 1.0
    assert red.recall_interval == pytest.approx(wilson_of(2, 2))
    assert red.f1 == pytest.approx(0.8)
    assert (red.support, red.predicted, red.error) == (2, 3, 0)
    assert found.accuracy_interval == pytest.approx(wilson_of(3, 4))
    # Recalls of the classes that occur: red 2/2, green 1/2.
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.confusion == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found.per_class["green"].f1 == pytest.approx(2 / 3)
    assert found.per_class["blue"].model_dump() == {
        "precision": None,
        "precision_interval": None,
        "recall": None,
        "recall_interval": None,
        "recall_per_group": None,
        "f1": None,
        "f1_interval": None,
        "support": 0,
        "groups": 0,
        "predicted": 0,
        "error": None,
    }
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)


def test_ordinal_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["shade"]
    # a 0 -> 0, b 3 -> 1, c 1 -> 2, d 2 -> 2
    assert found.n == 4
    assert found.accuracy == 0.5
    assert found.mean_absolute_error == 0.75
    # 1 - sum of squares over the sum expected by chance: (4 + 1) / (72 / 4... by pairs below)
    truth, said = [0, 3, 1, 2], [0, 1, 2, 2]
    chance = np.mean([(t - s) ** 2 for t in truth for s in said])
    observed = np.mean([(t - s) ** 2 for t, s in zip(truth, said, strict=True)])
    assert found.quadratic_weighted_kappa == pytest.approx(1 - observed / chance)


def test_multilabel_by_hand(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy)["marks"]
    assert found.n == 4
    # line, known for a b c e: 1 0 1 0 said at .9 .2 .6 .7: precision 2/3, recall 1.
    line = found.per_class["line"]
    assert line.precision == pytest.approx(2 / 3)
    assert line.recall == 1.0
    assert line.support == 2
    # Ranked .9 (there), .7 (not), .6 (there): (1/1 + 2/3) / 2.
    assert line.average_precision == pytest.approx(5 / 6)
    # dot, known for a b e, always there: nothing to rank.
    assert found.per_class["dot"].average_precision is None
    assert found.per_class["dot"].recall == pytest.approx(2 / 3)
    assert found.mean_average_precision == pytest.approx(5 / 6)
    assert found.accuracy == pytest.approx(5 / 7)
    # line: none missed, one of the two that lack it claimed. dot is lacked by none.
    assert line.specificity == 0.5
    assert line.error == pytest.approx(0.25)
    assert found.per_class["dot"].error == pytest.approx(1 / 3)
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert line.threshold == 0.5
    assert found.macro_f1 == pytest.approx((0.8 + 0.8) / 2)


def test_a_class_claimed_in_vain_counts_as_zero(photos, taxonomy):
    blue = pd.DataFrame({"photo_id": ["a", "b"], "colour": [[0, 0, 1.0], [1.0, 0, 0]]})
    heads = Taxonomy(heads=[taxonomy["colour"]])
    found = score(blue, photos, heads)["colour"]
    assert found.per_class["blue"].precision == 0
    assert found.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed, taxonomy):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, 60)
    probs = random.dirichlet(np.ones(4), 60).astype(np.float32)
    names = taxonomy["shade"].class_names
    photos = pd.DataFrame({"photo_id": range(60), "shade": [names[t] for t in truth]})
    predictions = pd.DataFrame({"photo_id": range(60), "shade": list(probs)})
    found = score(predictions, photos, Taxonomy(heads=[taxonomy["shade"]]))["shade"]
    said = [next(k for k in range(4) if sum(row[: k + 1]) >= 0.5) for row in probs]  # the median
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, said))
    assert found.macro_f1 == pytest.approx(reference.f1_score(truth, said, average="macro"))
    kappa = reference.cohen_kappa_score(truth, said, weights="quadratic")
    assert found.quadratic_weighted_kappa == pytest.approx(kappa)
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(truth, said))
    assert found.mean_absolute_error == pytest.approx(reference.mean_absolute_error(truth, said))
    each = reference.precision_recall_fscore_support(truth, said)
    ours = [
        [getattr(v, m) for v in found.per_class.values()] for m in ("precision", "recall", "f1")
    ]
    np.testing.assert_allclose(ours, each[:3])
    counts = confusion(predictions, photos, taxonomy["shade"])
    np.testing.assert_array_equal(counts, reference.confusion_matrix(truth, said))


def test_no_label_at_all_gives_none_not_an_error(predictions, photos, taxonomy):
    for column in taxonomy.columns:
        photos[column] = pd.array([None] * 5, dtype="Int8" if "." in column else "str")
    found = score(predictions, photos, taxonomy)
    for head in taxonomy.heads:
        assert found[head.name].n == 0
        assert found[head.name].accuracy is None
        assert found[head.name].macro_f1 is None
        assert confusion(predictions, photos, head).sum() == 0
    assert found["shade"].quadratic_weighted_kappa is None
    assert found["marks"].mean_average_precision is None


def test_everything_is_plain_json(predictions, photos, taxonomy):
    for table in (predictions, predictions.iloc[:0], predictions.iloc[:1]):
        for scores in score(table, photos, taxonomy).values():
            text = json.dumps(scores.model_dump(mode="json"), allow_nan=False)
            assert type(scores).model_validate_json(text) == scores


def test_confusion_by_hand(predictions, photos, taxonomy):
    np.testing.assert_array_equal(
        confusion(predictions, photos, taxonomy["colour"]), [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    )
    # true positives, false positives, false negatives, true negatives
    np.testing.assert_array_equal(
        confusion(predictions, photos, taxonomy["marks"]), [[2, 1, 0, 1], [2, 0, 1, 0]]
    )


def test_a_predicted_photo_must_be_known(predictions, photos, taxonomy):
    with pytest.raises(KeyError):
        score(predictions, photos[:3], taxonomy)


@pytest.mark.parametrize("seed", range(3))
def test_attributes_agree_with_scikit_learn(seed):
    random = np.random.default_rng(seed)
    looks = Taxonomy.model_validate(
        {"heads": [{"name": "look", "kind": "multilabel", "classes": ["x", "y"]}]}
    )
    truth = random.integers(0, 2, (50, 2))
    probs = random.random((50, 2))
    photos = pd.DataFrame({"photo_id": range(50), "look.x": truth[:, 0], "look.y": truth[:, 1]})
    predictions = pd.DataFrame({"photo_id": range(50), "look": list(probs)})
    chosen = {"look": {"x": 0.3, "y": 0.8}}
    found = score(predictions, photos, looks, chosen)["look"]
    said = probs >= [0.3, 0.8]
    assert found.macro_f1 == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert found.mean_average_precision == pytest.approx(
        reference.average_precision_score(truth, probs)
    )
    balanced = [reference.balanced_accuracy_score(truth[:, k], said[:, k]) for k in (0, 1)]
    assert found.balanced_accuracy == pytest.approx(np.mean(balanced))
    assert [v.threshold for v in found.per_class.values()] == [0.3, 0.8]
    np.testing.assert_array_equal(
        confusion(predictions, photos, looks["look"], chosen)[:, 0],
        (said & (truth == 1)).sum(axis=0),
    )


MARK = Taxonomy.model_validate(
    {"heads": [{"name": "mark", "kind": "multilabel", "classes": ["dot"]}]}
)


def marked(probs, truth):
    ids = range(len(probs))
    photos = pd.DataFrame({"photo_id": ids, "mark.dot": pd.array(truth, dtype="Int8")})
    return pd.DataFrame({"photo_id": ids, "mark": [[p] for p in probs]}), photos


def test_threshold_is_where_f1_is_highest():
    # From 0.15 to 0.2: all three there and one claimed in vain, F1 6/7; elsewhere at most 4/5.
    predictions, photos = marked([0.1, 0.2, 0.25, 0.3, 0.9], [0, 1, 0, 1, 1])
    threshold = choose_thresholds(predictions, photos, MARK, fewest=1)["mark"]["dot"]
    assert 0.1 < threshold <= 0.2


def test_threshold_stays_at_half_where_that_is_as_good():
    predictions, photos = marked([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert choose_thresholds(predictions, photos, MARK, fewest=1) == {"mark": {"dot": 0.5}}


def test_few_validation_photos_choose_no_threshold():
    predictions, photos = marked([0.1, 0.2, 0.3, 0.9], [0, 0, 1, 1])
    assert choose_thresholds(predictions, photos, MARK, fewest=3)["mark"]["dot"] == THRESHOLD
    assert choose_thresholds(predictions, photos, MARK, fewest=2)["mark"]["dot"] < 0.3 + 1e-9
    assert choose_thresholds(predictions[:0], photos, MARK)["mark"]["dot"] == THRESHOLD


def test_unknown_labels_choose_no_threshold():
    known = marked([0.1, 0.2, 0.3, 0.9], [0, 0, 1, 1])
    more = marked([0.1, 0.2, 0.3, 0.9, 0.05, 0.95], [0, 0, 1, 1, None, None])
    assert choose_thresholds(*more, MARK, fewest=1) == choose_thresholds(*known, MARK, fewest=1)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_no_other_threshold_has_a_higher_f1(labelled):
    """None that lies between probabilities which are apart enough for any runtime."""
    probs, truth = (np.array(column) for column in zip(*labelled, strict=True))
    if truth.all() or not truth.any():
        return
    predictions, photos = marked(probs, truth.astype(int))
    chosen = choose_thresholds(predictions, photos, MARK, fewest=1)["mark"]["dot"]
    ends = np.unique([0.0, *probs])
    middles = [(a + b) / 2 for a, b in pairwise(ends) if b - a >= RESOLUTION]
    if not middles:
        assert chosen == THRESHOLD
        return
    best = max(reference.f1_score(truth, probs >= t) for t in middles)
    assert reference.f1_score(truth, probs >= chosen) == pytest.approx(best)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.integers(0, 2**16))
def test_rounding_of_another_runtime_changes_no_decision_at_a_chosen_threshold(probs, seed):
    random = np.random.default_rng(seed)
    probs, truth = np.array(probs), random.random(len(probs)) < 0.5
    predictions, photos = marked(probs, truth.astype(int))
    chosen = choose_thresholds(predictions, photos, MARK, fewest=1)["mark"]["dot"]
    if chosen == THRESHOLD:
        return
    rounded = probs + random.uniform(-1e-5, 1e-5, len(probs))
    np.testing.assert_array_equal(rounded >= chosen, probs >= chosen)


def test_probabilities_that_are_all_but_equal_choose_no_threshold_between_them():
    """An attribute that nothing was learnt of: its probabilities differ by rounding."""
    predictions, photos = marked([0.4981 + 1e-7 * i for i in range(10)], [0] * 5 + [1] * 5)
    threshold = choose_thresholds(predictions, photos, MARK, fewest=1)["mark"]["dot"]
    assert threshold < 0.4981 - RESOLUTION / 3


@given(st.data())
def test_what_has_no_label_changes_no_metric(data):
    """Every metric over some labels is that over the photos which have them."""
    n = data.draw(st.integers(1, 25))
    seed = data.draw(st.integers(0, 2**16))
    random = np.random.default_rng(seed)
    kinds = ["multiclass", "ordinal"]
    heads = [{"name": k, "kind": k, "classes": ["a", "b", "c"]} for k in kinds]
    some = Taxonomy.model_validate({"heads": heads})
    labels = random.choice(np.array(["a", "b", "c", None], dtype=object), (n, 2))
    photos = pd.DataFrame(
        {"photo_id": range(n), "multiclass": labels[:, 0], "ordinal": labels[:, 1]}
    )
    predictions = pd.DataFrame({"photo_id": range(n)})
    for k in kinds:
        predictions[k] = list(random.dirichlet(np.ones(3), n))
    found = score(predictions, photos, some)
    for k in kinds:
        alone = Taxonomy(heads=[some[k]])
        there = predictions[photos[k].notna()]
        assert score(there, photos, alone)[k] == found[k]
        assert found[k].n == photos[k].notna().sum() == np.sum(found[k].confusion)
        json.dumps(found[k].model_dump(), allow_nan=False)


FAMILY = {
    "heads": [
        {"name": "crop", "classes": ["apple", "maize", "fern"]},
        {
            "name": "state",
            "classes": ["healthy", "scab", "rust"],
            "parent": "crop",
            "allowed": {"apple": ["healthy", "scab"], "maize": ["rust"]},
        },
    ]
}


@pytest.fixture
def family():
    return Taxonomy.model_validate(FAMILY)


@pytest.fixture
def crops():
    """a, b: apart they contradict each other; c: right; d: no label of the child; e: no answer."""
    photos = pd.DataFrame(
        {
            "photo_id": list("abcde"),
            "crop": ["apple", "maize", "maize", "apple", "apple"],
            "state": ["scab", "rust", "rust", None, "healthy"],
        }
    )
    predictions = pd.DataFrame(
        {
            "photo_id": list("abcde"),
            "crop": [[0.55, 0.45, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.7, 0.3, 0], [0.1, 0.1, 0.8]],
            "state": [
                [0.05, 0.5, 0.45],
                [0.3, 0.3, 0.4],
                [0.05, 0.05, 0.9],
                [0.6, 0.1, 0.3],
                [0.4, 0.4, 0.2],
            ],
        }
    )
    return predictions, photos


def test_answers_are_the_best_possible_pair(crops, family):
    said = decide(crops[0], family)
    # a: apple and scab .55 * .5/.55 = .5, maize and rust .45.
    # b: apple and healthy .6 * .5 = .3, maize and rust .4 * 1 = .4: the less likely crop wins.
    # e: a fern has no state.
    assert said["crop"].tolist() == [0, 1, 1, 0, 2]
    assert said["state"].tolist() == [1, 2, 2, 0, MISSING]


def test_hierarchy_by_hand(crops, family):
    found = score_hierarchy(*crops, family)["state"]
    assert found.parent == "crop"
    assert found.n == 4  # d has no state
    assert found.joint_accuracy == 3 / 4
    assert found.joint_accuracy_interval == pytest.approx(wilson_of(3, 4))
    assert found.parent_accuracy == 3 / 4
    assert found.accuracy_where_parent_right == 1
    assert found.impossible_pairs == 0
    # Read apart: b says apple and rust, e says fern and healthy.
    assert found.impossible_pairs_read_apart == 2 / 5


def test_a_photo_without_an_answer_is_wrong_but_in_no_cell(crops, family):
    found = score(*crops, family)["state"]
    assert found.n == 4
    assert found.unanswered == 1
    assert found.accuracy == 3 / 4
    assert np.sum(found.confusion) == 3
    assert found.per_class["healthy"].error == 1


@given(st.integers(0, 2**16), st.booleans())
def test_no_answer_contradicts_another(seed, restrict_all):
    """Three levels with random rules and random probabilities, among them zeros."""
    random = np.random.default_rng(seed)
    names = {"top": list("ab"), "middle": list("cde"), "low": list("fghi")}
    heads, above = [], None
    for name, classes in names.items():
        head = {"name": name, "classes": classes}
        if above:
            rules = {
                p: [c for c in classes if random.random() < 0.5]
                for p in names[above]
                if restrict_all or random.random() < 0.8
            }
            head |= {"parent": above, "allowed": rules}
        heads.append(head)
        above = name
    three = Taxonomy.model_validate({"heads": heads})
    predictions = pd.DataFrame({"photo_id": range(20)})
    for name, classes in names.items():
        probs = random.dirichlet(np.full(len(classes), 0.3), 20) * (
            random.random((20, len(classes))) < 0.8
        )
        predictions[name] = list(probs)
    photos = pd.DataFrame({"photo_id": range(20), "top": "a", "middle": "c", "low": None})
    said = decide(predictions, three)
    for head in three.heads[1:]:
        pairs = three.allowed_pairs(head)
        for parent, child in zip(said[head.parent], said[head.name], strict=True):
            if child == MISSING:
                assert parent == MISSING or not pairs[parent].any()
            else:
                assert pairs[parent, child]
    for found in score_hierarchy(predictions, photos, three).values():
        assert found.impossible_pairs == 0
    for scores in score(predictions, photos, three).values():
        json.dumps(scores.model_dump(), allow_nan=False)


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
@pytest.mark.parametrize("shared", [False, True])
def test_answers_are_the_networks_own(kind, shared):
    """Against `joint_answer`, three members; from probabilities alone where no child is shared."""
    torch = pytest.importorskip("torch")
    from cannabis_ml.inference.decision import joint_answer
    from cannabis_ml.networks.network import given_parents, marginals

    classes = ["healthy", "scab", "rust", "rot"]
    allowed = {"apple": classes[:2], "maize": classes[:1] + classes[2:] if shared else classes[2:]}
    state = {"name": "state", "kind": kind, "classes": classes, "allowed": allowed}
    crop = {"name": "crop", "classes": ["apple", "maize", "fern"]}
    both = Taxonomy.model_validate({"heads": [crop, {**state, "parent": "crop"}]})
    torch.manual_seed(0)
    logits = {
        "crop": torch.randn(300, 3, 3),
        "state": 2 * torch.randn(300, 3, 4 if kind == "multiclass" else 3),
    }
    if kind == "ordinal":
        logits["state"] = logits["state"].sort(dim=2, descending=True).values
    predictions = pd.DataFrame({"photo_id": range(300)})
    for name, probs in marginals(logits, both).items():
        predictions[name] = list(probs.numpy())
        if shared:
            predictions[f"{name}.logits"] = list(logits[name].flatten(1).numpy())
    probs = {name: values.numpy() for name, values in marginals(logits, both).items()}
    given = {name: values.numpy() for name, values in given_parents(logits, both).items()}
    ours, theirs = decide(predictions, both), joint_answer(probs, both, given)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_attributes_of_a_child_head_follow_the_parent():
    plants = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "crop", "classes": ["apple", "maize"]},
                {
                    "name": "mark",
                    "kind": "multilabel",
                    "classes": ["scab", "rust"],
                    "parent": "crop",
                    "allowed": {"apple": ["scab"], "maize": ["rust"]},
                },
            ]
        }
    )
    photos = pd.DataFrame({"photo_id": [0], "crop": ["apple"], "mark.scab": [1], "mark.rust": [0]})
    predictions = pd.DataFrame({"photo_id": [0], "crop": [[0.9, 0.1]], "mark": [[0.8, 0.7]]})
    assert score(predictions, photos, plants)["mark"].accuracy == 1


def test_worst_classes_are_named_in_words(predictions, photos, taxonomy):
    found = score(predictions, photos, taxonomy, reports=ReportParams(error_limit=0.2))
    expected = "error above 20% on: green (50% of 2 photos, mostly taken for red)"
    assert found["colour"].in_words == expected
    lax = score(predictions, photos, taxonomy, reports=ReportParams(error_limit=0.5))["colour"]
    assert lax.in_words == "no class with an error above 50%"
    marks = found["marks"]
    assert [worst.name for worst in marks.worst_classes] == ["dot", "line"]
    assert marks.model_dump()["worst_classes"][0]["class"] == "dot"
    assert marks.in_words == (
        "error above 20% on: dot (33%: missed on 33% of 3 photos), "
        "line (25%: missed on 0% of 2 photos, claimed on 50% of those without it)"
    )


def test_an_error_of_just_the_limit_is_fine():
    scores = ClassScores.model_construct(error=3 / 10, support=10)
    assert confused_classes({"a": scores}, np.array([[7, 3], [0, 1]]), 0.3) == []


def test_mistakes_come_surest_first(predictions, photos, taxonomy):
    found = confident_mistakes(predictions, photos, taxonomy["shade"], taxonomy)
    assert found[["photo_id", "predicted", "true"]].values.tolist() == [
        ["b", "middle", "dark"],
        ["c", "deep", "middle"],
    ]
    found = confident_mistakes(predictions, photos, taxonomy["marks"], taxonomy)
    # d has no label; b lacks a line and is said to have none.
    assert found[["photo_id", "predicted", "true"]].values.tolist() == [
        ["e", "line", "no line"],
        ["b", "no dot", "dot"],
    ]
    assert found["probability"].tolist() == pytest.approx([0.7, 0.6])
    assert found["probability_of_true"].tolist() == pytest.approx([0.3, 0.4])


@pytest.fixture
def bursts():
    """84 photos in 8 groups, the class the model's answer but for two groups; each with a mark."""
    sizes = [11, 11, 11, 11, 10, 10, 10, 10]
    group = np.repeat([f"burst {i}" for i in range(8)], sizes)
    ids = [f"{i}" for i in range(84)]
    truth = np.where(np.isin(group, ["burst 0", "burst 7"]), "green", "red")
    photos = pd.DataFrame({"photo_id": ids, "group": group, "colour": truth})
    photos["marks.line"] = pd.array(np.ones(84), dtype="Int8")
    photos["marks.dot"] = pd.array((truth == "red").astype(int), dtype="Int8")
    said = pd.DataFrame({"photo_id": ids})
    said["colour"] = [[0.8, 0.1, 0.1]] * 84
    said["marks"] = [[0.9, 0.9]] * 84
    return said, photos


def test_scores_count_groups_and_take_their_intervals(bursts, taxonomy):
    heads = Taxonomy(heads=[taxonomy["colour"], taxonomy["marks"]])
    found = score(*bursts, heads)
    colour = found["colour"]
    assert (colour.n, colour.groups) == (84, 8)
    # All of a group is right, or nothing: 63 of the photos, 6 of 8 groups.
    assert colour.accuracy == 63 / 84
    assert colour.accuracy_per_group == 6 / 8
    assert colour.accuracy_per_group_interval == pytest.approx(wilson_of(6, 8))
    # Worth no more than Kish's 84² / Σ n² = 7.98 photos.
    low, high = colour.accuracy_interval
    assert low < 0.42
    assert high > 0.92
    red = colour.per_class["red"]
    assert (red.support, red.groups, red.recall_per_group) == (63, 6, 1)
    assert red.recall_interval[0] < wilson_of(6, 6)[0] + 0.02
    # F1 = 2 F* / (1 + F*), of a share F* of 63 in 84 photos that are worth 8.
    ends = [2 * end / (1 + end) for end in wilson_of(6, 8)]
    assert red.f1_interval == pytest.approx(ends, abs=0.01)


def test_labels_of_a_photo_hang_together(bursts, taxonomy):
    """Of attributes a group's labels are taken together, not one by one."""
    found = score(*bursts, Taxonomy(heads=[taxonomy["marks"]]))["marks"]
    assert (found.n, found.groups) == (84, 8)
    assert found.accuracy == (84 + 63) / 168
    low, high = found.accuracy_interval
    naive = wilson_of(147, 168)
    assert low < naive[0] - 0.1
    assert high > naive[1]
    # Both labels of each photo are tied even where photos are not: as 63 of 84, not 126 of 168.
    tied = bursts[1].drop(columns="group").assign(**{"marks.line": bursts[1]["marks.dot"]})
    alone = score(bursts[0], tied, Taxonomy(heads=[taxonomy["marks"]]))["marks"]
    assert alone.accuracy == 126 / 168
    assert alone.accuracy_interval == pytest.approx(wilson_of(63, 84), abs=0.01)


def test_photos_without_a_group_are_one_each(bursts, taxonomy):
    said, photos = bursts
    heads = Taxonomy(heads=[taxonomy["colour"]])
    for none in (photos.drop(columns="group"), photos.assign(group=None)):
        found = score(said, none, heads)["colour"]
        assert found.groups == 84
        assert found.accuracy_interval == pytest.approx(wilson_of(63, 84))
        assert found.accuracy_per_group == found.accuracy


def test_small_groups_count_as_much_as_large_ones_per_group(taxonomy):
    """One burst of 6 that is wrong beside 2 single photos that are right."""
    photos = pd.DataFrame({"photo_id": list("abcdefgh"), "group": list("xxxxxxyz")})
    photos["colour"] = ["green"] * 6 + ["red"] * 2
    said = photos[["photo_id"]].assign(colour=[[0.9, 0.1, 0.0]] * 8)
    found = score(said, photos, Taxonomy(heads=[taxonomy["colour"]]))["colour"]
    assert found.accuracy == 2 / 8
    assert found.accuracy_per_group == pytest.approx(2 / 3)
