import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.inference.decision import joint_answer
from cannabis_ml.networks.decoding import (
    allowed_classes,
    given_parents,
    log_probabilities,
    marginals,
    parents_first,
    probabilities,
    uncertainty,
)
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy


def make_taxonomy(*heads):
    return Taxonomy.model_validate({"heads": list(heads)})


TOP = {"name": "top", "classes": ["x", "y", "z"]}
CHILD = {
    "name": "child",
    "classes": ["p", "q", "r"],
    "parent": "top",
    "allowed": {"x": ["p", "q"], "y": ["q", "r"]},
}


@pytest.fixture
def pair():
    """z allows no child."""
    return make_taxonomy(CHILD, TOP)


def decide(logits, taxonomy):
    """What is said in the end, from the numbers that clients get."""
    probs = {name: values.numpy() for name, values in marginals(logits, taxonomy).items()}
    given = {name: values.numpy() for name, values in given_parents(logits, taxonomy).items()}
    return joint_answer(probs, taxonomy, given)


def log(*rows):
    """Logits (1, M, K) of given probabilities, one row per member."""
    return torch.log(torch.tensor([rows]))


def test_child_is_decoded_with_its_parent_by_hand(pair):
    found = marginals({"top": log([0.5, 0.3, 0.2]), "child": log([0.1, 0.3, 0.6])}, pair)
    assert list(found) == ["child", "top"]
    # Given x: p 1/4, q 3/4. Given y: q 1/3, r 2/3. z has no child, its 0.2 is shared out.
    p, q, r = 0.5 / 4, 0.5 * 3 / 4 + 0.3 / 3, 0.3 * 2 / 3
    torch.testing.assert_close(found["child"], torch.tensor([[p, q, r]]) / 0.8)
    torch.testing.assert_close(found["top"], torch.tensor([[0.5, 0.3, 0.2]]))


def test_members_are_averaged_as_probabilities(pair):
    logits = {
        "top": log([0.9, 0.1, 1e-9], [0.1, 0.9, 1e-9]),
        "child": log([0.1, 0.1, 0.8], [0.4, 0.4, 0.2]),
    }
    found = marginals(logits, pair)
    torch.testing.assert_close(found["top"], torch.tensor([[0.5, 0.5, 0.0]]))
    # Given x: p 1/2 for both. Given y: r 8/9 and 1/3.
    r = 0.5 * (8 / 9 + 1 / 3) / 2
    torch.testing.assert_close(found["child"], torch.tensor([[0.25, 0.75 - r, r]]))


def test_a_parent_beyond_doubt_without_children_leaves_an_answer(pair):
    top = torch.tensor([[[-500.0, -500.0, 500.0]]])
    probs = marginals({"top": top, "child": log([0.2, 0.3, 0.5])}, pair)["child"]
    assert torch.isfinite(probs).all()
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0))


def test_attributes_of_a_child_are_there_as_far_as_parents_allow():
    look = {
        "name": "look",
        "kind": "multilabel",
        "classes": ["u", "v"],
        "parent": "top",
        "allowed": {"x": ["u"], "y": ["u", "v"]},
    }
    taxonomy = make_taxonomy(TOP, look)
    logits = {"top": log([0.5, 0.3, 0.2]), "look": torch.logit(torch.tensor([[[0.6, 0.9]]]))}
    probs = marginals(logits, taxonomy)["look"]
    torch.testing.assert_close(probs, torch.tensor([[0.8 * 0.6, 0.3 * 0.9]]))


def test_grandchildren_are_decoded_last():
    last = {"name": "last", "classes": ["a", "b"], "parent": "child"}
    last["allowed"] = {"p": ["a"], "q": ["b"], "r": ["a", "b"]}
    taxonomy = make_taxonomy(last, CHILD, TOP)
    assert [head.name for head in parents_first(taxonomy)] == ["top", "child", "last"]
    logits = {
        "top": log([0.5, 0.5, 1e-12]),
        "child": log([0.25, 0.25, 0.5]),
        "last": log([0.9, 0.1]),
    }
    found = marginals(logits, taxonomy)
    # Given x: p 1/2, q 1/2. Given y: q 1/3, r 2/3.
    p, q, r = 1 / 4, 1 / 4 + 1 / 6, 1 / 3
    torch.testing.assert_close(found["child"], torch.tensor([[p, q, r]]))
    torch.testing.assert_close(found["last"], torch.tensor([[p + 0.9 * r, q + 0.1 * r]]))


def test_parent_without_allowed_binds_nothing():
    free = {"name": "child", "classes": ["p", "q"], "parent": "top"}
    taxonomy = make_taxonomy(TOP, free)
    assert allowed_classes(taxonomy, taxonomy["child"]) is None
    found = marginals({"top": log([0.5, 0.3, 0.2]), "child": log([0.1, 0.9])}, taxonomy)
    torch.testing.assert_close(found["child"], torch.tensor([[0.1, 0.9]]))


def test_best_pair_is_not_the_pair_of_the_best(pair):
    # Alone x is best (0.4 against 0.35), and so is r; x forbids r.
    logits = {"top": log([0.4, 0.35, 0.25]), "child": log([0.2, 0.1, 0.7])}
    marginal = {name: probs.argmax().item() for name, probs in marginals(logits, pair).items()}
    assert marginal == {"top": 0, "child": 2}
    # x with p: 0.4 * 2/3. y with r: 0.35 * 7/8, the best.
    said = decide(logits, pair)
    assert said["top"].tolist() == [1]
    assert said["child"].tolist() == [2]


def test_a_parent_without_children_answers_for_no_child(pair):
    said = decide({"top": log([0.1, 0.1, 0.8]), "child": log([0.2, 0.3, 0.5])}, pair)
    assert said["top"].tolist() == [2]
    assert said["child"].tolist() == [MISSING]


KINDS = st.sampled_from(["multiclass", "ordinal", "multilabel"])


@st.composite
def hierarchies(draw):
    """Three levels of any kind, anything allowed, logits of any size."""
    sizes = draw(st.lists(st.integers(2, 4), min_size=3, max_size=3))
    kinds = [draw(KINDS.filter(lambda k: k != "multilabel")) for _ in range(2)] + [draw(KINDS)]
    heads = []
    for level, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        head = {"name": f"h{level}", "kind": kind, "classes": [f"{level}{k}" for k in range(size)]}
        if level:
            above = heads[draw(st.integers(0, level - 1))]
            subsets = st.lists(st.sampled_from(head["classes"]), unique=True)
            head["parent"] = above["name"]
            head["allowed"] = {name: draw(subsets) for name in above["classes"]}
        heads.append(head)
    taxonomy = make_taxonomy(*draw(st.permutations(heads)))
    seed, scale = draw(st.integers(0, 2**31)), draw(st.sampled_from([0.1, 3, 100]))
    members = draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(seed)
    logits = {}
    for head in taxonomy.heads:
        width = len(head.classes) - (head.kind == "ordinal")
        drawn = scale * torch.randn(6, members, width, generator=generator)
        ordinal = head.kind == "ordinal"
        logits[head.name] = drawn.sort(dim=2, descending=True)[0] if ordinal else drawn
    return taxonomy, logits


@given(hierarchies())
@settings(max_examples=150, deadline=None)
def test_impossible_pairs_never_come_out(drawn):
    taxonomy, logits = drawn
    said, probs = decide(logits, taxonomy), marginals(logits, taxonomy)
    for head in taxonomy.heads:
        assert torch.isfinite(probs[head.name]).all()
        if head.kind != "multilabel":
            torch.testing.assert_close(probs[head.name].sum(dim=1), torch.ones(6))
        if head.kind == "multilabel":
            continue
        allowed = allowed_classes(taxonomy, head)
        if allowed is None:
            assert (said[head.name] >= 0).all()
            continue
        for n in range(6):
            parent = int(said[head.parent][n])
            possible = allowed[parent] if parent != MISSING else torch.zeros_like(allowed[0])
            if possible.any():
                assert possible[said[head.name][n]]
            else:
                assert said[head.name][n] == MISSING


@given(hierarchies())
@settings(max_examples=200, deadline=None)
def test_joint_answer_is_the_best_of_all_combinations(drawn):
    """Against trying all of them."""
    import itertools

    taxonomy, logits = drawn
    if any(head.kind != "multiclass" for head in taxonomy.heads):
        return  # ordinal heads answer by their median, multilabel ones do not vote
    said = decide(logits, taxonomy)
    names = [head.name for head in taxonomy.heads]
    mean = {h.name: probabilities(h, logits[h.name].double()) for h in taxonomy.heads}
    for n in range(3):
        scores = {}
        choices = [[MISSING, *range(len(head.classes))] for head in taxonomy.heads]
        for combination in itertools.product(*choices):
            chosen = dict(zip(names, combination, strict=True))
            scores[combination] = sum(
                _log_given_parent(taxonomy, head, mean[head.name][n], chosen)
                for head in taxonomy.heads
            )
        found = tuple(int(said[name][n]) for name in names)
        assert scores[found] == pytest.approx(max(scores.values()), abs=1e-3)


def _log_given_parent(taxonomy, head, members, chosen):
    """log P(head's choice | parent's choice), members (M, K)."""
    possible = np.ones(len(head.classes), dtype=bool)
    allowed = allowed_classes(taxonomy, head)
    if allowed is not None:
        parent = chosen[head.parent]
        possible = allowed[parent].numpy() if parent != MISSING else possible & False
    choice = chosen[head.name]
    if not possible.any() or choice == MISSING:
        return 0.0 if not possible.any() and choice == MISSING else -math.inf
    masked = np.maximum(members.numpy(), 1e-300) * possible
    mean = (masked / masked.sum(axis=1, keepdims=True)).mean(axis=0)
    return math.log(max(mean[choice], 1e-30)) if possible[choice] else -math.inf


def test_uncertainty_by_hand(taxonomy):
    agreeing = {
        "colour": log([0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),
        "shade": torch.logit(torch.tensor([[[0.9, 0.5, 0.2]] * 2])),
        "marks": torch.logit(torch.tensor([[[0.9, 0.5], [0.1, 0.5]]])),
    }
    found = uncertainty(agreeing, taxonomy)
    assert found["colour"].epistemic.tolist() == pytest.approx([0], abs=1e-6)
    assert found["colour"].aleatoric.tolist() == pytest.approx([1.5 * math.log(2)])
    assert found["shade"].epistemic.tolist() == pytest.approx([0], abs=1e-6)
    shares = [0.1, 0.4, 0.3, 0.2]
    entropy = -sum(share * math.log(share) for share in shares)
    assert found["shade"].aleatoric.tolist() == pytest.approx([entropy], rel=1e-5)
    # The first mark: the mean is 0.5, each member's entropy that of 0.9; the second, a coin to
    # both members, has nothing that they disagree on.
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found["marks"].epistemic.tolist() == pytest.approx(
        [(math.log(2) - entropy) / 2], rel=1e-4
    )
    assert found["marks"].aleatoric.tolist() == pytest.approx(
        [(math.log(2) + entropy) / 2], rel=1e-4
    )


def test_members_that_are_sure_of_different_classes_are_uncertain(taxonomy):
    logits = {
        "colour": torch.tensor([[[90.0, 0, 0], [0, 90, 0], [0, 0, 90]]]),
        "shade": torch.zeros(1, 3, 3),
        "marks": torch.zeros(1, 3, 2),
    }
    found = uncertainty(logits, taxonomy)["colour"]
    assert found.epistemic.item() == pytest.approx(math.log(3), rel=1e-5)
    assert found.aleatoric.item() == pytest.approx(0, abs=1e-6)


def random_logits(members):
    falling = torch.randn(5, members, 3).sort(dim=-1, descending=True).values
    free = {"colour": torch.randn(5, members, 3), "marks": torch.randn(5, members, 2)}
    return {**free, "shade": falling}


def test_one_member_disagrees_with_nobody(taxonomy):
    for parts in uncertainty(random_logits(1), taxonomy).values():
        assert torch.equal(parts.epistemic, torch.zeros(5))
        assert (parts.aleatoric > 0).all()


def test_both_parts_add_up_to_the_entropy_of_the_answer(taxonomy):
    logits = random_logits(4)
    found, said = uncertainty(logits, taxonomy), marginals(logits, taxonomy)
    marks = said["marks"]
    entropy = {
        name: -torch.xlogy(said[name], said[name]).sum(dim=1) for name in ("colour", "shade")
    }
    both = -torch.xlogy(marks, marks) - torch.xlogy(1 - marks, 1 - marks)
    for name, total in {**entropy, "marks": both.mean(dim=1)}.items():
        torch.testing.assert_close(sum(found[name]), total)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_logarithms_of_ordinal_probabilities(classes):
    head = Head(name="h", kind="ordinal", classes=[str(k) for k in range(classes)])
    logits = torch.randn(5, 2, classes - 1).sort(dim=2, descending=True)[0]
    expected = probabilities(head, logits).log()
    torch.testing.assert_close(log_probabilities(head, logits), expected, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(log_probabilities(head, 200 * logits)).all()
    assert torch.isfinite(log_probabilities(head, 0 * logits)).all()
